"""Invalid convolutions: each call with its complete message."""

import jax.numpy as jnp
from messages.calls import K, Row, X, check, each, from_environment, init, init_channels_last, inside_using, ring, zeros

import jaxconv as jc

# fmt: off
TABLE = [
    # conv: rank and layout
    Row("conv of a matrix", lambda: jc.conv(zeros(8, 8), K),
        "conv of size (3, 3) needs an input [N, H, W, C], or one example without N\n"
        "  got: 2 axes: (8, 8)"),
    Row("conv of one axis too many", lambda: jc.conv(zeros(2, 1, 8, 8, 3), K),
        "conv of size (3, 3) needs an input [N, H, W, C], or one example without N\n"
        "  got: 5 axes: (2, 1, 8, 8, 3)",
        fixed=lambda: jc.conv(zeros(2, 1, 8, 8, 3)[:, 0], K)),
    Row("conv with a kernel without channels", lambda: jc.conv(X, zeros(3, 3)),
        "conv needs a kernel [*k, C_in/groups, C_out] of 1 to 3 spatial axes\n  got: (3, 3)"),
    Row("conv with a kernel of four spatial axes", lambda: jc.conv(X, zeros(2, 2, 2, 2, 3, 4)),
        "conv needs a kernel [*k, C_in/groups, C_out] of 1 to 3 spatial axes\n"
        "  got: (2, 2, 2, 2, 3, 4)"),
    Row("conv of NCHW", lambda: jc.conv(zeros(1, 3, 8, 8), K),
        "x must have 3 channels on its last axis, to match the kernel [*k, C_in/groups, C_out]\n"
        "  got: x (1, 3, 8, 8), kernel (3, 3, 3, 4)\n"
        "  fix: x looks channels-first (NCHW): jnp.moveaxis(x, -3, -1) puts the channels last",
        fixed=lambda: jc.conv(jnp.moveaxis(zeros(1, 3, 8, 8), 1, -1), K)),
    Row("conv with torch's kernel", lambda: jc.conv(X, zeros(16, 3, 5, 5)),
        "x must have 5 channels on its last axis, to match the kernel [*k, C_in/groups, C_out]\n"
        "  got: x (1, 8, 8, 3), kernel (16, 3, 5, 5)\n"
        "  fix: the kernel looks like torch's [C_out, C_in, *k]: jnp.moveaxis(kernel, (0, 1), (-1, -2))",
        fixed=lambda: jc.conv(X, jnp.moveaxis(zeros(16, 3, 5, 5), (0, 1), (-1, -2)))),
    Row("conv of no pixels", lambda: jc.conv(zeros(1, 0, 8, 3), K),
        "conv needs at least one cell on every spatial axis\n  got: spatial shape (0, 8)"),
    # conv: channels, groups, bias
    Row("conv of other channels", lambda: jc.conv(zeros(1, 8, 8, 4), K),
        "x must have 3 channels on its last axis, to match the kernel [*k, C_in/groups, C_out]\n"
        "  got: x (1, 8, 8, 4), kernel (3, 3, 3, 4)\n"
        "  fix: a kernel of shape (3, 3, 4, 4)",
        fixed=lambda: jc.conv(zeros(1, 8, 8, 4), zeros(3, 3, 4, 4))),
    Row("conv of signals of other channels", lambda: jc.conv(zeros(1, 8, 2), zeros(3, 4, 5)),
        "x must have 4 channels on its last axis, to match the kernel [*k, C_in/groups, C_out]\n"
        "  got: x (1, 8, 2), kernel (3, 4, 5)\n"
        "  fix: a kernel of shape (3, 2, 5)",
        fixed=lambda: jc.conv(zeros(1, 8, 2), zeros(3, 2, 5))),
    Row("conv with groups that do not divide the output channels", lambda: jc.conv(zeros(1, 8, 8, 4), zeros(3, 3, 2, 3), groups=2),
        "groups must divide the number of output channels (the kernel's last axis)\n"
        "  got: groups=2, 3 output channels: kernel (3, 3, 2, 3)"),
    Row("conv with groups that divide neither side", lambda: jc.conv(X, zeros(3, 3, 1, 3), groups=2),
        "groups must divide the number of output channels (the kernel's last axis)\n"
        "  got: groups=2, 3 output channels: kernel (3, 3, 1, 3)"),
    Row("conv with no groups", lambda: jc.conv(X, K, groups=0),
        "groups must be ≥ 1\n  got: groups=0"),
    Row("conv with float groups", lambda: jc.conv(X, K, groups=1.0),
        "groups must be an int\n  got: groups=1.0\n  fix: groups=1",
        fixed=lambda: jc.conv(X, K, groups=1)),
    Row("conv with a bias of other length", lambda: jc.conv(X, K, zeros(3)),
        "bias must have one value for each of the 4 output channels\n  got: bias (3,)"),
    Row("conv with a scalar bias", lambda: jc.conv(X, K, 1.0),
        "bias must have one value for each of the 4 output channels\n  got: bias ()"),
    Row("conv with a stride in third place", lambda: jc.conv(X, K, 2),
        "bias must have one value for each of the 4 output channels\n  got: bias=2\n  fix: stride=2, by keyword"),
    Row("conv with a padding in third place", lambda: jc.conv(X, K, "same"),
        "bias must have one value for each of the 4 output channels\n  got: bias='same'\n"
        "  fix: padding='same', by keyword"),
    # conv: size, stride, dilation
    Row("conv with a kernel larger than the input", lambda: jc.conv(zeros(1, 2, 2, 3), K),
        "conv: a kernel of 3 must fit into the padded input of 2 + 0 + 0 cells on spatial axis 0\n"
        "  got: spatial shape (2, 2); out = floor((2 + 0 + 0 - 1*(3 - 1) - 1) / 1) + 1 = 0\n"
        "  fix: a larger input, a kernel of at most 2, or padding='same'",
        fixed=lambda: jc.conv(zeros(1, 2, 2, 3), K, padding="same")),
    Row("conv with a kernel too large by dilation", lambda: jc.conv(zeros(1, 5, 5, 3), K, dilation=3),
        "conv: a kernel of 3 (dilation 3: 7 cells) must fit into the padded input of 5 + 0 + 0 cells on spatial "
        "axis 0\n"
        "  got: spatial shape (5, 5); out = floor((5 + 0 + 0 - 3*(3 - 1) - 1) / 1) + 1 = -1\n"
        "  fix: a larger input, a kernel of at most 2, dilation 2, or padding='same'",
        fixed=lambda: jc.conv(zeros(1, 5, 5, 3), K[:2, :2], dilation=3)),
    Row("conv with a kernel too large on one axis", lambda: jc.conv(zeros(1, 5, 8, 3), K, dilation=(1, 4)),
        "conv: a kernel of 3 (dilation 4: 9 cells) must fit into the padded input of 8 + 0 + 0 cells on spatial "
        "axis 1\n"
        "  got: spatial shape (5, 8); out = floor((8 + 0 + 0 - 4*(3 - 1) - 1) / 1) + 1 = 0\n"
        "  fix: a larger input, a kernel of at most 2, dilation 3, or padding='same'",
        fixed=lambda: jc.conv(zeros(1, 5, 8, 3), K, dilation=(1, 4), padding="same")),
    Row("conv with stride 0", lambda: jc.conv(X, K, stride=0),
        "stride must be ≥ 1\n  got: stride=0"),
    Row("conv with a negative stride", lambda: jc.conv(X, K, stride=-1),
        "stride must be ≥ 1\n  got: stride=-1"),
    Row("conv with a float stride", lambda: jc.conv(X, K, stride=2.0),
        "stride must be an int\n  got: stride=2.0\n  fix: stride=2",
        fixed=lambda: jc.conv(X, K, stride=2)),
    Row("conv with a stride between ints", lambda: jc.conv(X, K, stride=1.5),
        "stride must be an int\n  got: stride=1.5"),
    Row("conv with a bool stride", lambda: jc.conv(X, K, stride=True),
        "stride must be an int\n  got: stride=True"),
    Row("conv with a string stride", lambda: jc.conv(X, K, stride="2"),
        "stride must be an int\n  got: stride='2'"),
    Row("conv with one stride for two axes", lambda: jc.conv(X, K, stride=(1,)),
        "stride must be one int, or one for each of the 2 spatial axes\n  got: stride=(1,)"),
    Row("conv with strides for batch and channels", lambda: jc.conv(X, K, stride=(1, 2, 2, 1)),
        "stride must be one int, or one for each of the 2 spatial axes\n"
        "  got: stride=(1, 2, 2, 1)"),
    Row("conv with an int and a float stride", lambda: jc.conv(X, K, stride=(1, 2.0)),
        "stride must be an int\n  got: stride=2.0\n  fix: stride=2",
        fixed=lambda: jc.conv(X, K, stride=(1, 2))),
    Row("conv with dilation 0", lambda: jc.conv(X, K, dilation=0),
        "dilation must be ≥ 1\n  got: dilation=0"),
    Row("conv with a dilation between ints", lambda: jc.conv(X, K, dilation=0.5),
        "dilation must be an int\n  got: dilation=0.5"),
    # conv: padding and padding_mode
    Row("conv with a misspelt padding", lambda: jc.conv(X, K, padding="smae"),
        "padding must be one of valid, same, same_lower, full, causal, an int, a pair, or a pair for each axis\n"
        "  got: padding='smae'; did you mean 'same'?",
        fixed=lambda: jc.conv(X, K, padding="same")),
    Row("conv with TensorFlow's capitals", lambda: jc.conv(X, K, padding="SAME"),
        "padding must be one of valid, same, same_lower, full, causal, an int, a pair, or a pair for each axis\n"
        "  got: padding='SAME'; did you mean 'same'?",
        fixed=lambda: jc.conv(X, K, padding="same")),
    Row("conv with a negative padding", lambda: jc.conv(X, K, padding=-1),
        "padding must be ≥ 0\n  got: padding=-1"),
    Row("conv with a negative high padding", lambda: jc.conv(X, K, padding=((1, -1), (0, 0))),
        "padding must be ≥ 0\n  got: padding=-1"),
    Row("conv with one number in the padding", lambda: jc.conv(X, K, padding=(1,)),
        "padding must be a name, an int, one pair (lo, hi), or a pair for each of the 2 spatial axes\n"
        "  got: padding=(1,)"),
    Row("conv with torch.nn.functional.pad's four", lambda: jc.conv(X, K, padding=(1, 1, 1, 1)),
        "padding must be a name, an int, one pair (lo, hi), or a pair for each of the 2 spatial axes\n"
        "  got: padding=(1, 1, 1, 1)"),
    Row("conv with three pairs for two axes", lambda: jc.conv(X, K, padding=((1, 1), (1, 1), (1, 1))),
        "padding must be a name, an int, one pair (lo, hi), or a pair for each of the 2 spatial axes\n"
        "  got: padding=((1, 1), (1, 1), (1, 1))"),
    Row("conv with a pair and an int", lambda: jc.conv(X, K, padding=((1, 1), 1)),
        "padding must be a name, an int, one pair (lo, hi), or a pair for each of the 2 spatial axes\n"
        "  got: padding=((1, 1), 1)"),
    Row("conv with a word for each axis", lambda: jc.conv(X, K, padding=("same", "valid")),
        "padding must be a name, an int, one pair (lo, hi), or a pair for each of the 2 spatial axes\n"
        "  got: padding=('same', 'valid')"),
    Row("conv with a float in a pair", lambda: jc.conv(X, K, padding=(1, 2.0)),
        "padding must be an int\n  got: padding=2.0\n  fix: padding=2",
        fixed=lambda: jc.conv(X, K, padding=(1, 2))),
    Row("conv with a misspelt padding_mode", lambda: jc.conv(X, K, padding=1, padding_mode="reflekt"),
        "padding_mode must be one of zeros, reflect, edge, wrap\n"
        "  got: padding_mode='reflekt'; did you mean 'reflect'?",
        fixed=lambda: jc.conv(X, K, padding=1, padding_mode="reflect")),
    Row("conv with wrap wider than the input by dilation", lambda: ring(5, "wrap"),
        "padding_mode='wrap' can pad spatial axis 0, which has 4 cells, by at most 4 on each side\n"
        "  got: padding (5, 5) on spatial shape (4, 4)\n"
        "  fix: padding_mode='zeros' or 'edge', less padding (a smaller kernel or dilation), or a larger input",
        fixed=lambda: ring(4, "wrap")),
    Row("conv with reflect wider than the input by dilation", lambda: ring(4, "reflect"),
        "padding_mode='reflect' can pad spatial axis 0, which has 4 cells, by at most 3 on each side\n"
        "  got: padding (4, 4) on spatial shape (4, 4)\n"
        "  fix: padding_mode='zeros' or 'edge', less padding (a smaller kernel or dilation), or a larger input",
        fixed=lambda: ring(4, "edge")),
    # conv: impl
    Row("conv with an unknown impl", lambda: jc.conv(X, K, impl="fft"),
        "impl must be one of auto, tune, lax, canonical, dots, shifted, native, winograd, einsum; got 'fft'", error=jc.ConfigError),
    Row("JAXCONV_IMPL unknown", lambda: from_environment("fast"),
        "JAXCONV_IMPL must be one of auto, tune, lax, canonical, dots, shifted, native, winograd, einsum; got 'fast'", error=jc.ConfigError),
    Row("using an unknown impl", lambda: inside_using("fft"),
        "impl must be one of auto, tune, lax, canonical, dots, shifted, native, winograd, einsum; got 'fft'", error=jc.ConfigError),
    # pad
    Row("pad by an unknown word", lambda: jc.pad(X, "vaild"),
        "padding must be one of valid, same, same_lower, full, causal, an int, a pair, or a pair for each axis\n"
        "  got: padding='vaild'; did you mean 'valid'?",
        fixed=lambda: jc.pad(X, "valid")),
    Row("pad by a negative amount", lambda: jc.pad(X, -1),
        "padding must be ≥ 0\n  got: padding=-1"),
    # Conv: arguments
    Row("Conv of no features", lambda: jc.Conv(0, 3),
        "features must be ≥ 1\n  got: features=0"),
    Row("Conv of float features", lambda: jc.Conv(4.0, 3),
        "features must be an int\n  got: features=4.0\n  fix: features=4",
        fixed=lambda: jc.Conv(4, 3)),
    Row("Conv of size 0", lambda: init(jc.Conv(4, 0), 1, 8, 8, 3),
        "kernel_size must be ≥ 1\n  got: kernel_size=0"),
    Row("Conv of a float size", lambda: init(jc.Conv(4, 3.0), 1, 8, 8, 3),
        "kernel_size must be an int\n  got: kernel_size=3.0\n  fix: kernel_size=3",
        fixed=lambda: init(jc.Conv(4, 3), 1, 8, 8, 3)),
    Row("Conv of a signal's size on images", lambda: init(jc.Conv(4, (3,)), 1, 8, 8, 3),
        "conv of size (3,) needs an input [N, W, C], or one example without N\n"
        "  got: 4 axes: (1, 8, 8, 3)"),
    Row("Conv of four spatial axes", lambda: init(jc.Conv(4, (3, 3, 3, 3)), 1, 8, 8, 3),
        "conv works on 1 to 3 spatial axes\n  got: kernel_size=(3, 3, 3, 3)"),
    Row("Conv on an unbatched image", lambda: init(jc.Conv(4, 3), 8, 8, 3),
        "conv with an int kernel_size needs [N, H, W, C] or [N, D, H, W, C]\n"
        "  got: 3 axes: (8, 8, 3)\n"
        "  fix: kernel_size=(3,) for a batch of signals [N, W, C]; x[None] for one image [H, W, C]",
        fixed=lambda: init(jc.Conv(4, 3), 1, 8, 8, 3)),
    Row("Conv on signals with an int size", lambda: init(jc.Conv(4, 3), 16, 100, 2),
        "conv with an int kernel_size needs [N, H, W, C] or [N, D, H, W, C]\n"
        "  got: 3 axes: (16, 100, 2)\n"
        "  fix: kernel_size=(3,) for a batch of signals [N, W, C]; x[None] for one image [H, W, C]",
        fixed=lambda: init(jc.Conv(4, (3,)), 16, 100, 2)),
    Row("Conv on NCHW", lambda: init(jc.Conv(4, 3), 1, 3, 32, 32),
        "conv needs its input as [N, H, W, C]\n"
        "  got: (1, 3, 32, 32), which looks like NCHW\n"
        "  fix: jnp.moveaxis(x, 1, -1); init within jc.assume_channels_last() if it has 32 channels",
        fixed=lambda: init(jc.Conv(4, 3), 1, 32, 32, 3)),
    Row("Conv on gray NCHW in a net", lambda: init(jc.chain(jc.Conv(4, 3)), 1, 1, 28, 28),
        "at conv0: conv needs its input as [N, H, W, C]\n"
        "  got: (1, 1, 28, 28), which looks like NCHW\n"
        "  fix: jnp.moveaxis(x, 1, -1); init within jc.assume_channels_last() if it has 28 channels",
        fixed=lambda: init(jc.chain(jc.Conv(4, 3)), 1, 28, 28, 1)),
    Row("Conv on an input that only looks like NCHW", lambda: init(jc.Conv(4, 3), 1, 3, 9, 9),
        "conv needs its input as [N, H, W, C]\n"
        "  got: (1, 3, 9, 9), which looks like NCHW\n"
        "  fix: jnp.moveaxis(x, 1, -1); init within jc.assume_channels_last() if it has 9 channels",
        fixed=lambda: init_channels_last(jc.Conv(4, 3), 1, 3, 9, 9)),
    Row("Conv on NCHW under a tuple", lambda: init(jc.Conv(4, (3, 3)), 1, 3, 32, 32),
        "conv needs its input as [N, H, W, C]\n"
        "  got: (1, 3, 32, 32), which looks like NCHW\n"
        "  fix: jnp.moveaxis(x, 1, -1); init within jc.assume_channels_last() if it has 32 channels"),
    Row("Conv with groups that divide neither side", lambda: init(jc.Conv(4, 3, groups=3), 1, 8, 8, 4),
        "groups must divide channels and features\n  got: groups=3, 4 channels, features=4"),
    Row("Conv of stride 0 in a net", lambda: init(jc.chain(stem=jc.Conv(4, 3, stride=0)), 1, 8, 8, 3),
        "at stem: stride must be ≥ 1\n  got: stride=0"),
    Row("Conv too large deep in a net",
        lambda: init(jc.chain(jc.Conv(4, 5), jc.MaxPool(2), head=jc.Conv(4, 5)), 1, 12, 12, 1),
        "at head: conv: a kernel of 5 must fit into the padded input of 4 + 0 + 0 cells on spatial axis 0\n"
        "  got: spatial shape (4, 4); out = floor((4 + 0 + 0 - 1*(5 - 1) - 1) / 1) + 1 = 0\n"
        "  fix: a larger input, a kernel of at most 4, or padding='same'",
        fixed=lambda: init(jc.chain(jc.Conv(4, 5), jc.MaxPool(2), head=jc.Conv(4, 4)), 1, 12, 12, 1)),
    Row("Conv too large by dilation in a nested net",
        lambda: init(jc.chain(stem=jc.chain(jc.Conv(4, 3, dilation=4))), 1, 6, 6, 1),
        "at stem/conv0: conv: a kernel of 3 (dilation 4: 9 cells) must fit into the padded input of 6 + 0 + 0 "
        "cells on spatial axis 0\n"
        "  got: spatial shape (6, 6); out = floor((6 + 0 + 0 - 4*(3 - 1) - 1) / 1) + 1 = -2\n"
        "  fix: a larger input, a kernel of at most 2, dilation 2, or padding='same'",
        fixed=lambda: init(jc.chain(stem=jc.chain(jc.Conv(4, 3, dilation=4, padding="same"))), 1, 6, 6, 1)),
    Row("Conv with circular padding too wide in a net",
        lambda: init(jc.chain(ring=jc.Conv(4, 3, padding="full", dilation=3, padding_mode="wrap")), 1, 4, 4, 1),
        "at ring: padding_mode='wrap' can pad spatial axis 0, which has 4 cells, by at most 4 on each side\n"
        "  got: padding (6, 6) on spatial shape (4, 4)\n"
        "  fix: padding_mode='zeros' or 'edge', less padding (a smaller kernel or dilation), or a larger input",
        fixed=lambda: init(jc.chain(ring=jc.Conv(4, 3, padding="full", dilation=2, padding_mode="wrap")), 1, 4, 4, 1)),
]
# fmt: on


@each(TABLE)
def test_message_of_an_invalid_call(row):
    check(row)
