"""Properties of pools: averages of ones, bounds of p-norms, equivariance, linearity."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import oracle
from support.pool_cases import KINDS, compiled

import jaxconv as jc

EXAMPLES = settings(max_examples=6, derandomize=True, deadline=None, database=None)
SEED = st.integers(0, 2**32 - 1)
WINDOWS = st.sampled_from(
    [
        {},
        {"stride": 1, "padding": "same"},
        {"stride": 2, "padding": 1},
        {"stride": 2, "ceil_mode": True, "padding": "full"},
    ]
)


def draw_map(seed, size=8):
    return np.random.default_rng(seed).normal(size=(1, size, size, 2)).astype(np.float32)


@EXAMPLES
@given(st.integers(1, 4), WINDOWS, st.booleans())
def test_average_of_ones_is_one_where_padding_is_not_counted(size, window, signal):
    shape, size = ((1, 9, 2), (size,)) if signal else ((1, 9, 9, 2), size)
    if "padding" in window and isinstance(window["padding"], int) and np.max(size) == 1:
        return  # windows of one cell that lie in the padding
    np.testing.assert_array_equal(compiled(jc.avg_pool, size, **window)(np.ones(shape, np.float32)), 1)


@pytest.mark.slow
@EXAMPLES
@given(SEED, st.sampled_from([8, 32, 128, 1000]), WINDOWS)
def test_large_p_approaches_the_maximum(seed, p, window):
    """max |x| <= norm <= cells^(1/p) max |x|."""
    x = draw_map(seed)
    norm, largest = compiled(jc.lp_pool, 3, p=p, **window)(x), oracle.max_pool(np.abs(x), 3, **window)
    assert (norm >= largest * (1 - 1e-5)).all()
    assert (norm <= largest * 9 ** (1 / p) * (1 + 1e-5)).all()


@EXAMPLES
@given(SEED, st.sampled_from(["max", "avg", "l2"]), st.integers(1, 3), st.sampled_from([1, 2]))
def test_shift_equivariance(assert_close, seed, kind, shift, stride):
    """Shifting the image by stride * t shifts the output by t."""
    x, pool = draw_map(seed, 12), compiled(KINDS[kind][0], 3, stride=stride)
    assert_close(pool(x[:, stride * shift :, stride * shift :]), np.asarray(pool(x))[:, shift:, shift:])


@pytest.mark.slow
@EXAMPLES
@given(SEED, st.sampled_from(["max", "avg", "l2"]), st.integers(1, 3), st.sampled_from(["valid", "causal", 1]))
def test_stride_takes_every_sth_output(assert_close, seed, kind, stride, padding):
    x, pool = draw_map(seed), KINDS[kind][0]
    every = np.asarray(compiled(pool, 3, stride=1, padding=padding)(x))
    assert_close(compiled(pool, 3, stride=stride, padding=padding)(x), every[:, ::stride, ::stride])


@EXAMPLES
@given(SEED, WINDOWS, st.floats(-3, 3, width=32))
def test_average_is_linear_and_max_is_monotone(assert_close, seed, window, scale):
    x, x2 = draw_map(seed), draw_map(seed + 1)
    average, largest = compiled(jc.avg_pool, 3, **window), compiled(jc.max_pool, 3, **window)
    want = np.asarray(average(x)) + np.float32(scale) * np.asarray(average(x2))
    assert_close(average(x + np.float32(scale) * x2), want)
    assert (largest(np.maximum(x, x2)) >= largest(x)).all()
