"""Pairs of nets that differ in one convention each, and what compare says of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.sequences import around, around_torch
from support.weights import named

import jaxconv as jc

pytestmark = pytest.mark.sampled

torch = pytest.importorskip("torch")
nn = torch.nn
torch.set_num_threads(1)


def rounded(bits):
    """An array with so many bits of mantissa left."""
    return lambda a: jax.lax.reduce_precision(a, 8, bits)


def cut(a):
    """An array without its last 13 bits."""
    bits = jax.lax.bitcast_convert_type(a, jnp.uint32) & jnp.uint32(0xFFFFE000)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def coarse(factor):
    """A convolution whose factors are rounded, as some devices do it."""
    conv = jc.Conv(4, 3, transform=factor)

    def apply(params, state, x, *, key=None, train=False):
        return conv.apply(params, state, factor(jnp.asarray(x)))

    return jc.Layer("conv", conv.init, apply)


def divided(size, alpha):
    return jc.LocalResponseNorm(size, alpha=alpha, beta=0.75, k=1.0)


# What ours is, what torch's is, and the cause and fix that must be named.
CONVENTIONS = {
    "same": (
        jc.Conv(4, 3, stride=2, padding="same"), nn.Conv2d(4, 4, 3, 2, 1),
        "padding: ours is 'same' (the odd cell on the high side), torch's symmetric 1", "padding=1",
    ),
    "same_lower": (
        jc.Conv(4, 2, padding="same_lower"), nn.Conv2d(4, 4, 2, padding=1),
        "padding: ours is 'same_lower' (the odd cell on the low side), torch's symmetric 1", "padding=1",
    ),
    "valid": (
        jc.Conv(4, 3), nn.Conv2d(4, 4, 3, padding=1), "padding: ours is 'valid', torch's symmetric 1", "padding=1",
    ),
    "symmetric": (
        jc.Conv(4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=2), "padding: ours is 1, torch's symmetric 2", "padding=2",
    ),
    "mode": (
        jc.Conv(4, 3, padding=1, padding_mode="reflect"), nn.Conv2d(4, 4, 3, padding=1),
        "padding mode: ours is 'reflect', torch's 'zeros'", "padding_mode='zeros'",
    ),
    "depthwise": (
        jc.DepthwiseConv(3, stride=2, padding="same"), nn.Conv2d(4, 4, 3, 2, 1, groups=4),
        "padding: ours is 'same' (the odd cell on the high side), torch's symmetric 1", "padding=1",
    ),
    "max pool": (
        jc.MaxPool(3, stride=2, padding="same"), nn.MaxPool2d(3, 2, 1),
        "padding: ours is 'same' (the odd cell on the high side), torch's symmetric 1", "padding=1",
    ),
    "divisor": (
        jc.AvgPool(3, stride=1, padding=1), nn.AvgPool2d(3, 1, 1),
        "average divisor: ours counts the input's cells alone, torch's cells of padding, too (count_include_pad=True)",
        "count_include_pad=True",
    ),
    "other divisor": (
        jc.AvgPool(3, stride=1, padding=1, count_include_pad=True), nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        "average divisor: ours counts cells of padding, too, torch's the input's cells alone (count_include_pad=False)",
        "count_include_pad=False",
    ),
    "floor": (
        jc.MaxPool(3, stride=2), nn.MaxPool2d(3, 2, ceil_mode=True),
        "ceil mode: ours does not count a last partial window, torch's does (ceil_mode=True)", "ceil_mode=True",
    ),
    "ceil": (
        jc.AvgPool(4, stride=3, ceil_mode=True), nn.AvgPool2d(4, 3),
        "ceil mode: ours counts a last partial window, torch's does not (ceil_mode=False)", "ceil_mode=False",
    ),
    "eps": (jc.BatchNorm(eps=1e-3), nn.BatchNorm2d(4), "eps: ours is 0.001, torch's 1e-05", "eps=1e-05"),
    "eps of a group norm": (
        jc.GroupNorm(2), nn.GroupNorm(2, 4, eps=0.1), "eps: ours is 1e-05, torch's 0.1", "eps=0.1",
    ),
    "gelu": (
        functools.partial(jax.nn.gelu, approximate=True), nn.GELU(),
        "GELU: ours is by tanh, torch's by erf (approximate='none')",
        "functools.partial(jax.nn.gelu, approximate=False)",
    ),
    "other gelu": (
        functools.partial(jax.nn.gelu, approximate=False), nn.GELU("tanh"),
        "GELU: ours is by erf, torch's by tanh (approximate='tanh')",
        "functools.partial(jax.nn.gelu, approximate=True)",
    ),
    "alpha": (
        divided(3, 0.1), nn.LocalResponseNorm(3, alpha=0.1),
        "alpha: ours is 0.1 for each map, torch divides its 0.1 by size=3", "alpha=0.0333333",
    ),
    "tf32": (
        coarse(rounded(10)), nn.Conv2d(4, 4, 3),
        "TF32 (or float16): factors of 10 bits in ours, float32 in torch's",
        "precision='highest', or jax.default_matmul_precision('highest')",
    ),
    "tf32, cut": (
        coarse(cut), nn.Conv2d(4, 4, 3),
        "TF32 (or float16): factors of 10 bits in ours, float32 in torch's",
        "precision='highest', or jax.default_matmul_precision('highest')",
    ),
    "bfloat16": (
        coarse(rounded(7)), nn.Conv2d(4, 4, 3), "bfloat16: factors of 7 bits in ours, float32 in torch's",
        "precision='highest', or no cast",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONVENTIONS)
def test_a_convention_is_named(case, run):
    ours, theirs, words, fix = CONVENTIONS[case]
    found = run(around(ours), around_torch(theirs))
    assert not found.agrees
    assert found.first.path == "1"
    assert found.first.error_in < 1e-5
    assert (found.cause.words, found.cause.fix) == (words, fix)


EQUAL = {
    "conv": (jc.Conv(4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 3, 2, 1)),
    "norm": (jc.BatchNorm(), nn.BatchNorm2d(4)),
    "max pool": (jc.MaxPool(3, stride=2, padding=1, ceil_mode=True), nn.MaxPool2d(3, 2, 1, ceil_mode=True)),
    "average": (jc.AvgPool(3, stride=1, padding=1, count_include_pad=True), nn.AvgPool2d(3, 1, 1)),
    "gelu": (functools.partial(jax.nn.gelu, approximate=False), nn.GELU()),
    "alpha": (divided(3, 0.1 / 3), nn.LocalResponseNorm(3, alpha=0.1)),
    "in place": (jax.nn.relu, nn.ReLU(inplace=True)),
}


@pytest.mark.parametrize("case", EQUAL)
def test_an_equal_pair_agrees(case, run):
    ours, theirs = EQUAL[case]
    found = run(around(ours), around_torch(theirs))
    assert found.agrees, str(found)
    assert (found.first, found.cause, found.ours, found.theirs) == (None, None, (), ())
    assert [pair.path for pair in found.pairs] == ["0", "1", "2", ""]
    assert str(found).startswith("4 pairs of layers agree; the worst is ")


def test_torch_rounds(run):
    class Coarse(nn.Conv2d):
        def forward(self, x):
            x, kernel = (torch.tensor(np.asarray(rounded(10)(v.numpy()))) for v in (x, self.weight))
            return nn.functional.conv2d(x, kernel, self.bias)

    found = run(around(jc.Conv(4, 3)), around_torch(Coarse(4, 4, 3)))
    assert found.cause.words == "TF32 (or float16): factors of 10 bits in torch's, float32 in ours"


def test_a_norm_with_an_activation_in_it_is_compared_as_a_norm(run):
    class NormAct(nn.BatchNorm2d):  # as timm's
        def __init__(self, channels):
            super().__init__(channels)
            self.drop, self.act = nn.Identity(), nn.ReLU(inplace=True)

        def forward(self, x):
            return self.act(self.drop(super().forward(x)))

    module = nn.Sequential(nn.Conv2d(3, 4, 3), NormAct(4))
    assert run(named(jc.Conv(4, 3), jc.BatchNorm(), jax.nn.relu), module).agrees
    found = run(named(jc.Conv(4, 3), jc.BatchNorm(eps=1e-3), jax.nn.relu), module)
    assert (found.first.path, found.cause.fix) == ("1", "eps=1e-05")
