"""Comparison of pytrees of arrays."""

import jax
import numpy as np


def assert_same(got, want, tolerance=2e-5):
    """Equal structure, infinities and NaNs; other values within the tolerance of the largest."""

    def near(a, b):
        a, b = np.asarray(a), np.asarray(b)
        np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))
        a, b = np.nan_to_num(a), np.nan_to_num(b)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(np.abs(b[np.abs(b) < 1e38]).max(initial=0), 1e-3))

    jax.tree.map(near, got, want)


def assert_equal(found, want):
    """Equal names and arrays, to the bit."""
    assert found.keys() == want.keys()
    for name, array in want.items():
        np.testing.assert_array_equal(found[name], array, name)
