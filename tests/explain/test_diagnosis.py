"""Thirty wrong nets and inputs, each with the whole of what is said about it."""

import jax
import jax.numpy as jnp
import pytest

import jaxconv as jc
from jaxconv._base.errors import ShapeError
from jaxconv.explain import diagnose
from jaxconv.models import conv_pool, small_residual

pytestmark = pytest.mark.sampled


def halved(features):
    """Takes even sizes alone: one branch rounds up where the other rounds down."""
    return jc.residual(jc.Conv(features, 3, stride=2, padding="same"), jc.chain(jc.AvgPool(2), jc.Conv(features, 1)))


def mix(x):
    return x[:, ::2] + x[:, 1::2]


def fail(net, shape, first=None, train=False):
    """What init raises, or apply with the params of another input."""
    x = jax.ShapeDtypeStruct(shape, jnp.float32)

    def run(x):
        params, state = net.init(jax.random.key(0), first or x)
        return net.apply(params, state, x, train=train)[0]

    with pytest.raises((ValueError, TypeError)) as caught:
        jax.eval_shape(run, x)
    return caught.value


CONV, POOL, FLAT, RELU = jc.Conv, jc.MaxPool, jc.flatten, jax.nn.relu
NOTES = conv_pool()
SIGNALS = jc.chain(CONV(4, (9,)), jc.MaxPool((4,)), CONV(8, (9,)), FLAT, jc.Dense(3))
DEEP = jc.chain(stem=CONV(4, 3), **{f"stage{i}": jc.chain(CONV(4, 3), POOL(2)) for i in range(4)}, head=CONV(2, 1))
SKIP = jc.chain(CONV(4, 3), jc.residual(CONV(4, 3)))
UNEVEN = jc.chain(CONV(4, 3, padding="same"), halved(8), halved(8))
GROUPS = jc.chain(CONV(6, 3), CONV(8, 3, groups=4))
INCEPTION = jc.branch(CONV(4, 3), CONV(4, 5))
JOINT = jc.chain(CONV(4, (3, 7)), jc.LocalConv(4, 3))
# fmt: off
TABLE = {  # title: ((net, shape of x, and the shape that init saw where it was another), what is said)
    "the notes' net on digits of 8×8": ((NOTES, (1, 8, 8, 1)),
        "at conv1: conv: a kernel of 5 must fit into the padded input of 2 + 0 + 0 cells on spatial axis 0\n"
        "  got: spatial shape (2, 2); out = floor((2 + 0 + 0 - 1*(5 - 1) - 1) / 1) + 1 = -2\n"
        "  before: x (1, 8, 8, 1) → conv0 4×4×20 → max_pool0 2×2×20 → relu0 2×2×20\n"
        "  cause: 8×8 is too small for this net; its smallest legal input is 16×16\n"
        "  fix: a larger input, a kernel of at most 2, or padding='same'"),
    "the notes' net on 15×15": ((NOTES, (64, 15, 15, 1)),
        "at max_pool1: max_pool: a window of 2 must fit into the padded input of 1 + 0 + 0 cells on spatial axis "
        "0\n"
        "  got: spatial shape (1, 1); out = floor((1 + 0 + 0 - 1*(2 - 1) - 1) / 2) + 1 = 0\n"
        "  before: x (64, 15, 15, 1) → conv0 11×11×20 → max_pool0 5×5×20 → relu0 5×5×20 → conv1 1×1×40\n"
        "  cause: 15×15 is too small for this net; its smallest legal input is 16×16\n"
        "  fix: a larger input or a window of at most 1"),
    "a kernel larger than the image": ((jc.chain(CONV(8, 5)), (1, 4, 4, 3)),
        "at conv0: conv: a kernel of 5 must fit into the padded input of 4 + 0 + 0 cells on spatial axis 0\n"
        "  got: spatial shape (4, 4); out = floor((4 + 0 + 0 - 1*(5 - 1) - 1) / 1) + 1 = 0\n"
        "  before: x (1, 4, 4, 3)\n"
        "  cause: 4×4 is too small for this net; its smallest legal input is 5×5\n"
        "  fix: a larger input, a kernel of at most 4, or padding='same'"),
    "a kernel larger than one axis": ((jc.chain(CONV(8, 5)), (1, 28, 4, 3)),
        "at conv0: conv: a kernel of 5 must fit into the padded input of 4 + 0 + 0 cells on spatial axis 1\n"
        "  got: spatial shape (28, 4); out = floor((4 + 0 + 0 - 1*(5 - 1) - 1) / 1) + 1 = 0\n"
        "  before: x (1, 28, 4, 3)\n"
        "  cause: 28×4 is too small for this net; its smallest legal input is 5×5\n"
        "  fix: a larger input, a kernel of at most 4, or padding='same'"),
    "a dilated kernel": ((jc.chain(CONV(8, 3), CONV(8, 3, dilation=4)), (1, 8, 8, 3)),
        "at conv1: conv: a kernel of 3 (dilation 4: 9 cells) must fit into the padded input of 6 + 0 + 0 "
        "cells on spatial axis 0\n"
        "  got: spatial shape (6, 6); out = floor((6 + 0 + 0 - 4*(3 - 1) - 1) / 1) + 1 = -2\n"
        "  before: x (1, 8, 8, 3) → conv0 6×6×8\n"
        "  cause: 8×8 is too small for this net; its smallest legal input is 11×11\n"
        "  fix: a larger input, a kernel of at most 2, dilation 2, or padding='same'"),
    "a pool larger than its map": ((jc.chain(CONV(8, 3, stride=2), POOL(4)), (1, 8, 8, 3)),
        "at max_pool0: max_pool: a window of 4 must fit into the padded input of 3 + 0 + 0 cells on spatial axis "
        "0\n"
        "  got: spatial shape (3, 3); out = floor((3 + 0 + 0 - 1*(4 - 1) - 1) / 4) + 1 = 0\n"
        "  before: x (1, 8, 8, 3) → conv0 3×3×8\n"
        "  cause: 8×8 is too small for this net; its smallest legal input is 9×9\n"
        "  fix: a larger input or a window of at most 3"),
    "a deep net of small images": ((DEEP, (1, 32, 32, 3)),
        "at stage3/conv0: conv: a kernel of 3 must fit into the padded input of 2 + 0 + 0 cells on spatial "
        "axis 0\n"
        "  got: spatial shape (2, 2); out = floor((2 + 0 + 0 - 1*(3 - 1) - 1) / 1) + 1 = 0\n"
        "  before: x (1, 32, 32, 3) → 2 layers → stage0/max_pool0 14×14×4 → stage1/conv0 12×12×4 → "
        "stage1/max_pool0 6×6×4 → stage2/conv0 4×4×4 → stage2/max_pool0 2×2×4\n"
        "  cause: 32×32 is too small for this net; its smallest legal input is 48×48\n"
        "  fix: a larger input, a kernel of at most 2, or padding='same'"),
    "a small residual net of tiny images": ((small_residual(stem=4, features=[4, 4]), (1, 4, 4, 3)),
        "at stage1/max_pool0: max_pool: a window of 2 must fit into the padded input of 1 + 0 + 0 cells on "
        "spatial axis 0\n"
        "  got: spatial shape (1, 1); out = floor((1 + 0 + 0 - 1*(2 - 1) - 1) / 2) + 1 = 0\n"
        "  before: x (1, 4, 4, 3) → 9 layers → stage0/residual0/body/batch_norm0 1×1×4 → "
        "stage0/residual0/body/relu0 1×1×4 → stage1/conv0 1×1×4\n"
        "  cause: 4×4 is too small for this net; its smallest legal input is 8×8\n"
        "  fix: a larger input or a window of at most 1"),
    "a signal that is too short": ((SIGNALS, (2, 40, 1)),
        "at conv1: conv: a kernel of 9 must fit into the padded input of 8 + 0 + 0 cells on spatial axis 0\n"
        "  got: spatial shape (8,); out = floor((8 + 0 + 0 - 1*(9 - 1) - 1) / 1) + 1 = 0\n"
        "  before: x (2, 40, 1) → conv0 32×4 → max_pool0 8×4\n"
        "  cause: 40 is too small for this net; its smallest legal input is 44\n"
        "  fix: a larger input, a kernel of at most 8, or padding='same'"),
    "a volume that is too thin": ((jc.chain(CONV(2, 3), CONV(2, 3)), (1, 4, 9, 9, 1)),
        "at conv1: conv: a kernel of 3 must fit into the padded input of 2 + 0 + 0 cells on spatial axis 0\n"
        "  got: spatial shape (2, 7, 7); out = floor((2 + 0 + 0 - 1*(3 - 1) - 1) / 1) + 1 = 0\n"
        "  before: x (1, 4, 9, 9, 1) → conv0 2×7×7×2\n"
        "  cause: 4×9×9 is too small for this net; its smallest legal input is 5×5×5\n"
        "  fix: a larger input, a kernel of at most 2, or padding='same'"),
    "NCHW": ((NOTES, (32, 1, 28, 28)),
        "at conv0: conv needs its input as [N, H, W, C]\n"
        "  got: (32, 1, 28, 28), which looks like NCHW\n"
        "  before: x (32, 1, 28, 28)\n"
        "  cause: x (32, 1, 28, 28) looks like NCHW, expected channels last\n"
        "  fix: jnp.moveaxis(x, 1, -1)"),
    "NCHW under a tuple's size": ((jc.chain(CONV(8, (5, 5)), POOL((2, 2))), (1, 3, 32, 32)),
        "at conv0: conv needs its input as [N, H, W, C]\n"
        "  got: (1, 3, 32, 32), which looks like NCHW\n"
        "  before: x (1, 3, 32, 32)\n"
        "  cause: x (1, 3, 32, 32) looks like NCHW, expected channels last\n"
        "  fix: jnp.moveaxis(x, 1, -1)"),
    "NCHW where init saw NHWC": ((jc.chain(CONV(8, 3), jc.global_avg_pool), (1, 3, 32, 32), (1, 32, 32, 3)),
        "at conv0: x must have 3 channels on its last axis, to match the kernel [*k, C_in/groups, C_out]\n"
        "  got: x (1, 3, 32, 32), kernel (3, 3, 3, 8)\n"
        "  before: x (1, 3, 32, 32)\n"
        "  cause: x (1, 3, 32, 32) looks like NCHW, expected channels last\n"
        "  fix: jnp.moveaxis(x, 1, -1)"),
    "initialized for 28×28": ((NOTES, (64, 32, 32, 1), (1, 28, 28, 1)),
        "at dense0: dense needs 640 inputs on the last axis, as at init\n"
        "  got: x (64, 1000), kernel (640, 100)\n"
        "  before: x (64, 32, 32, 1) → 2 layers → relu0 14×14×20 → conv1 10×10×40 → max_pool1 5×5×40 → relu1 "
        "5×5×40 → flatten0 1000\n"
        "  cause: the net was initialized for inputs of 28×28 to 31×31, x is 32×32\n"
        "  fix: inputs of that size, params of net.init(key, (64, 32, 32, 1)), or global_avg_pool instead of "
        "flatten"),
    "initialized for 32×32": ((jc.chain(CONV(8, 3), FLAT, head=jc.Dense(10)), (64, 28, 28, 3), (1, 32, 32, 3)),
        "at head: dense needs 7200 inputs on the last axis, as at init\n"
        "  got: x (64, 5408), kernel (7200, 10)\n"
        "  before: x (64, 28, 28, 3) → conv0 26×26×8 → flatten0 5408\n"
        "  cause: the net was initialized for inputs of 32×32, x is 28×28\n"
        "  fix: inputs of that size, params of net.init(key, (64, 28, 28, 3)), or global_avg_pool instead of "
        "flatten"),
    "a flat net of other images": ((jc.chain(FLAT, jc.Dense(10)), (1, 28, 28, 1), (1, 8, 8, 1)),
        "at dense0: dense needs 64 inputs on the last axis, as at init\n"
        "  got: x (1, 784), kernel (64, 10)\n"
        "  before: x (1, 28, 28, 1) → flatten0 784\n"
        "  cause: the net was initialized for inputs of 8×8, x is 28×28\n"
        "  fix: inputs of that size, params of net.init(key, (1, 28, 28, 1)), or global_avg_pool instead of "
        "flatten"),
    "a head without a map of that size": ((jc.chain(FLAT, jc.Dense(10)), (1, 28, 28, 1), (1, 4, 8, 1)),
        "at dense0: dense needs 32 inputs on the last axis, as at init\n"
        "  got: x (1, 784), kernel (32, 10)\n"
        "  before: x (1, 28, 28, 1) → flatten0 784\n"
        "  cause: the layer was initialized for 32 values, which no square input of 1 channel has there\n"
        "  fix: params, state = net.init(key, x) with this x"),
    "signals of another length": ((SIGNALS, (2, 80, 1), (2, 100, 1)),
        "at dense0: dense needs 120 inputs on the last axis, as at init\n"
        "  got: x (2, 80), kernel (120, 3)\n"
        "  before: x (2, 80, 1) → conv0 72×4 → max_pool0 18×4 → conv1 10×8 → flatten0 80\n"
        "  cause: the net was initialized for inputs of 100 to 103, x is 80\n"
        "  fix: inputs of that size, params of net.init(key, (2, 80, 1)), or global_avg_pool instead of flatten"),
    "gray where init saw color": ((jc.chain(CONV(8, 3), RELU), (1, 32, 32, 1), (1, 32, 32, 3)),
        "at conv0: x must have 3 channels on its last axis, to match the kernel [*k, C_in/groups, C_out]\n"
        "  got: x (1, 32, 32, 1), kernel (3, 3, 3, 8)\n"
        "  before: x (1, 32, 32, 1)\n"
        "  cause: the net was initialized for another input: here it expects 3 channels\n"
        "  fix: an input of those channels, or params of net.init(key, x) with this x"),
    "other channels for a norm": ((jc.chain(jc.BatchNorm()), (1, 8, 8, 4), (1, 8, 8, 3)),
        "at batch_norm0: batch_norm needs 3 channels, as at init\n"
        "  got: x (1, 8, 8, 4), mean (3,), var (3,)\n"
        "  before: x (1, 8, 8, 4)\n"
        "  cause: the net was initialized for another input: here it expects 3 channels\n"
        "  fix: an input of those channels, or params of net.init(key, x) with this x"),
    "no batch axis": ((jc.chain(CONV(8, 3)), (28, 28, 1)),
        "at conv0: conv with an int kernel_size needs [N, H, W, C] or [N, D, H, W, C]\n"
        "  got: 3 axes: (28, 28, 1)\n"
        "  before: x (28, 28, 1)\n"
        "  fix: kernel_size=(3,) for a batch of signals [N, W, C]; x[None] for one image [H, W, C]"),
    "a matrix": ((NOTES, (28, 28)),
        "at conv0: conv with an int kernel_size needs [N, H, W, C] or [N, D, H, W, C]\n"
        "  got: 2 axes: (28, 28)\n"
        "  before: x (28, 28)\n"
        "  fix: x[None, :, :, None] for one gray image [H, W]; x[None], kernel_size=(5,) for one signal [W, C]"),
    "a shortcut around a valid convolution": ((SKIP, (1, 9, 9, 3)),
        "at residual0: body and shortcut must have the same output shape\n"
        "  got: body (1, 5, 5, 4), shortcut (1, 7, 7, 4)\n"
        "  before: x (1, 9, 9, 3) → conv0 7×7×4 → residual0/body 5×5×4\n"
        "  fix: padding='same' in the body"),
    "a shortcut around a stride": ((jc.residual(CONV(4, 3, stride=2, padding="same")), (1, 8, 8, 4)),
        "body and shortcut must have the same output shape\n"
        "  got: body (1, 4, 4, 4), shortcut (1, 8, 8, 4)\n"
        "  before: x (1, 8, 8, 4) → body 4×4×4\n"
        "  fix: shortcut=Conv(4, 1, stride=2)"),
    "halves of an odd size": ((UNEVEN, (1, 30, 30, 3)),
        "at residual1: body and shortcut must have the same output shape\n"
        "  got: body (1, 8, 8, 8), shortcut (1, 7, 7, 8)\n"
        "  before: x (1, 30, 30, 3) → 4 layers → residual1/body 8×8×8 → residual1/shortcut/avg_pool0 7×7×8 → "
        "residual1/shortcut/conv0 7×7×8\n"
        "  cause: this net takes 28×28, but not 30×30\n"
        "  fix: an input of 28×28"),
    "branches that shrink differently": ((INCEPTION, (1, 8, 8, 3)),
        "branches must have the same output shape, except for the channels, to be merged by concat\n"
        "  got: conv0 (1, 6, 6, 4), conv1 (1, 4, 4, 4)\n"
        "  before: x (1, 8, 8, 3) → conv0 6×6×4 → conv1 4×4×4"),
    "groups that do not divide": ((GROUPS, (1, 8, 8, 3)),
        "at conv1: groups must divide channels and features\n"
        "  got: groups=4, 6 channels, features=8\n"
        "  before: x (1, 8, 8, 3) → conv0 6×6×6"),
    "a custom flow on odd rows": ((jc.chain(CONV(4, 2), mix), (1, 8, 8, 3)),
        "at mix0: add got incompatible shapes for broadcasting: (1, 4, 7, 4), (1, 3, 7, 4).\n"
        "  before: x (1, 8, 8, 3) → conv0 7×7×4\n"
        "  cause: this net takes 7×7, but not 8×8\n"
        "  fix: an input of 7×7"),
    "unshared weights of another size": ((JOINT, (1, 12, 16, 3), (1, 12, 12, 3)),
        "at local_conv0: local_conv's kernel must be [*out, *k, C_in, C_out] = (8, 8, 3, 3, 4, 4)\n"
        "  got: kernel (8, 4, 3, 3, 4, 4), x (1, 10, 10, 4)\n"
        "  before: x (1, 12, 16, 3) → conv0 10×10×4\n"
        "  cause: a fresh net takes (1, 12, 16, 3): params and state are those of another net or input\n"
        "  fix: params, state = net.init(key, x) with this x"),
    "no size at all": ((jc.chain(CONV(4, 3), CONV(4, 600)), (1, 28, 28, 3)),
        "at conv1: conv: a kernel of 600 must fit into the padded input of 26 + 0 + 0 cells on spatial axis "
        "0\n"
        "  got: spatial shape (26, 26); out = floor((26 + 0 + 0 - 1*(600 - 1) - 1) / 1) + 1 = -573\n"
        "  before: x (1, 28, 28, 3) → conv0 26×26×4\n"
        "  cause: this net takes no square input up to 512\n"
        "  fix: a larger input, a kernel of at most 26, or padding='same'"),
    "reflection of too few cells": (
        (jc.chain(POOL(4), CONV(4, 7, padding="same", padding_mode="reflect")), (1, 9, 9, 3)),
        "at conv0: padding_mode='reflect' can pad spatial axis 0, which has 2 cells, by at most 1 on each side\n"
        "  got: padding (3, 3) on spatial shape (2, 2)\n"
        "  before: x (1, 9, 9, 3) → max_pool0 2×2×3\n"
        "  cause: this net takes 16×16, but not 9×9\n"
        "  fix: padding_mode='zeros' or 'edge', less padding (a smaller kernel or dilation), or a larger input"),
    "an empty axis": ((jc.chain(CONV(4, 3)), (1, 0, 8, 3)),
        "at conv0: conv needs at least one cell on every spatial axis\n"
        "  got: spatial shape (0, 8)\n"
        "  before: x (1, 0, 8, 3)"),
    "dropout without a key": ((jc.chain(CONV(4, 3), jc.Dropout(0.5)), (1, 8, 8, 3), None, True),
        "at dropout0: dropout needs a key when train=True\n"
        "  got: key=None\n"
        "  before: x (1, 8, 8, 3) → conv0 6×6×4\n"
        "  fix: net.apply(params, state, x, key=jax.random.fold_in(key, step), train=True)"),
}
# fmt: on


@pytest.mark.parametrize("title", TABLE)
def test_every_word_of_it(title):
    (net, shape, *rest), message = TABLE[title]
    assert diagnose(net, shape, fail(net, shape, *rest)) == message
    assert len(message.splitlines()) <= 10


def test_of_an_error_that_is_not_the_nets_no_shapes_are_told():
    error = ShapeError("a pattern must match at least one parameter", got="'x'", fix="paths here: conv0/kernel")
    message = "a pattern must match at least one parameter\n  got: 'x'\n  fix: paths here: conv0/kernel"
    assert diagnose(jc.chain(CONV(4, 3)), (1, 8, 8, 3), error) == message


def test_there_are_thirty():
    assert len(TABLE) >= 30
