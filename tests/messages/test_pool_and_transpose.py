"""Invalid params and state, pools, transposed and local convolutions: each call with its complete message."""

import jax.numpy as jnp
import numpy as np
from messages.calls import CONV, INDICES, NAN, NORM, K, Row, X, Y, check, each, init, tiny, zeros

import jaxconv as jc

# fmt: off
TABLE = [
    # params and state
    Row("Conv without params", lambda: jc.Conv(4, 3).apply({}, {}, X),
        "params of conv must hold kernel, bias\n"
        "  got: nothing\n"
        "  fix: params, state = net.init(key, x)",
        fixed=lambda: jc.Conv(4, 3).apply(init(jc.Conv(4, 3), *X.shape)[0], {}, X)),
    Row("Conv with a list of params", lambda: jc.Conv(4, 3).apply([K, zeros(4)], {}, X),
        "params of conv must hold kernel, bias\n"
        "  got: list\n"
        "  fix: params, state = net.init(key, x)",
        fixed=lambda: jc.Conv(4, 3).apply(CONV, {}, X)),
    Row("Conv with init's pair as params", lambda: jc.Conv(4, 3).apply((CONV, {}), {}, X),
        "params of conv must hold kernel, bias\n"
        "  got: tuple\n"
        "  fix: params, state = net.init(key, x)",
        fixed=lambda: jc.Conv(4, 3).apply(CONV, {}, X)),
    Row("Conv with a norm's params", lambda: jc.Conv(4, 3).apply(NORM, {}, X),
        "params of conv must hold kernel, bias\n"
        "  got: scale, bias\n"
        "  fix: params, state = net.init(key, x)"),
    Row("Conv without its bias", lambda: jc.Conv(4, 3).apply({"kernel": K}, {}, X),
        "params of conv must hold kernel, bias\n"
        "  got: kernel\n"
        "  fix: params, state = net.init(key, x)"),
    Row("Conv with a bias it has not", lambda: jc.Conv(4, 3, bias=False).apply(CONV, {}, X),
        "params of conv must hold kernel\n"
        "  got: kernel, bias\n"
        "  fix: params, state = net.init(key, x)"),
    Row("Conv with a kernel of another size", lambda: jc.Conv(4, 5).apply(CONV, {}, X),
        "this conv's kernel must be (5, 5, 3, 4)\n"
        "  got: kernel (3, 3, 3, 4)\n"
        "  fix: params initialized by this layer"),
    Row("Conv with a kernel of other features", lambda: jc.Conv(8, 3).apply(CONV, {}, X),
        "this conv's kernel must be (3, 3, 3, 8)\n"
        "  got: kernel (3, 3, 3, 4)\n"
        "  fix: params initialized by this layer"),
    Row("Conv with a bias of other length", lambda: jc.Conv(4, 3).apply({"kernel": K, "bias": zeros(3)}, {}, X),
        "bias must have one value for each of the 4 output channels\n  got: bias (3,)"),
    Row("Conv applied to NCHW", lambda: jc.Conv(4, 3).apply(CONV, {}, zeros(1, 3, 8, 8)),
        "x must have 3 channels on its last axis, to match the kernel [*k, C_in/groups, C_out]\n"
        "  got: x (1, 3, 8, 8), kernel (3, 3, 3, 4)\n"
        "  fix: x looks channels-first (NCHW): jnp.moveaxis(x, -3, -1) puts the channels last",
        fixed=lambda: jc.Conv(4, 3).apply(CONV, {}, jnp.moveaxis(zeros(1, 3, 8, 8), 1, -1))),
    Row("Conv applied to an unbatched image", lambda: jc.Conv(4, 3).apply(CONV, {}, X[0]),
        "conv with an int kernel_size needs [N, H, W, C] or [N, D, H, W, C]\n"
        "  got: 3 axes: (8, 8, 3)\n"
        "  fix: kernel_size=(3,) for a batch of signals [N, W, C]; x[None] for one image [H, W, C]",
        fixed=lambda: jc.Conv(4, 3).apply(CONV, {}, X[0][None])),
    Row("a net with the params of another", lambda: tiny().apply({"conv0": CONV}, {}, X),
        "params must be those of this net: stem, pool, head\n"
        "  got: params of conv0\n"
        "  fix: params, state = net.init(key, x)"),
    Row("a net with a part's params missing", lambda: tiny().apply({"stem": {}, "pool": {}}, {}, X),
        "params must be those of this net: stem, pool, head\n"
        "  got: params of stem, pool\n"
        "  fix: params, state = net.init(key, x)"),
    Row("a net without its state", lambda: jc.chain(jc.Conv(4, 3)).apply({"conv0": CONV}, {}, X),
        "state must be those of this net: conv0\n"
        "  got: state of nothing\n"
        "  fix: params, state = net.init(key, x)",
        fixed=lambda: jc.chain(jc.Conv(4, 3)).apply({"conv0": CONV}, {"conv0": {}}, X)),
    Row("a net with None for its state", lambda: jc.chain(jc.Conv(4, 3)).apply({"conv0": CONV}, None, X),
        "state must be those of this net: conv0\n"
        "  got: NoneType\n"
        "  fix: params, state = net.init(key, x)"),
    Row("a net with another layer's params in a part",
        lambda: jc.chain(stem=jc.Conv(3, 3)).apply({"stem": NORM}, {"stem": {}}, X),
        "at stem: params of conv must hold kernel, bias\n"
        "  got: scale, bias\n"
        "  fix: params, state = net.init(key, x)"),
    Row("a net without its norm's state", lambda: jc.chain(norm=jc.BatchNorm()).apply({"norm": NORM}, {"norm": {}}, X),
        "at norm: state of batch_norm must hold mean, var\n"
        "  got: nothing\n"
        "  fix: params, state = net.init(key, x)"),
    # pools
    Row("max_pool of an unbatched image", lambda: jc.max_pool(X[0], 2),
        "max_pool with an int kernel_size needs [N, H, W, C] or [N, D, H, W, C]\n"
        "  got: 3 axes: (8, 8, 3)\n"
        "  fix: kernel_size=(2,) for a batch of signals [N, W, C]; x[None] for one image [H, W, C]",
        fixed=lambda: jc.max_pool(X[0][None], 2)),
    Row("max_pool of signals with an int size", lambda: jc.max_pool(zeros(4, 8, 3), 2),
        "max_pool with an int kernel_size needs [N, H, W, C] or [N, D, H, W, C]\n"
        "  got: 3 axes: (4, 8, 3)\n"
        "  fix: kernel_size=(2,) for a batch of signals [N, W, C]; x[None] for one image [H, W, C]",
        fixed=lambda: jc.max_pool(zeros(4, 8, 3), (2,))),
    Row("max_pool of a signal's size on images", lambda: jc.max_pool(X, (2,)),
        "max_pool of size (2,) needs an input [N, W, C], or one example without N\n"
        "  got: 4 axes: (1, 8, 8, 3)"),
    Row("max_pool of size 0", lambda: jc.max_pool(X, 0),
        "kernel_size must be ≥ 1\n  got: kernel_size=0"),
    Row("max_pool of a float size", lambda: jc.max_pool(X, 2.0),
        "kernel_size must be an int\n  got: kernel_size=2.0\n  fix: kernel_size=2",
        fixed=lambda: jc.max_pool(X, 2)),
    Row("max_pool of three strides", lambda: jc.max_pool(X, 2, stride=(1, 2, 1)),
        "stride must be one int, or one for each of the 2 spatial axes\n  got: stride=(1, 2, 1)"),
    Row("max_pool of a window in low padding alone", lambda: jc.max_pool(X, 2, padding=2),
        "every window of max_pool must contain at least one cell of its input\n"
        "  got: window 0 of spatial axis 0 contains only padding (2, 2) (size 2, stride 2, dilation 1, input 8)\n"
        "  fix: less padding",
        fixed=lambda: jc.max_pool(X, 2, padding=1)),
    Row("max_pool of a window in high padding alone", lambda: jc.max_pool(X, 2, padding=(0, 5)),
        "every window of max_pool must contain at least one cell of its input\n"
        "  got: window 4 of spatial axis 0 contains only padding (0, 5) (size 2, stride 2, dilation 1, input 8)\n"
        "  fix: less padding",
        fixed=lambda: jc.max_pool(X, 2, padding=(0, 1))),
    Row("avg_pool of a window in padding alone", lambda: jc.avg_pool(X, 2, padding=2),
        "every window of avg_pool must contain at least one cell of its input\n"
        "  got: window 0 of spatial axis 0 contains only padding (2, 2) (size 2, stride 2, dilation 1, input 8)\n"
        "  fix: less padding",
        fixed=lambda: jc.avg_pool(X, 2, padding=1)),
    Row("max_pool of no pixels", lambda: jc.max_pool(zeros(1, 0, 8, 3), 2),
        "max_pool needs at least one cell on every spatial axis\n  got: spatial shape (0, 8)"),
    Row("MaxPool once too often", lambda: init(jc.chain(jc.MaxPool(2), jc.MaxPool(2), last=jc.MaxPool(2)), 1, 4, 4, 3),
        "at last: max_pool: a window of 2 must fit into the padded input of 1 + 0 + 0 cells on spatial axis 0\n"
        "  got: spatial shape (1, 1); out = floor((1 + 0 + 0 - 1*(2 - 1) - 1) / 2) + 1 = 0\n"
        "  fix: a larger input or a window of at most 1",
        fixed=lambda: init(jc.chain(jc.MaxPool(2), jc.MaxPool(2), last=jc.MaxPool(2, padding="same")), 1, 4, 4, 3)),
    Row("lp_pool of p below 1", lambda: jc.lp_pool(X, 2, p=0.5),
        "p must be a number ≥ 1, for (Σ|x|^p)^(1/p) to be a norm\n  got: p=0.5"),
    Row("lp_pool of p NaN", lambda: jc.lp_pool(X, 2, p=NAN),
        "p must be a number ≥ 1, for (Σ|x|^p)^(1/p) to be a norm\n  got: p=nan"),
    Row("LpPool of p 0 in a net", lambda: init(jc.chain(jc.LpPool(2, p=0)), 1, 8, 8, 3),
        "at lp_pool0: p must be a number ≥ 1, for (Σ|x|^p)^(1/p) to be a norm\n  got: p=0"),
    Row("global_avg_pool of a matrix", lambda: jc.global_avg_pool(zeros(8, 8)),
        "global_avg_pool needs [N, *spatial, C] with at least one cell\n  got: (8, 8)"),
    Row("adaptive_avg_pool to 0", lambda: jc.adaptive_avg_pool(X, 0),
        "out must be ≥ 1\n  got: out=0"),
    Row("adaptive_max_pool to a negative size", lambda: jc.adaptive_max_pool(X, (2, -1)),
        "out must be ≥ 1\n  got: out=-1"),
    Row("adaptive_avg_pool to three sizes", lambda: jc.adaptive_avg_pool(X, (2, 2, 2)),
        "out must be one int, or one for each of the 2 spatial axes\n  got: out=(2, 2, 2)"),
    Row("adaptive_avg_pool of a matrix", lambda: jc.adaptive_avg_pool(zeros(8, 3), 2),
        "adaptive_avg_pool needs [N, *spatial, C] with at least one cell\n  got: (8, 3)"),
    Row("AdaptiveMaxPool to 0 in a net", lambda: init(jc.chain(jc.AdaptiveMaxPool(0)), 1, 8, 8, 3),
        "at adaptive_max_pool0: out must be ≥ 1\n  got: out=0"),
    Row("blur_pool of size 0", lambda: jc.blur_pool(X, 0),
        "kernel_size must be ≥ 1\n  got: kernel_size=0"),
    Row("max_unpool with indices of another shape", lambda: jc.max_unpool(zeros(1, 4, 4, 2), INDICES, (8, 8)),
        "max_unpool needs values and indices of the same shape [N, *out, C]\n"
        "  got: y (1, 4, 4, 2), indices (1, 4, 4, 3)"),
    Row("max_unpool to the full shape", lambda: jc.max_unpool(zeros(1, 4, 4, 3), INDICES, (1, 8, 8, 3)),
        "shape must be one int, or one for each of the 2 spatial axes\n"
        "  got: shape=(1, 8, 8, 3)",
        fixed=lambda: jc.max_unpool(zeros(1, 4, 4, 3), INDICES, (8, 8))),
    Row("max_unpool with float indices", lambda: jc.max_unpool(zeros(1, 4, 4, 3), zeros(1, 4, 4, 3), (8, 8)),
        "indices must be integers\n  got: float32\n  fix: those of max_pool_with_indices",
        fixed=lambda: jc.max_unpool(*jc.max_pool_with_indices(X, 2), (8, 8))),
    # conv_transpose and local_conv
    Row("conv_transpose of a matrix", lambda: jc.conv_transpose(zeros(4, 4), K),
        "conv_transpose of size (3, 3) needs an input [N, H, W, C], or one example without N\n"
        "  got: 2 axes: (4, 4)"),
    Row("conv_transpose with a kernel of swapped channels", lambda: jc.conv_transpose(zeros(1, 4, 4, 3), K),
        "x must have 4 channels, to match the kernel's C_out (last axis)\n"
        "  got: x (1, 4, 4, 3), kernel (3, 3, 3, 4)\n"
        "  fix: jnp.swapaxes(kernel, -1, -2)",
        fixed=lambda: jc.conv_transpose(zeros(1, 4, 4, 3), jnp.swapaxes(K, -1, -2))),
    Row("conv_transpose of other channels", lambda: jc.conv_transpose(zeros(1, 4, 4, 5), K),
        "x must have 4 channels, to match the kernel's C_out (last axis)\n"
        "  got: x (1, 4, 4, 5), kernel (3, 3, 3, 4)"),
    Row("conv_transpose of integers", lambda: jc.conv_transpose(Y.astype(np.int32), K.astype(np.int32)),
        "conv_transpose needs a floating type\n  got: int32\n  fix: x.astype(jnp.float32)",
        fixed=lambda: jc.conv_transpose(Y.astype(np.float32), K.astype(np.int32))),
    Row("conv_transpose with a negative output_padding", lambda: jc.conv_transpose(Y, K, stride=2, output_padding=-1),
        "output_padding must be ≥ 0\n  got: output_padding=-1"),
    Row("conv_transpose with a float output_padding", lambda: jc.conv_transpose(Y, K, stride=2, output_padding=1.0),
        "output_padding must be an int\n  got: output_padding=1.0\n  fix: output_padding=1",
        fixed=lambda: jc.conv_transpose(Y, K, stride=2, output_padding=1)),
    Row("conv_transpose with output_size and output_padding",
        lambda: jc.conv_transpose(Y, K, stride=2, output_size=9, output_padding=0),
        "only one of output_size and output_padding may be given\n  got: output_size=9, output_padding=0",
        fixed=lambda: jc.conv_transpose(Y, K, stride=2, output_size=9)),
    Row("conv_transpose with an output_size of the full shape",
        lambda: jc.conv_transpose(Y, K, stride=2, output_size=(1, 9, 9, 3)),
        "output_size must be one int, or one for each of the 2 spatial axes\n"
        "  got: output_size=(1, 9, 9, 3)",
        fixed=lambda: jc.conv_transpose(Y, K, stride=2, output_size=(9, 9))),
    Row("conv_transpose with too much padding", lambda: jc.conv_transpose(Y, K, padding=3),
        "conv_transpose must have a non-empty output: out = (n - 1)*s + d*(k - 1) + 1 - lo - hi\n"
        "  got: out = (0, 0) from (4, 4), padding=3\n"
        "  fix: less padding",
        fixed=lambda: jc.conv_transpose(Y, K, padding=2)),
    Row("conv_transpose with the convolution's bias", lambda: jc.conv_transpose(Y, K, zeros(4)),
        "bias must have one value for each of the 3 output channels\n  got: bias (4,)"),
    Row("conv_transpose with groups that do not divide", lambda: jc.conv_transpose(Y, K, groups=3),
        "groups must divide the number of output channels (the kernel's last axis)\n"
        "  got: groups=3, 4 output channels: kernel (3, 3, 3, 4)"),
    Row("ConvTranspose with groups that do not divide", lambda: init(jc.ConvTranspose(4, 3, groups=3), 1, 4, 4, 8),
        "groups must divide channels and features\n  got: groups=3, 8 channels, features=4"),
    Row("local_conv with a kernel for another input", lambda: jc.local_conv(zeros(1, 6, 6, 3), zeros(6, 6, 3, 3, 3, 4)),
        "local_conv's kernel must be [*out, *k, C_in, C_out] = (4, 4, 3, 3, 3, 4)\n"
        "  got: kernel (6, 6, 3, 3, 3, 4), x (1, 6, 6, 3)",
        fixed=lambda: jc.local_conv(zeros(1, 6, 6, 3), zeros(4, 4, 3, 3, 3, 4))),
    Row("local_conv with a kernel of other channels", lambda: jc.local_conv(X, zeros(6, 6, 3, 3, 4, 4)),
        "local_conv's kernel must be [*out, *k, C_in, C_out] = (6, 6, 3, 3, 3, 4)\n"
        "  got: kernel (6, 6, 3, 3, 4, 4), x (1, 8, 8, 3)",
        fixed=lambda: jc.local_conv(X, zeros(6, 6, 3, 3, 3, 4))),
    Row("local_conv with a shared bias", lambda: jc.local_conv(X, zeros(6, 6, 3, 3, 3, 4), zeros(4)),
        "local_conv's bias must be [*out, C_out] = (6, 6, 4)\n  got: (4,)",
        fixed=lambda: jc.local_conv(X, zeros(6, 6, 3, 3, 3, 4), zeros(6, 6, 4))),
    Row("LocalConv on an input of another size",
        lambda: jc.LocalConv(4, 3, bias=False).apply({"kernel": zeros(6, 6, 3, 3, 3, 4)}, {}, zeros(1, 9, 9, 3)),
        "local_conv's kernel must be [*out, *k, C_in, C_out] = (7, 7, 3, 3, 3, 4)\n"
        "  got: kernel (6, 6, 3, 3, 3, 4), x (1, 9, 9, 3)"),
]
# fmt: on


@each(TABLE)
def test_message_of_an_invalid_call(row):
    check(row)
