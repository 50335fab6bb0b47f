"""Wrong calls that users make, each with its whole message: what must hold, what came, the fix.

Where a message names a fix, `fixed` is the call with that fix, and it must go through.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxconv as jc


class Row(NamedTuple):
    """`call` must raise exactly `error` with exactly `message`; `fixed`, where there is one, must not."""

    title: str
    call: Callable[[], Any]
    message: str
    error: type[Exception] = jc.ShapeError
    fixed: Callable[[], Any] | None = None


def zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def init(layer: jc.Layer, *shape: int) -> Any:
    return layer.init(jax.random.key(0), shape)


def trace(call: Callable[[], Any]) -> None:
    """Runs the call on abstract values: nothing is compiled or computed, and what it gives back is dropped."""

    def nothing() -> None:
        call()

    jax.eval_shape(nothing)


def from_environment(impl: str) -> jax.Array:
    with mock.patch.dict(os.environ, JAXCONV_IMPL=impl):
        return jc.conv(X, K)


def inside_using(impl: str) -> jax.Array:
    with jc.using(impl=impl):
        return jc.conv(X, K)


def ring(dilation: int, pad_mode: str) -> jax.Array:
    return jc.conv(zeros(1, 4, 4, 3), K, dilation=dilation, padding="same", pad_mode=pad_mode)


def deep_drop(key: Any) -> Any:
    net = jc.chain(a=jc.chain(drop=jc.DropPath(0.5)))
    return net.apply({"a": {"drop": {}}}, {"a": {"drop": {}}}, X, key=key, train=True)


def headed(flat: Callable[[Any], Any], size: int) -> Any:
    net = jc.chain(flat=flat, head=jc.Dense(3, bias=False))
    return net.apply({"flat": {}, "head": {"kernel": zeros(size, 3)}}, {"flat": {}, "head": {}}, Y)


def tiny() -> jc.Layer:
    return jc.chain(stem=jc.chain(jc.Conv(4, 3), jax.nn.relu), pool=jc.MaxPool(2), head=jc.Dense(3))


X = zeros(1, 8, 8, 3)  # an image
K = zeros(3, 3, 3, 4)  # a kernel for it
Y = zeros(1, 4, 4, 4)  # what a convolution with K might have given
INDICES = zeros(1, 4, 4, 3, dtype=np.int32)
CONV = {"kernel": K, "bias": zeros(4)}
BACK = {"kernel": K, "bias": zeros(3)}
STATS = {"mean": zeros(3), "var": zeros(3)}
NORM = {"scale": zeros(3), "bias": zeros(3)}
WEIGHTS = {"stem": {"conv0": {"kernel": K, "bias": zeros(4)}}, "head": {"kernel": zeros(4, 3)}}
NAN = float("nan")

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
        "x must have 3 channels on its last axis, as the kernel [*k, C_in/groups, C_out] says\n"
        "  got: x (1, 3, 8, 8), kernel (3, 3, 3, 4)\n"
        "  fix: x looks channels-first (NCHW): jnp.moveaxis(x, -3, -1) puts the channels last",
        fixed=lambda: jc.conv(jnp.moveaxis(zeros(1, 3, 8, 8), 1, -1), K)),
    Row("conv with torch's kernel", lambda: jc.conv(X, zeros(16, 3, 5, 5)),
        "x must have 5 channels on its last axis, as the kernel [*k, C_in/groups, C_out] says\n"
        "  got: x (1, 8, 8, 3), kernel (16, 3, 5, 5)\n"
        "  fix: the kernel looks like torch's [C_out, C_in, *k]: jnp.moveaxis(kernel, (0, 1), (-1, -2))",
        fixed=lambda: jc.conv(X, jnp.moveaxis(zeros(16, 3, 5, 5), (0, 1), (-1, -2)))),
    Row("conv of no pixels", lambda: jc.conv(zeros(1, 0, 8, 3), K),
        "conv needs at least one cell on every spatial axis\n  got: spatial shape (0, 8)"),
    # conv: channels, groups, bias
    Row("conv of other channels", lambda: jc.conv(zeros(1, 8, 8, 4), K),
        "x must have 3 channels on its last axis, as the kernel [*k, C_in/groups, C_out] says\n"
        "  got: x (1, 8, 8, 4), kernel (3, 3, 3, 4)\n"
        "  fix: a kernel of shape (3, 3, 4, 4)",
        fixed=lambda: jc.conv(zeros(1, 8, 8, 4), zeros(3, 3, 4, 4))),
    Row("conv of signals of other channels", lambda: jc.conv(zeros(1, 8, 2), zeros(3, 4, 5)),
        "x must have 4 channels on its last axis, as the kernel [*k, C_in/groups, C_out] says\n"
        "  got: x (1, 8, 2), kernel (3, 4, 5)\n"
        "  fix: a kernel of shape (3, 2, 5)",
        fixed=lambda: jc.conv(zeros(1, 8, 2), zeros(3, 2, 5))),
    Row("conv with groups that do not divide the maps", lambda: jc.conv(zeros(1, 8, 8, 4), zeros(3, 3, 2, 3), groups=2),
        "groups must divide the number of maps (the kernel's last axis)\n"
        "  got: groups=2, 3 maps: kernel (3, 3, 2, 3)"),
    Row("conv with groups that divide neither side", lambda: jc.conv(X, zeros(3, 3, 1, 3), groups=2),
        "groups must divide the number of maps (the kernel's last axis)\n"
        "  got: groups=2, 3 maps: kernel (3, 3, 1, 3)"),
    Row("conv with no groups", lambda: jc.conv(X, K, groups=0),
        "groups must be ≥ 1\n  got: groups=0"),
    Row("conv with float groups", lambda: jc.conv(X, K, groups=1.0),
        "groups must be an int\n  got: groups=1.0\n  fix: groups=1",
        fixed=lambda: jc.conv(X, K, groups=1)),
    Row("conv with a bias of other length", lambda: jc.conv(X, K, zeros(3)),
        "bias must have one value for each of the 4 maps\n  got: bias (3,)"),
    Row("conv with a scalar bias", lambda: jc.conv(X, K, 1.0),
        "bias must have one value for each of the 4 maps\n  got: bias ()"),
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
    # conv: padding and pad_mode
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
        "padding must be a word, an int, one pair (lo, hi), or a pair for each of the 2 spatial axes\n"
        "  got: padding=(1,)"),
    Row("conv with torch.nn.functional.pad's four", lambda: jc.conv(X, K, padding=(1, 1, 1, 1)),
        "padding must be a word, an int, one pair (lo, hi), or a pair for each of the 2 spatial axes\n"
        "  got: padding=(1, 1, 1, 1)"),
    Row("conv with three pairs for two axes", lambda: jc.conv(X, K, padding=((1, 1), (1, 1), (1, 1))),
        "padding must be a word, an int, one pair (lo, hi), or a pair for each of the 2 spatial axes\n"
        "  got: padding=((1, 1), (1, 1), (1, 1))"),
    Row("conv with a pair and an int", lambda: jc.conv(X, K, padding=((1, 1), 1)),
        "padding must be a word, an int, one pair (lo, hi), or a pair for each of the 2 spatial axes\n"
        "  got: padding=((1, 1), 1)"),
    Row("conv with a word for each axis", lambda: jc.conv(X, K, padding=("same", "valid")),
        "padding must be a word, an int, one pair (lo, hi), or a pair for each of the 2 spatial axes\n"
        "  got: padding=('same', 'valid')"),
    Row("conv with a float in a pair", lambda: jc.conv(X, K, padding=(1, 2.0)),
        "padding must be an int\n  got: padding=2.0\n  fix: padding=2",
        fixed=lambda: jc.conv(X, K, padding=(1, 2))),
    Row("conv with a misspelt pad_mode", lambda: jc.conv(X, K, padding=1, pad_mode="reflekt"),
        "pad_mode must be one of zeros, reflect, edge, wrap\n"
        "  got: pad_mode='reflekt'; did you mean 'reflect'?",
        fixed=lambda: jc.conv(X, K, padding=1, pad_mode="reflect")),
    Row("conv with wrap wider than the input by dilation", lambda: ring(5, "wrap"),
        "pad_mode='wrap' can take at most 4 cells from each side of spatial axis 0, which has 4\n"
        "  got: padding (5, 5) on spatial shape (4, 4)\n"
        "  fix: pad_mode='zeros' or 'edge', less padding (a smaller kernel or dilation), or a larger input",
        fixed=lambda: ring(4, "wrap")),
    Row("conv with reflect wider than the input by dilation", lambda: ring(4, "reflect"),
        "pad_mode='reflect' can take at most 3 cells from each side of spatial axis 0, which has 4\n"
        "  got: padding (4, 4) on spatial shape (4, 4)\n"
        "  fix: pad_mode='zeros' or 'edge', less padding (a smaller kernel or dilation), or a larger input",
        fixed=lambda: ring(4, "edge")),
    # conv: impl
    Row("conv with an unknown impl", lambda: jc.conv(X, K, impl="fft"),
        "impl must be one of auto, tune, lax, canonical, dots, shifted, onednn, images, einsum; got 'fft'", error=jc.ConfigError),
    Row("JAXCONV_IMPL unknown", lambda: from_environment("fast"),
        "JAXCONV_IMPL must be one of auto, tune, lax, canonical, dots, shifted, onednn, images, einsum; got 'fast'", error=jc.ConfigError),
    Row("using an unknown impl", lambda: inside_using("winograd"),
        "impl must be one of auto, tune, lax, canonical, dots, shifted, onednn, images, einsum; got 'winograd'", error=jc.ConfigError),
    # pad
    Row("pad by an unknown word", lambda: jc.pad(X, "vaild"),
        "padding must be one of valid, same, same_lower, full, causal, an int, a pair, or a pair for each axis\n"
        "  got: padding='vaild'; did you mean 'valid'?",
        fixed=lambda: jc.pad(X, "valid")),
    Row("pad by a negative amount", lambda: jc.pad(X, -1),
        "padding must be ≥ 0\n  got: padding=-1"),
    # Conv: what it is made with
    Row("Conv of no features", lambda: jc.Conv(0, 3),
        "features must be ≥ 1\n  got: features=0"),
    Row("Conv of float features", lambda: jc.Conv(4.0, 3),
        "features must be an int\n  got: features=4.0\n  fix: features=4",
        fixed=lambda: jc.Conv(4, 3)),
    Row("Conv of size 0", lambda: init(jc.Conv(4, 0), 1, 8, 8, 3),
        "size must be ≥ 1\n  got: size=0"),
    Row("Conv of a float size", lambda: init(jc.Conv(4, 3.0), 1, 8, 8, 3),
        "size must be an int\n  got: size=3.0\n  fix: size=3",
        fixed=lambda: init(jc.Conv(4, 3), 1, 8, 8, 3)),
    Row("Conv of a signal's size on images", lambda: init(jc.Conv(4, (3,)), 1, 8, 8, 3),
        "conv of size (3,) needs an input [N, W, C], or one example without N\n"
        "  got: 4 axes: (1, 8, 8, 3)"),
    Row("Conv of four spatial axes", lambda: init(jc.Conv(4, (3, 3, 3, 3)), 1, 8, 8, 3),
        "conv works on 1 to 3 spatial axes\n  got: size=(3, 3, 3, 3)"),
    Row("Conv on an unbatched image", lambda: init(jc.Conv(4, 3), 8, 8, 3),
        "conv with an int size needs [N, H, W, C] or [N, D, H, W, C]\n"
        "  got: 3 axes: (8, 8, 3)\n"
        "  fix: size=(3,) for a batch of signals [N, W, C]; x[None] for a lone image [H, W, C]",
        fixed=lambda: init(jc.Conv(4, 3), 1, 8, 8, 3)),
    Row("Conv on signals with an int size", lambda: init(jc.Conv(4, 3), 16, 100, 2),
        "conv with an int size needs [N, H, W, C] or [N, D, H, W, C]\n"
        "  got: 3 axes: (16, 100, 2)\n"
        "  fix: size=(3,) for a batch of signals [N, W, C]; x[None] for a lone image [H, W, C]",
        fixed=lambda: init(jc.Conv(4, (3,)), 16, 100, 2)),
    Row("Conv on NCHW", lambda: init(jc.Conv(4, 3), 1, 3, 32, 32),
        "conv needs its input as [N, H, W, C]\n"
        "  got: (1, 3, 32, 32), which looks like NCHW\n"
        "  fix: jnp.moveaxis(x, 1, -1); if it really is NHWC of 32 channels, give size as a tuple",
        fixed=lambda: init(jc.Conv(4, 3), 1, 32, 32, 3)),
    Row("Conv on grey NCHW in a net", lambda: init(jc.chain(jc.Conv(4, 3)), 1, 1, 28, 28),
        "at conv0: conv needs its input as [N, H, W, C]\n"
        "  got: (1, 1, 28, 28), which looks like NCHW\n"
        "  fix: jnp.moveaxis(x, 1, -1); if it really is NHWC of 28 channels, give size as a tuple",
        fixed=lambda: init(jc.chain(jc.Conv(4, 3)), 1, 28, 28, 1)),
    Row("Conv on what only looks like NCHW", lambda: init(jc.Conv(4, 3), 1, 3, 9, 9),
        "conv needs its input as [N, H, W, C]\n"
        "  got: (1, 3, 9, 9), which looks like NCHW\n"
        "  fix: jnp.moveaxis(x, 1, -1); if it really is NHWC of 9 channels, give size as a tuple",
        fixed=lambda: init(jc.Conv(4, (3, 3)), 1, 3, 9, 9)),
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
        lambda: init(jc.chain(ring=jc.Conv(4, 3, padding="full", dilation=3, pad_mode="wrap")), 1, 4, 4, 1),
        "at ring: pad_mode='wrap' can take at most 4 cells from each side of spatial axis 0, which has 4\n"
        "  got: padding (6, 6) on spatial shape (4, 4)\n"
        "  fix: pad_mode='zeros' or 'edge', less padding (a smaller kernel or dilation), or a larger input",
        fixed=lambda: init(jc.chain(ring=jc.Conv(4, 3, padding="full", dilation=2, pad_mode="wrap")), 1, 4, 4, 1)),
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
        "  fix: params of this very layer"),
    Row("Conv with a kernel of other features", lambda: jc.Conv(8, 3).apply(CONV, {}, X),
        "this conv's kernel must be (3, 3, 3, 8)\n"
        "  got: kernel (3, 3, 3, 4)\n"
        "  fix: params of this very layer"),
    Row("Conv with a bias of other length", lambda: jc.Conv(4, 3).apply({"kernel": K, "bias": zeros(3)}, {}, X),
        "bias must have one value for each of the 4 maps\n  got: bias (3,)"),
    Row("Conv applied to NCHW", lambda: jc.Conv(4, 3).apply(CONV, {}, zeros(1, 3, 8, 8)),
        "x must have 3 channels on its last axis, as the kernel [*k, C_in/groups, C_out] says\n"
        "  got: x (1, 3, 8, 8), kernel (3, 3, 3, 4)\n"
        "  fix: x looks channels-first (NCHW): jnp.moveaxis(x, -3, -1) puts the channels last",
        fixed=lambda: jc.Conv(4, 3).apply(CONV, {}, jnp.moveaxis(zeros(1, 3, 8, 8), 1, -1))),
    Row("Conv applied to an unbatched image", lambda: jc.Conv(4, 3).apply(CONV, {}, X[0]),
        "conv with an int size needs [N, H, W, C] or [N, D, H, W, C]\n"
        "  got: 3 axes: (8, 8, 3)\n"
        "  fix: size=(3,) for a batch of signals [N, W, C]; x[None] for a lone image [H, W, C]",
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
        "max_pool with an int size needs [N, H, W, C] or [N, D, H, W, C]\n"
        "  got: 3 axes: (8, 8, 3)\n"
        "  fix: size=(2,) for a batch of signals [N, W, C]; x[None] for a lone image [H, W, C]",
        fixed=lambda: jc.max_pool(X[0][None], 2)),
    Row("max_pool of signals with an int size", lambda: jc.max_pool(zeros(4, 8, 3), 2),
        "max_pool with an int size needs [N, H, W, C] or [N, D, H, W, C]\n"
        "  got: 3 axes: (4, 8, 3)\n"
        "  fix: size=(2,) for a batch of signals [N, W, C]; x[None] for a lone image [H, W, C]",
        fixed=lambda: jc.max_pool(zeros(4, 8, 3), (2,))),
    Row("max_pool of a signal's size on images", lambda: jc.max_pool(X, (2,)),
        "max_pool of size (2,) needs an input [N, W, C], or one example without N\n"
        "  got: 4 axes: (1, 8, 8, 3)"),
    Row("max_pool of size 0", lambda: jc.max_pool(X, 0),
        "size must be ≥ 1\n  got: size=0"),
    Row("max_pool of a float size", lambda: jc.max_pool(X, 2.0),
        "size must be an int\n  got: size=2.0\n  fix: size=2",
        fixed=lambda: jc.max_pool(X, 2)),
    Row("max_pool of three strides", lambda: jc.max_pool(X, 2, stride=(1, 2, 1)),
        "stride must be one int, or one for each of the 2 spatial axes\n  got: stride=(1, 2, 1)"),
    Row("max_pool of a window in low padding alone", lambda: jc.max_pool(X, 2, padding=2),
        "every window of max_pool must hold at least one cell of its input\n"
        "  got: window 0 of spatial axis 0 lies in padding (2, 2) alone (size 2, stride 2, dilation 1, input 8)\n"
        "  fix: less padding",
        fixed=lambda: jc.max_pool(X, 2, padding=1)),
    Row("max_pool of a window in high padding alone", lambda: jc.max_pool(X, 2, padding=(0, 5)),
        "every window of max_pool must hold at least one cell of its input\n"
        "  got: window 4 of spatial axis 0 lies in padding (0, 5) alone (size 2, stride 2, dilation 1, input 8)\n"
        "  fix: less padding",
        fixed=lambda: jc.max_pool(X, 2, padding=(0, 1))),
    Row("avg_pool of a window in padding alone", lambda: jc.avg_pool(X, 2, padding=2),
        "every window of avg_pool must hold at least one cell of its input\n"
        "  got: window 0 of spatial axis 0 lies in padding (2, 2) alone (size 2, stride 2, dilation 1, input 8)\n"
        "  fix: less padding",
        fixed=lambda: jc.avg_pool(X, 2, padding=1)),
    Row("max_pool of no pixels", lambda: jc.max_pool(zeros(1, 0, 8, 3), 2),
        "max_pool needs at least one cell on every spatial axis\n  got: spatial shape (0, 8)"),
    Row("MaxPool once too often", lambda: init(jc.chain(jc.MaxPool(2), jc.MaxPool(2), last=jc.MaxPool(2)), 1, 4, 4, 3),
        "at last: max_pool: a window of 2 must fit into the padded input of 1 + 0 + 0 cells on spatial axis 0\n"
        "  got: spatial shape (1, 1); out = floor((1 + 0 + 0 - 1*(2 - 1) - 1) / 2) + 1 = 0\n"
        "  fix: a larger input, a window of at most 1",
        fixed=lambda: init(jc.chain(jc.MaxPool(2), jc.MaxPool(2), last=jc.MaxPool(2, padding="same")), 1, 4, 4, 3)),
    Row("lp_pool of p below 1", lambda: jc.lp_pool(X, 2, p=0.5),
        "p must be a number ≥ 1: below it (Σ|x|^p)^(1/p) is no norm\n  got: p=0.5"),
    Row("lp_pool of p NaN", lambda: jc.lp_pool(X, 2, p=NAN),
        "p must be a number ≥ 1: below it (Σ|x|^p)^(1/p) is no norm\n  got: p=nan"),
    Row("LpPool of p 0 in a net", lambda: init(jc.chain(jc.LpPool(2, p=0)), 1, 8, 8, 3),
        "at lp_pool0: p must be a number ≥ 1: below it (Σ|x|^p)^(1/p) is no norm\n  got: p=0"),
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
        "size must be ≥ 1\n  got: size=0"),
    Row("max_unpool with indices of another shape", lambda: jc.max_unpool(zeros(1, 4, 4, 2), INDICES, (8, 8)),
        "max_unpool needs values and indices of one shape [N, *out, C]\n"
        "  got: y (1, 4, 4, 2), indices (1, 4, 4, 3)"),
    Row("max_unpool to the whole shape", lambda: jc.max_unpool(zeros(1, 4, 4, 3), INDICES, (1, 8, 8, 3)),
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
    Row("conv_transpose with the kernel of the way back", lambda: jc.conv_transpose(zeros(1, 4, 4, 3), K),
        "x must have 4 channels, the maps (last axis) of the kernel it transposes\n"
        "  got: x (1, 4, 4, 3), kernel (3, 3, 3, 4)\n"
        "  fix: jnp.swapaxes(kernel, -1, -2)",
        fixed=lambda: jc.conv_transpose(zeros(1, 4, 4, 3), jnp.swapaxes(K, -1, -2))),
    Row("conv_transpose of other channels", lambda: jc.conv_transpose(zeros(1, 4, 4, 5), K),
        "x must have 4 channels, the maps (last axis) of the kernel it transposes\n"
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
        "output_size and output_padding say the same thing: give one\n  got: output_size=9, output_padding=0",
        fixed=lambda: jc.conv_transpose(Y, K, stride=2, output_size=9)),
    Row("conv_transpose with an output_size of the whole shape",
        lambda: jc.conv_transpose(Y, K, stride=2, output_size=(1, 9, 9, 3)),
        "output_size must be one int, or one for each of the 2 spatial axes\n"
        "  got: output_size=(1, 9, 9, 3)",
        fixed=lambda: jc.conv_transpose(Y, K, stride=2, output_size=(9, 9))),
    Row("conv_transpose with too much padding", lambda: jc.conv_transpose(Y, K, padding=3),
        "conv_transpose must leave at least one cell: out = (n - 1)*s + d*(k - 1) + 1 - lo - hi\n"
        "  got: out = (0, 0) from (4, 4), padding=3\n"
        "  fix: less padding",
        fixed=lambda: jc.conv_transpose(Y, K, padding=2)),
    Row("conv_transpose with the convolution's bias", lambda: jc.conv_transpose(Y, K, zeros(4)),
        "bias must have one value for each of the 3 maps\n  got: bias (4,)"),
    Row("conv_transpose with groups that do not divide", lambda: jc.conv_transpose(Y, K, groups=3),
        "groups must divide the number of maps (the kernel's last axis)\n"
        "  got: groups=3, 4 maps: kernel (3, 3, 3, 4)"),
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
    # norms
    Row("batch_norm with the mean of other channels", lambda: jc.batch_norm(X, zeros(4), zeros(3)),
        "mean must have one value for each of the 3 channels\n  got: (4,)"),
    Row("batch_norm with a scalar var", lambda: jc.batch_norm(X, zeros(3), 1.0),
        "var must have one value for each of the 3 channels\n  got: ()"),
    Row("BatchNorm of momentum 1", lambda: jc.BatchNorm(momentum=1.0),
        "momentum, the share of the old statistics that stays, must lie in [0, 1)\n"
        "  got: momentum=1.0"),
    Row("BatchNorm of momentum NaN", lambda: jc.BatchNorm(momentum=NAN),
        "momentum, the share of the old statistics that stays, must lie in [0, 1)\n"
        "  got: momentum=nan"),
    Row("BatchNorm of one axis", lambda: init(jc.BatchNorm(), 3),
        "batch_norm needs [N, ..., C]\n  got: (3,)"),
    Row("BatchNorm without state", lambda: jc.BatchNorm().apply(NORM, {}, X),
        "state of batch_norm must hold mean, var\n"
        "  got: nothing\n"
        "  fix: params, state = net.init(key, x)"),
    Row("BatchNorm with None for its state", lambda: jc.BatchNorm().apply(NORM, None, X),
        "state of batch_norm must hold mean, var\n"
        "  got: NoneType\n"
        "  fix: params, state = net.init(key, x)"),
    Row("BatchNorm without params", lambda: jc.BatchNorm().apply({}, STATS, X),
        "params of batch_norm must hold scale, bias\n"
        "  got: nothing\n"
        "  fix: params, state = net.init(key, x)"),
    Row("BatchNorm trained on other channels", lambda: jc.BatchNorm().apply(NORM, STATS, zeros(1, 8, 8, 4), train=True),
        "batch_norm must get the 3 channels that init saw\n  got: x (1, 8, 8, 4), mean (3,), var (3,)"),
    Row("group_norm with groups that do not divide", lambda: jc.group_norm(X, 2),
        "groups must divide the channels\n  got: groups=2, 3 channels"),
    Row("group_norm with no groups", lambda: jc.group_norm(X, 0),
        "groups must be ≥ 1\n  got: groups=0"),
    Row("GroupNorm with groups that do not divide in a net", lambda: init(jc.chain(norm=jc.GroupNorm(32)), 1, 8, 8, 48),
        "at norm: groups must divide the channels\n  got: groups=32, 48 channels"),
    Row("layer_norm of a scalar", lambda: jc.layer_norm(3.0),
        "layer_norm needs [..., C]\n  got: ()"),
    Row("layer_norm with torch's scale", lambda: jc.layer_norm(X, zeros(8, 8, 3)),
        "scale must have one value for each of the 3 channels\n  got: (8, 8, 3)",
        fixed=lambda: jc.layer_norm(X, zeros(3))),
    Row("instance_norm of a matrix", lambda: jc.instance_norm(zeros(4, 3)),
        "instance_norm needs [N, *spatial, C]\n  got: (4, 3)"),
    Row("local_response_norm of size 0", lambda: jc.local_response_norm(X, 0),
        "size must be ≥ 1\n  got: size=0"),
    # dropout
    Row("dropout of everything", lambda: jc.dropout(X, 1.0, jax.random.key(0)),
        "rate, the share that is dropped, must lie in [0, 1)\n  got: rate=1.0"),
    Row("dropout in percent", lambda: jc.dropout(X, 50, jax.random.key(0)),
        "rate, the share that is dropped, must lie in [0, 1)\n  got: rate=50"),
    Row("dropout of rate NaN", lambda: jc.dropout(X, NAN, jax.random.key(0)),
        "rate, the share that is dropped, must lie in [0, 1)\n  got: rate=nan"),
    Row("dropout along an axis that is not there", lambda: jc.dropout(X, 0.5, jax.random.key(0), shared=(4,)),
        "shared must name axes of x\n  got: shared=(4,), x (1, 8, 8, 3)"),
    Row("Dropout of rate 1", lambda: jc.Dropout(1),
        "rate, the share that is dropped, must lie in [0, 1)\n  got: rate=1"),
    Row("SpatialDropout of rate 1.5", lambda: jc.SpatialDropout(1.5),
        "rate, the share that is dropped, must lie in [0, 1)\n  got: rate=1.5"),
    Row("DropPath of rate NaN", lambda: jc.DropPath(NAN),
        "rate, the share that is dropped, must lie in [0, 1)\n  got: rate=nan"),
    Row("Dropout without a key", lambda: jc.Dropout(0.5).apply({}, {}, X, train=True),
        "dropout needs a key when train=True\n"
        "  got: key=None\n"
        "  fix: net.apply(params, state, x, key=jax.random.fold_in(key, step), train=True)",
        fixed=lambda: jc.Dropout(0.5).apply({}, {}, X, key=jax.random.fold_in(jax.random.key(0), 1), train=True)),
    Row("DropPath without a key in a nested net", lambda: deep_drop(None),
        "at a/drop: dropout needs a key when train=True\n"
        "  got: key=None\n"
        "  fix: net.apply(params, state, x, key=jax.random.fold_in(key, step), train=True)",
        fixed=lambda: deep_drop(jax.random.key(0))),
    # flatten and Dense
    Row("flatten of a scalar", lambda: jc.flatten(3.0),
        "flatten needs a batch axis: [N, ...]\n  got: a scalar"),
    Row("Dense of no features", lambda: jc.Dense(0),
        "features must be ≥ 1\n  got: features=0"),
    Row("Dense of a scalar", lambda: jc.Dense(10).init(jax.random.key(0), np.float32(1)),
        "dense needs an input [..., C_in] of at least one channel\n  got: ()"),
    Row("Dense without its bias", lambda: jc.Dense(3).apply({"kernel": zeros(4, 3)}, {}, zeros(1, 4)),
        "params of dense must hold kernel, bias\n"
        "  got: kernel\n"
        "  fix: params, state = net.init(key, x)"),
    Row("Dense on another input size in a net", lambda: headed(jc.flatten, 192),
        "at head: dense must get the 192 values that its kernel was initialised for\n"
        "  got: x (1, 64), kernel (192, 3)\n"
        "  fix: an input of the size that init saw; global_avg_pool instead of flatten takes any size",
        fixed=lambda: headed(jc.global_avg_pool, 4)),
    # convolutions made of smaller ones, masks, initialisers
    Row("DepthwiseConv with features", lambda: jc.DepthwiseConv(3, features=8),
        "features of a depthwise convolution follow from its input\n  got: features=8"),
    Row("DepthwiseConv with groups", lambda: jc.DepthwiseConv(3, groups=3),
        "groups of a depthwise convolution follow from its input\n  got: groups=3"),
    Row("DepthwiseConv with multiplier 0", lambda: jc.DepthwiseConv(3, multiplier=0),
        "multiplier must be ≥ 1\n  got: multiplier=0"),
    Row("SeparableConv larger than the input", lambda: init(jc.SeparableConv(4, 9), 1, 8, 8, 3),
        "at depthwise: conv: a kernel of 9 must fit into the padded input of 8 + 0 + 0 cells on spatial axis 0\n"
        "  got: spatial shape (8, 8); out = floor((8 + 0 + 0 - 1*(9 - 1) - 1) / 1) + 1 = 0\n"
        "  fix: a larger input, a kernel of at most 8, or padding='same'",
        fixed=lambda: init(jc.SeparableConv(4, 8), 1, 8, 8, 3)),
    Row("SpatiallySeparableConv with a misspelt padding",
        lambda: init(jc.SpatiallySeparableConv(4, (3, 3), padding="smae"), 1, 8, 8, 3),
        "at axis0: padding must be one of valid, same, same_lower, full, causal, an int, a pair, or a pair for "
        "each axis\n"
        "  got: padding='smae'; did you mean 'same'?",
        fixed=lambda: init(jc.SpatiallySeparableConv(4, (3, 3), padding="same"), 1, 8, 8, 3)),
    Row("masked by what does not broadcast", lambda: jc.masked(zeros(5, 5, 1, 1))(K),
        "a mask must broadcast to the kernel\n  got: mask (5, 5, 1, 1), kernel (3, 3, 3, 4)"),
    Row("Conv masked by what does not broadcast in a net",
        lambda: init(jc.chain(causal=jc.Conv(4, 3, transform=jc.masked(zeros(3, 3)))), 1, 8, 8, 3),
        "at causal: a mask must broadcast to the kernel\n"
        "  got: mask (3, 3), kernel (3, 3, 3, 4)",
        fixed=lambda: init(jc.chain(causal=jc.Conv(4, 3, transform=jc.masked(zeros(3, 3, 1, 1)))), 1, 8, 8, 3)),
    Row("he_normal for a bias", lambda: init(jc.Conv(4, 3, bias_init=jc.initializers.he_normal), 1, 8, 8, 3),
        "a fan needs a shape [*k, C_in, C_out]\n  got: (4,)\n  fix: initializers.zeros",
        fixed=lambda: init(jc.Conv(4, 3, bias_init=jc.initializers.zeros), 1, 8, 8, 3)),
    Row("dirac of an even size", lambda: init(jc.Conv(3, 2, kernel_init=jc.initializers.dirac), 1, 8, 8, 3),
        "dirac needs odd kernel sizes: an even one has no middle\n  got: (2, 2, 3, 3)",
        fixed=lambda: init(jc.Conv(3, 3, kernel_init=jc.initializers.dirac), 1, 8, 8, 3)),
    # combinators
    Row("branch with an unknown merge", lambda: jc.branch(jnp.sin, jnp.cos, merge="concatenate"),
        "merge must be concat, sum or a function of a list of arrays\n"
        "  got: merge='concatenate'; did you mean 'concat'?",
        fixed=lambda: jc.branch(jnp.sin, jnp.cos, merge="concat")),
    Row("branch of nothing", lambda: jc.branch(),
        "branch needs at least one part\n  got: none"),
    Row("branch of maps of other sizes", lambda: init(jc.branch(jc.Conv(4, 3), jc.Conv(4, 5)), 1, 8, 8, 3),
        "branches must give the same shape but for the channels to be merged by concat\n"
        "  got: conv0 (1, 6, 6, 4), conv1 (1, 4, 4, 4)"),
    Row("branch summing other channels",
        lambda: init(jc.branch(a=jc.Conv(4, 3), b=jc.Conv(5, 3), merge="sum"), 1, 8, 8, 3),
        "branches must give the same shape to be merged by sum\n"
        "  got: a (1, 6, 6, 4), b (1, 6, 6, 5)"),
    Row("residual of other channels", lambda: init(jc.residual(jc.Conv(4, 3, padding="same")), 1, 8, 8, 3),
        "body and shortcut must give the same shape\n"
        "  got: body (1, 8, 8, 4), shortcut (1, 8, 8, 3)\n"
        "  fix: shortcut=Conv(4, 1)",
        fixed=lambda: init(jc.residual(jc.Conv(4, 3, padding="same"), shortcut=jc.Conv(4, 1, stride=1)), 1, 8, 8, 3)),
    Row("residual of another stride in a net",
        lambda: init(jc.chain(block=jc.residual(jc.Conv(4, 2, stride=2))), 1, 8, 8, 3),
        "at block: body and shortcut must give the same shape\n"
        "  got: body (1, 4, 4, 4), shortcut (1, 8, 8, 3)\n"
        "  fix: shortcut=Conv(4, 1, stride=2)",
        fixed=lambda: init(jc.residual(jc.Conv(4, 2, stride=2), shortcut=jc.Conv(4, 1, stride=2)), 1, 8, 8, 3)),
    Row("residual with a shortcut of other channels",
        lambda: init(jc.residual(jc.Conv(4, 3, padding="same"), shortcut=jc.Conv(5, 1)), 1, 8, 8, 3),
        "body and shortcut must give the same shape\n"
        "  got: body (1, 8, 8, 4), shortcut (1, 8, 8, 5)"),
    Row("repeat of nothing", lambda: jc.repeat(jc.Dense(8), 0),
        "n must be ≥ 1\n  got: n=0"),
    Row("cast to int", lambda: jc.cast(jc.Dense(8), jnp.int32),
        "cast computes in a floating type\n  got: int32\n  fix: jnp.bfloat16",
        fixed=lambda: jc.cast(jc.Dense(8), jnp.bfloat16)),
    Row("chain with an automatic name given again", lambda: jc.chain(jc.Conv(4, 3), conv0=jc.Conv(4, 3)),
        "a part's name must be its own; 'conv0' is the automatic name of another part", error=ValueError),
    Row("chain of a number", lambda: jc.chain(jc.Conv(4, 3), 3),
        "a part must be a Layer or a callable from array to array; got 3", error=TypeError),
    Row("chain of a word", lambda: jc.chain(jc.Conv(4, 3), "relu"),
        "a part must be a Layer or a callable from array to array; got 'relu'", error=TypeError),
    Row("wire that calls what it has not",
        lambda: init(jc.wire("w", {"conv": jnp.sin}, lambda call, x: call("cnov", x)), 1, 2),
        "a flow may call its own parts only\n"
        "  got: call('cnov'); did you mean 'conv'?\n"
        "  fix: conv",
        fixed=lambda: init(jc.wire("w", {"conv": jnp.sin}, lambda call, x: call("conv", x)), 1, 2)),
    Row("wire that leaves a part out",
        lambda: init(jc.wire("w", {"a": jnp.sin, "b": jnp.cos}, lambda call, x: call("a", x)), 1, 2),
        "every part must be called by the flow\n  got: 'b' is never called\n  fix: remove it",
        fixed=lambda: init(jc.wire("w", {"a": jnp.sin}, lambda call, x: call("a", x)), 1, 2)),
    Row("stateless with state", lambda: init(jc.stateless(jc.chain(norm=jc.BatchNorm())), 1, 8, 3),
        "stateless needs a net without state\n"
        "  got: state norm/mean, norm/var\n"
        "  fix: params, state = net.init(key, x)"),
    # surgery and the way back
    Row("replace of a part that is not there", lambda: jc.replace(tiny(), "haed", jc.Dense(5)),
        "chain has stem, pool, head\n  got: path 'haed'; did you mean 'head'?",
        fixed=lambda: jc.replace(tiny(), "head", jc.Dense(5))),
    Row("replace in a leaf", lambda: jc.replace(jc.Dense(3), "kernel", jnp.sin),
        "dense has no parts\n  got: path 'kernel'"),
    Row("features up to a part that is not there", lambda: jc.features(tiny(), upto="stem/conv3"),
        "chain has conv0, relu0\n  got: path 'stem/conv3'; did you mean 'conv0'?",
        fixed=lambda: jc.features(tiny(), upto="stem/conv0")),
    Row("features of a leaf", lambda: jc.features(jc.Dense(3), upto="kernel"),
        "dense has no parts\n  got: path 'kernel'"),
    Row("features of a repeat", lambda: jc.features(jc.repeat(jc.chain(a=jc.Dense(8)), 2), upto="a"),
        "features cuts nets of wire, chain, residual and branch\n  got: repeat(chain, 2) in 'a'"),
    Row("features with the params of another net",
        lambda: jc.features(tiny(), upto="stem").apply({"conv0": CONV}, {}, X),
        "params must be those of this net: stem\n"
        "  got: params of conv0\n"
        "  fix: params, state = net.init(key, x)"),
    Row("partition by a misspelt path", lambda: jc.partition(WEIGHTS, {"frozen": "head/kernle"}),
        "a pattern must fit at least one parameter\n"
        "  got: 'head/kernle'; did you mean 'head/kernel'?\n"
        "  fix: paths here: head/kernel, stem/conv0/bias, stem/conv0/kernel",
        fixed=lambda: jc.partition(WEIGHTS, {"frozen": "head/kernel"})),
    Row("partition by a pattern that fits nothing", lambda: jc.partition(WEIGHTS, {"frozen": ["stem", "*/scale"]}),
        "a pattern must fit at least one parameter\n"
        "  got: '*/scale'\n"
        "  fix: paths here: head/kernel, stem/conv0/bias, stem/conv0/kernel",
        fixed=lambda: jc.partition(WEIGHTS, {"frozen": ["stem", "stem/conv0/bias"]})),
    Row("freeze of a pattern that fits nothing", lambda: jc.freeze(optax.sgd(0.1), "body/*").init(WEIGHTS),
        "a pattern must fit at least one parameter\n"
        "  got: 'body/*'\n"
        "  fix: paths here: head/kernel, stem/conv0/bias, stem/conv0/kernel",
        fixed=lambda: jc.freeze(optax.sgd(0.1), "stem/conv0/kernel").init(WEIGHTS)),
    Row("adjoint of a chain", lambda: jc.adjoint(jc.chain(jc.Conv(4, 3)), (1, 8, 8, 3)),
        "adjoint needs a linear layer with a kernel: Conv, DepthwiseConv, LocalConv, ConvTranspose or Dense\n"
        "  got: chain\n"
        "  fix: the adjoints of its parts, in reverse order",
        fixed=lambda: jc.chain(jc.adjoint(jc.Conv(4, 3), (1, 8, 8, 3)))),
    Row("adjoint of another output", lambda: jc.adjoint(jc.Conv(4, 3), X.shape).apply(BACK, {}, zeros(1, 5, 5, 4)),
        "this adjoint leads back from [N, 6, 6, 4]\n  got: (1, 5, 5, 4)"),
    Row("adjoint of an unbatched output", lambda: jc.adjoint(jc.Conv(4, 3), X.shape).apply(BACK, {}, zeros(6, 6, 4)),
        "this adjoint leads back from [N, 6, 6, 4]\n  got: (6, 6, 4)"),
    Row("adjoint of another conv's output in a net",
        lambda: init(jc.chain(jc.Conv(4, 3), jc.adjoint(jc.Conv(5, 3), (1, 8, 8, 3))), 1, 8, 8, 3),
        "at adjoint0: this adjoint leads back from [N, 6, 6, 5]\n  got: (1, 6, 6, 4)"),
    # found by trying: what was once accepted, or failed inside JAX
    Row("conv with channels that differ, no layout to blame", lambda: jc.conv(zeros(1, 32, 32, 3), zeros(3, 3, 32, 8)),
        "x must have 32 channels on its last axis, as the kernel [*k, C_in/groups, C_out] says\n"
        "  got: x (1, 32, 32, 3), kernel (3, 3, 32, 8)\n"
        "  fix: a kernel of shape (3, 3, 3, 8)"),
    Row("conv with grouped channels that differ", lambda: jc.conv(zeros(1, 8, 8, 4), zeros(3, 3, 4, 4), groups=2),
        "x must have 8 channels (4 for each of 2 groups) on its last axis, as the kernel [*k, C_in/groups, C_out] says\n"
        "  got: x (1, 8, 8, 4), kernel (3, 3, 4, 4)\n"
        "  fix: a kernel of shape (3, 3, 2, 4)"),
    Row("conv of a lone channels-first image", lambda: jc.conv(zeros(3, 8, 9), K),
        "x must have 3 channels on its last axis, as the kernel [*k, C_in/groups, C_out] says\n"
        "  got: x (3, 8, 9), kernel (3, 3, 3, 4)\n"
        "  fix: x looks channels-first (NCHW): jnp.moveaxis(x, -3, -1) puts the channels last"),
    Row("conv of a channels-first signal", lambda: jc.conv(zeros(2, 3, 9), zeros(3, 3, 4)),
        "x must have 3 channels on its last axis, as the kernel [*k, C_in/groups, C_out] says\n"
        "  got: x (2, 3, 9), kernel (3, 3, 4)\n"
        "  fix: x looks channels-first: jnp.moveaxis(x, -2, -1) puts the channels last"),
    Row("max_pool of a lone grey image", lambda: jc.max_pool(zeros(8, 8), 2),
        "max_pool with an int size needs [N, H, W, C] or [N, D, H, W, C]\n"
        "  got: 2 axes: (8, 8)\n"
        "  fix: x[None, :, :, None] for a lone grey image [H, W]; x[None], size=(2,) for a lone signal [W, C]"),
    Row("conv with a kernel without maps", lambda: jc.conv(X, zeros(3, 3, 3, 0)),
        "conv needs a kernel [*k, C_in/groups, C_out] without empty axes\n"
        "  got: kernel (3, 3, 3, 0)"),
    Row("conv of no channels", lambda: jc.conv(zeros(1, 8, 8, 0), K),
        "x must have 3 channels on its last axis, as the kernel [*k, C_in/groups, C_out] says\n"
        "  got: x (1, 8, 8, 0), kernel (3, 3, 3, 4)"),
    Row("Conv.init of no channels", lambda: init(jc.Conv(4, 3), 1, 8, 8, 0),
        "x must have at least one channel on its last axis\n"
        "  got: 0 channels"),
    Row("Dense.init of no channels", lambda: init(jc.Dense(4), 1, 0),
        "dense needs an input [..., C_in] of at least one channel\n"
        "  got: (1, 0)"),
    Row("Conv.apply on other channels", lambda: jc.Conv(4, 3).apply(CONV, {}, zeros(1, 8, 8, 1)),
        "x must have 3 channels on its last axis, as the kernel [*k, C_in/groups, C_out] says\n"
        "  got: x (1, 8, 8, 1), kernel (3, 3, 3, 4)\n"
        "  fix: an input with the 3 channels that init saw"),
    Row("DepthwiseConv.apply on other channels", lambda: jc.DepthwiseConv(3).apply({"kernel": zeros(3, 3, 1, 3), "bias": zeros(3)}, {}, zeros(1, 8, 8, 5)),
        "x must have 3 channels (1 for each of 3 groups) on its last axis, as the kernel [*k, C_in/groups, C_out] says\n"
        "  got: x (1, 8, 8, 5), kernel (3, 3, 1, 3)\n"
        "  fix: an input with the 3 channels that init saw"),
    Row("BatchNorm on other channels", lambda: jc.BatchNorm().apply({"scale": zeros(3), "bias": zeros(3)}, {"mean": zeros(3), "var": zeros(3)}, zeros(1, 8, 8, 5)),
        "batch_norm must get the 3 channels that init saw\n"
        "  got: x (1, 8, 8, 5), mean (3,), var (3,)"),
    Row("BatchNorm with a var of another length", lambda: jc.BatchNorm().apply({"scale": zeros(3), "bias": zeros(3)}, {"mean": zeros(3), "var": zeros(2)}, X, train=True),
        "batch_norm must get the 3 channels that init saw\n"
        "  got: x (1, 8, 8, 3), mean (3,), var (2,)"),
    Row("residual of a body that loses the border", lambda: init(jc.residual(jc.Conv(4, 3)), 1, 8, 8, 3),
        "body and shortcut must give the same shape\n"
        "  got: body (1, 6, 6, 4), shortcut (1, 8, 8, 3)\n"
        "  fix: padding='same' in the body, and shortcut=Conv(4, 1)"),
    Row("residual of a body that strides", lambda: init(jc.residual(jc.Conv(4, 3, stride=2, padding="same")), 1, 8, 8, 3),
        "body and shortcut must give the same shape\n"
        "  got: body (1, 4, 4, 4), shortcut (1, 8, 8, 3)\n"
        "  fix: shortcut=Conv(4, 1, stride=2)"),
    Row("residual of a body of other maps", lambda: init(jc.residual(jc.Conv(4, 1)), 1, 8, 8, 3),
        "body and shortcut must give the same shape\n"
        "  got: body (1, 8, 8, 4), shortcut (1, 8, 8, 3)\n"
        "  fix: shortcut=Conv(4, 1)"),
    Row("residual of flatten", lambda: init(jc.residual(jc.flatten), 1, 8, 8, 3),
        "body and shortcut must give the same shape\n"
        "  got: body (1, 192), shortcut (1, 8, 8, 3)"),
    Row("dropout of integers", lambda: jc.dropout(np.ones(4, np.int32), 0.5, jax.random.key(0)),
        "dropout needs a floating type\n"
        "  got: int32\n"
        "  fix: x.astype(jnp.float32)"),
    Row("SpatiallySeparableConv with a padding of one axis", lambda: jc.SpatiallySeparableConv(4, (3, 3), padding=((1, 1),)),
        "padding must be a word, an int, one pair (lo, hi), or a pair for each of the 2 spatial axes\n"
        "  got: padding=((1, 1),)"),
    Row("SpatiallySeparableConv with three paddings", lambda: jc.SpatiallySeparableConv(4, (3, 3), padding=((1, 1), (1, 1), (1, 1))),
        "padding must be a word, an int, one pair (lo, hi), or a pair for each of the 2 spatial axes\n"
        "  got: padding=((1, 1), (1, 1), (1, 1))"),
    Row("SpatiallySeparableConv with one int", lambda: jc.SpatiallySeparableConv(4, 3),
        "size must be one int for each spatial axis\n"
        "  got: size=3\n"
        "  fix: size=(3, 3)"),
    Row("cast to None", lambda: jc.cast(jc.Conv(4, 3), None),
        "cast computes in a floating type\n"
        "  got: None\n"
        "  fix: jnp.bfloat16"),
    Row("cast to a word", lambda: jc.cast(jc.Conv(4, 3), "bf16"),
        "cast computes in a floating type\n"
        "  got: 'bf16'\n"
        "  fix: jnp.bfloat16"),
    Row("torch's circular", lambda: jc.conv(X, K, padding=1, pad_mode="circular"),
        "pad_mode must be one of zeros, reflect, edge, wrap\n"
        "  got: pad_mode='circular'; did you mean 'wrap'?"),
    Row("torch's replicate", lambda: jc.conv(X, K, padding=1, pad_mode="replicate"),
        "pad_mode must be one of zeros, reflect, edge, wrap\n"
        "  got: pad_mode='replicate'; did you mean 'edge'?"),
    Row("a pad_mode as padding", lambda: jc.conv(X, K, padding="reflect"),
        "padding must be one of valid, same, same_lower, full, causal, an int, a pair, or a pair for each axis\n"
        "  got: padding='reflect'\n"
        "  fix: padding='same', pad_mode='reflect'"),
    Row("padding an empty axis", lambda: jc.pad(zeros(1, 0, 8, 3), 1, (1, 1), pad_mode="edge"),
        "padding needs at least one cell on every spatial axis\n"
        "  got: spatial shape (0, 8)"),
    Row("blurring an empty axis", lambda: jc.blur_pool(zeros(1, 0, 8, 3)),
        "padding needs at least one cell on every spatial axis\n"
        "  got: spatial shape (0, 8)"),
    Row("conv_transpose of an empty axis", lambda: jc.conv_transpose(zeros(1, 0, 8, 4), K),
        "conv_transpose needs at least one cell on every spatial axis\n"
        "  got: (0, 8)"),
    Row("max_unpool of other shapes", lambda: jc.max_unpool(zeros(1, 4, 4, 3), zeros(1, 4, 3, 3, dtype=np.int32), 8),
        "max_unpool needs values and indices of one shape [N, *out, C]\n"
        "  got: y (1, 4, 4, 3), indices (1, 4, 3, 3)"),
    Row("max_unpool to a negative shape", lambda: jc.max_unpool(zeros(1, 4, 4, 3), INDICES, (-8, 8)),
        "shape must be ≥ 1\n"
        "  got: shape=-8"),
    Row("max_unpool to nothing", lambda: jc.max_unpool(zeros(1, 4, 4, 3), INDICES, (0, 8)),
        "shape must be ≥ 1\n"
        "  got: shape=0"),
    Row("output_padding of the stride", lambda: jc.conv_transpose(Y, K, stride=2, output_padding=2),
        "output_padding must be less than the stride: in [0, 2) on spatial axis 0\n"
        "  got: output_padding=(2, 2), stride 2\n"
        "  fix: output_padding=1"),
    Row("output_padding at stride 1", lambda: jc.conv_transpose(Y, K, output_padding=1),
        "output_padding must be less than the stride: in [0, 1) on spatial axis 0\n"
        "  got: output_padding=(1, 1), stride 1\n"
        "  fix: output_padding=0"),
    Row("output_size that conv never maps here", lambda: jc.conv_transpose(Y, K, stride=2, output_size=12),
        "output_size must be 9 or 10 on spatial axis 0: no other does the convolution map to 4\n"
        "  got: output_size=(12, 12)\n"
        "  fix: output_size=9"),
    Row("output_size at stride 3", lambda: jc.conv_transpose(Y, K, stride=3, output_size=9),
        "output_size must be 12 to 14 on spatial axis 0: no other does the convolution map to 4\n"
        "  got: output_size=(9, 9)\n"
        "  fix: output_size=12"),
    Row("ConvTranspose with another's kernel", lambda: jc.ConvTranspose(3, 3).apply({"kernel": zeros(5, 5, 3, 4), "bias": zeros(3)}, {}, Y),
        "this conv_transpose's kernel must be (3, 3, 3, 4)\n"
        "  got: kernel (5, 5, 3, 4)\n"
        "  fix: params of this very layer"),
    Row("LocalConv with another's kernel", lambda: jc.LocalConv(4, 3).apply({"kernel": zeros(6, 6, 3, 3, 3, 5), "bias": zeros(6, 6, 5)}, {}, X),
        "this local_conv's kernel must be (6, 6, 3, 3, 3, 4)\n"
        "  got: kernel (6, 6, 3, 3, 3, 5)\n"
        "  fix: params of this very layer"),
    Row("local_conv with a shared kernel", lambda: jc.local_conv(X, K),
        "local_conv needs a kernel for each position: [*out, *k, C_in, C_out]\n"
        "  got: kernel (3, 3, 3, 4), x (1, 8, 8, 3)\n"
        "  fix: jaxconv.conv for a shared kernel"),
    Row("ConvTranspose.init of NCHW", lambda: init(jc.ConvTranspose(4, 3), 1, 3, 32, 32),
        "conv_transpose needs its input as [N, H, W, C]\n"
        "  got: (1, 3, 32, 32), which looks like NCHW\n"
        "  fix: jnp.moveaxis(x, 1, -1); if it really is NHWC of 32 channels, give size as a tuple"),
    Row("an int for a key", lambda: jc.Conv(4, 3).init(0, (1, 8, 8, 3)),
        "key must be one jax.random key\n"
        "  got: 0\n"
        "  fix: jax.random.key(0)"),
    Row("no key for a net", lambda: tiny().init(None, (1, 8, 8, 3)),
        "key must be one jax.random key\n"
        "  got: None\n"
        "  fix: jax.random.key(0)"),
    Row("many keys for one", lambda: jc.Dense(3).init(jax.random.split(jax.random.key(0), 2), (1, 3)),
        "key must be one jax.random key\n"
        "  got: keys of shape (2,)\n"
        "  fix: jax.random.key(0)"),
    Row("an int for dropout's key", lambda: jc.dropout(X, 0.5, 7),
        "key must be one jax.random key\n"
        "  got: 7\n"
        "  fix: jax.random.key(0)"),
    Row("a list for a shape", lambda: jc.Conv(4, 3).init(jax.random.key(0), [1, 8, 8, 3]),
        "x must be an array, a ShapeDtypeStruct or a tuple of ints ≥ 0\n"
        "  got: [1, 8, 8, 3]\n"
        "  fix: (1, 8, 8, 3)"),
    Row("a negative shape", lambda: init(jc.Conv(4, 3), -1, 8, 8, 3),
        "x must be an array, a ShapeDtypeStruct or a tuple of ints ≥ 0\n"
        "  got: (-1, 8, 8, 3)"),
    Row("an empty shape", lambda: init(tiny()),
        "x must be an array, a ShapeDtypeStruct or a tuple of ints ≥ 0\n"
        "  got: ()"),
    Row("Dense with a bias of another length", lambda: jc.Dense(3).apply({"kernel": zeros(4, 3), "bias": zeros(2)}, {}, zeros(1, 4)),
        "bias must have one value for each of the 3 maps\n"
        "  got: bias (2,)"),
    Row("Dense with a kernel of other features", lambda: jc.Dense(3).apply({"kernel": zeros(4, 5), "bias": zeros(3)}, {}, zeros(1, 4)),
        "this dense's kernel must be (4, 3)\n"
        "  got: kernel (4, 5)\n"
        "  fix: params of this very layer"),
    Row("a kernel that is None", lambda: jc.Dense(3).apply({"kernel": None, "bias": zeros(3)}, {}, zeros(1, 4)),
        "params of dense must be arrays\n"
        "  got: kernel=None"),
    Row("a stride that is no number", lambda: jc.conv(X, K, stride=float("nan")),
        "stride must be an int\n"
        "  got: stride=nan"),
    Row("p as text", lambda: jc.lp_pool(X, 2, p="2"),
        "p must be a number ≥ 1: below it (Σ|x|^p)^(1/p) is no norm\n"
        "  got: p='2'"),
    Row("rate as text", lambda: jc.Dropout("0.5"),
        "rate, the share that is dropped, must lie in [0, 1)\n"
        "  got: rate='0.5'"),
    Row("a negative eps", lambda: jc.layer_norm(X, eps=-1.0),
        "eps must be a number ≥ 0\n"
        "  got: eps=-1.0"),
    Row("an unknown fan", lambda: jc.initializers.VarianceScaling(1, "fan_in"),
        "VarianceScaling needs a scale > 0 and fan \"in\", \"out\" or \"avg\"\n"
        "  got: 1, 'fan_in'"),
    Row("an initialiser's name", lambda: jc.Conv(4, 3, kernel_init="he_normal"),
        "kernel_init must be a function (key, shape, dtype) -> array\n"
        "  got: kernel_init='he_normal'\n"
        "  fix: jaxconv.initializers.he_normal"),
    Row("a number for an initialiser", lambda: jc.Dense(4, bias_init=0.0),
        "bias_init must be a function (key, shape, dtype) -> array\n"
        "  got: bias_init=0.0"),
    Row("repeat of a layer that changes the shape", lambda: init(jc.repeat(jc.Dense(8), 3), 1, 4),
        "a repeated layer must keep its input's shape and dtype\n"
        "  got: (1, 4) float32 -> (1, 8) float32"),
    Row("repeat with params of another n", lambda: jc.repeat(jc.Dense(4), 2).apply({"kernel": zeros(3, 4, 4), "bias": zeros(3, 4)}, {}, zeros(1, 4)),
        "params and state of repeat(dense, 2) must have a first axis of 2\n"
        "  got: 3"),
    Row("adjoint of a pool", lambda: jc.adjoint(jc.MaxPool(2), (1, 8, 8, 3)),
        "adjoint needs a linear layer with a kernel: Conv, DepthwiseConv, LocalConv, ConvTranspose or Dense\n"
        "  got: max_pool"),
    Row("adjoint of a chain of one", lambda: jc.adjoint(jc.chain(jc.Conv(4, 3)), (1, 8, 8, 3)),
        "adjoint needs a linear layer with a kernel: Conv, DepthwiseConv, LocalConv, ConvTranspose or Dense\n"
        "  got: chain\n"
        "  fix: the adjoints of its parts, in reverse order"),
    Row("adjoint.init on another shape", lambda: init(jc.adjoint(jc.Conv(4, 3), (1, 8, 8, 3)), 1, 5, 5, 4),
        "this adjoint leads back from [N, 6, 6, 4]\n"
        "  got: (1, 5, 5, 4)"),
    Row("freeze of nothing", lambda: jc.freeze(optax.sgd(0.1)),
        "freeze needs patterns\n"
        "  got: ()\n"
        "  fix: freeze(optimizer, 'stem', '*/bias')"),
    Row("freeze of a list", lambda: jc.freeze(optax.sgd(0.1), ["stem"]),
        "freeze needs patterns\n"
        "  got: (['stem'],)\n"
        "  fix: freeze(optimizer, 'stem', '*/bias')"),
    Row("partition by a word", lambda: jc.partition({"stem": CONV}, "stem"),
        "labels must be {label: pattern or patterns}\n"
        "  got: 'stem'\n"
        "  fix: {'frozen': 'stem'}"),
    Row("a pattern with a slip", lambda: jc.partition({"stem": CONV}, {"frozen": "stme"}),
        "a pattern must fit at least one parameter\n"
        "  got: 'stme'; did you mean 'stem'?\n"
        "  fix: paths here: stem/bias, stem/kernel"),
    Row("replace on a path halfway there", lambda: jc.replace(tiny(), "stem/conv1", jnp.sin),
        "chain has conv0, relu0\n"
        "  got: path 'stem/conv1'; did you mean 'conv0'?"),
    Row("a path that is no text", lambda: jc.replace(tiny(), 0, jnp.sin),
        "a path must be text like 'stage1/conv0'\n"
        "  got: 0"),
    Row("features of a flow in another order", lambda: init(jc.features(jc.wire("w", {"a": jnp.sin, "b": jnp.sin}, lambda call, x: call("a", call("b", x))), "a"), 1, 2),
        "features needs parts that run in the order they stand in\n"
        "  got: 'b' runs before 'a'"),
    Row("a layer's function for a layer", lambda: jc.chain(jc.Conv(4, 3), jc.Dropout),
        "a part must be a Layer or a callable from array to array; got the function Dropout: call it, Dropout(...)", error=TypeError),
    Row("a list of layers", lambda: jc.chain([jc.Conv(4, 3), jc.Conv(4, 3)]),
        "a part must be a Layer or a callable from array to array; got a list of 2: chain(*layers)", error=TypeError),
    Row("wire without a flow", lambda: jc.wire("w", {"a": jnp.sin}, None),
        "wire needs a dict of parts and a function flow(call, x); got dict, None", error=TypeError),
    Row("a size as text", lambda: jc.max_pool(X, "2"),
        "size must be an int, or one for each spatial axis\n"
        "  got: size='2'"),
]
# fmt: on


@pytest.mark.parametrize("row", TABLE, ids=[row.title.replace(" ", "_") for row in TABLE])
def test_a_wrong_call_says_what_is_wrong(row):
    with pytest.raises(row.error) as caught:
        trace(row.call)
    assert type(caught.value) is row.error
    assert str(caught.value) == row.message
    assert row.message.count("\n") < 6
    if row.fixed is not None:
        trace(row.fixed)


def test_no_title_stands_twice():
    titles = [row.title for row in TABLE]
    assert len(titles) == len(set(titles))
