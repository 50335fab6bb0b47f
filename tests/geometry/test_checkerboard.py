"""Overlap of the windows of transposed convolutions, by the convolution itself."""

import itertools

import numpy as np
import pytest

from jaxconv._base.errors import ShapeError
from jaxconv.geometry import overlap


def test_the_windows_over_each_cell():
    for k, s, d in itertools.product(range(1, 8), range(1, 5), range(1, 4)):
        covered = np.zeros(40 * s + d * k, int)
        for start, tap in itertools.product(range(40), range(k)):
            covered[start * s + tap * d] += 1
        inner = covered[20 * s : 21 * s]  # far from the borders
        assert overlap(k, s, d) == tuple(inner), (k, s, d)
        if d == 1:
            assert (len(set(inner)) == 1) == (k % s == 0)


def test_invalid_numbers():
    with pytest.raises(ShapeError, match="stride must be ≥ 1"):
        overlap(3, 0)
