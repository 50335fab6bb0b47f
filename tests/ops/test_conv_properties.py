"""Properties of conv: linearity, equivariance, gradients as convolutions; an error if there is no output."""

from functools import cache

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import oracle
from support.conv_cases import IMPLS, QUICK, Case, draw_padding

import jaxconv as jc

EXAMPLES = settings(max_examples=6, derandomize=True, deadline=None, database=None)
SEED, IMPL = st.integers(0, 2**32 - 1), st.sampled_from(IMPLS)
NETS = {
    "plain": {},
    "strided": {"stride": 2, "padding": "same"},
    "grouped": {"groups": 2, "dilation": 2, "padding": (4, 0)},
    "wrapped": {"padding": "same", "padding_mode": "wrap"},
}


@cache
def compiled(**words):
    return jax.jit(lambda x, kernel: jc.conv(x, kernel, **words), compiler_options=QUICK)


def draws(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.mark.slow
@EXAMPLES
@given(SEED, IMPL, st.sampled_from(sorted(NETS)), st.floats(-3, 3, width=32))
def test_linear_in_x_and_in_kernel(assert_close, seed, impl, net, scale):
    x, x2, k, k2 = draws(seed, *[(1, 8, 8, 4)] * 2, *[(3, 3, 4 // NETS[net].get("groups", 1), 4)] * 2)
    scale, f = np.float32(scale), lambda x, k: np.asarray(compiled(impl=impl, **NETS[net])(x, k))
    assert_close(f(x + scale * x2, k), f(x, k) + scale * f(x2, k))
    assert_close(f(x, k + scale * k2), f(x, k) + scale * f(x, k2))


@pytest.mark.slow
@EXAMPLES
@given(SEED, IMPL, st.integers(1, 3), st.sampled_from([1, 2]), st.sampled_from([1, 2]))
def test_shift_equivariance(assert_close, seed, impl, shift, stride, dilation):
    """Shifting the image by stride * t shifts the output by t."""
    x, kernel = draws(seed, (1, 14, 14, 2), (3, 3, 2, 3))
    f = compiled(stride=stride, dilation=dilation, impl=impl)
    moved = f(x[:, stride * shift :, stride * shift :], kernel)
    assert_close(moved, np.asarray(f(x, kernel))[:, shift:, shift:])


@pytest.mark.slow
@EXAMPLES
@given(SEED, IMPL, st.integers(-5, 5), st.integers(-5, 5), st.sampled_from([1, 2]))
def test_roll_equivariance(assert_close, seed, impl, down, right, dilation):
    """With wrap padding, rolling the image rolls the output."""
    x, kernel = draws(seed, (1, 6, 7, 2), (3, 3, 2, 3))
    f = compiled(padding="same", padding_mode="wrap", dilation=dilation, impl=impl)
    assert_close(f(np.roll(x, (down, right), (1, 2)), kernel), np.roll(f(x, kernel), (down, right), (1, 2)))


@pytest.mark.slow
@EXAMPLES
@given(SEED, IMPL, st.integers(1, 4), st.integers(1, 4), st.sampled_from(["valid", "full", "causal", (4, 0)]))
def test_stride_takes_every_sth_output(assert_close, seed, impl, down, right, padding):
    x, kernel = draws(seed, (1, 9, 8, 2), (3, 3, 2, 3))
    every = np.asarray(compiled(padding=padding, impl=impl)(x, kernel))
    some = compiled(stride=(down, right), padding=padding, impl=impl)(x, kernel)
    assert_close(some, every[:, ::down, ::right])


@pytest.mark.slow
@EXAMPLES
@given(SEED, IMPL, st.sampled_from([1, 2, 3, 6]))
def test_groups_are_separate_convs(assert_close, seed, impl, groups):
    x, kernel = draws(seed, (2, 6, 6, 6), (3, 3, 6 // groups, 12))
    parts = zip(np.split(x, groups, -1), np.split(kernel, groups, -1), strict=True)
    want = np.concatenate([jc.conv(a, k, padding="same", impl="lax") for a, k in parts], -1)
    assert_close(jc.conv(x, kernel, padding="same", groups=groups, impl=impl), want)


@EXAMPLES
@given(SEED, IMPL, st.sampled_from([(3, 3), (2, 3), (1, 4)]))
def test_input_gradient_is_full_conv_with_flipped_kernel(assert_close, seed, impl, size):
    x, kernel = draws(seed, (1, 6, 6, 2), (*size, 2, 3))
    y = compiled(impl=impl)(x, kernel)
    dx = jax.jit(lambda a: jax.vjp(lambda b: jc.conv(b, kernel, impl=impl), x)[1](a)[0], compiler_options=QUICK)(y)
    flipped = np.swapaxes(kernel[::-1, ::-1], -1, -2)
    assert_close(dx, compiled(padding="full", impl=impl)(y, flipped))


@EXAMPLES
@given(SEED, st.sampled_from(sorted(NETS)))
def test_formulations_agree_with_lax_itself(assert_close, seed, net):
    """conv equals jax.lax.conv_general_dilated for the arguments that both have."""
    words = NETS[net]
    x, kernel = draws(seed, (2, 8, 8, 4), (3, 3, 4 // words.get("groups", 1), 4))
    pads = oracle.pads(words.get("padding", "valid"), (8, 8), 3, words.get("stride", 1), words.get("dilation", 1))
    widths = ((0, 0), *pads, (0, 0))
    padded = np.pad(x, widths, "wrap") if "padding_mode" in words else np.pad(x, widths)
    want = jax.lax.conv_general_dilated(
        padded, kernel, (words.get("stride", 1),) * 2, "VALID", rhs_dilation=(words.get("dilation", 1),) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=words.get("groups", 1),
    )  # fmt: skip
    assert_close(jc.conv(x, kernel, **words), want)


def test_no_output_is_an_error():
    """Arguments for which no window fits raise; a non-empty input never gives an empty array."""
    rng, seen = np.random.default_rng(5), 0
    while seen < 40:
        size, k = tuple(map(int, rng.integers(1, 5, 2))), tuple(map(int, rng.integers(1, 6, 2)))
        case = Case(size, k, padding=draw_padding(rng, size, k, 1), dilation=int(rng.integers(1, 3)))
        if min(case.out) >= 1:
            continue
        seen += 1
        with pytest.raises(jc.ShapeError):
            jax.eval_shape(
                lambda x, kernel, c=case: jc.conv(x, kernel, **c.window),
                jax.ShapeDtypeStruct((1, *size, 2), "float32"),
                jax.ShapeDtypeStruct((*k, 2, 2), "float32"),
            )
