"""Checksums of arrays that do not depend on how they are divided, against SplitMix64 on Python's integers."""

import math

import jax
import numpy as np
import pytest

from jaxconv._base import checksums
from jaxconv._base.checksums import cell_sums


def splitmix(place, value):
    mixed = (place * 0x9E3779B97F4A7C15 % 2**64) ^ value
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
    return mixed ^ (mixed >> 31)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((3, 5, 7), "float32"), ((), "float64"), ((4, 9), "uint8"), ((2, 1, 33), "float16"), ((0, 3), "int32")],
)
def test_the_sum_of_a_hash_of_each_cell(shape, dtype, rng, monkeypatch):
    monkeypatch.setattr(checksums, "_BLOCK", 16)
    array = np.asarray(rng.normal(0, 99, shape)).astype(dtype)
    plain = array.reshape(-1).view(f"u{array.itemsize}").tolist()
    want = sum(splitmix(place, value) for place, value in enumerate(plain, 1)) % 2**64
    assert cell_sums({"a": array, "b": array.T.copy().T}) == {"a": want, "b": want}
    if dtype != "float64":  # a type of NumPy alone
        assert cell_sums({"a": jax.numpy.asarray(array)}) == {"a": want}


def test_any_change_is_found(rng):
    array = rng.normal(size=(6, 4)).astype(np.float32)
    before = cell_sums({"a": array})["a"]
    for other in (np.roll(array, 1, 0), array[:, ::-1], -array, np.where(np.arange(24).reshape(6, 4) == 7, 0, array)):
        assert cell_sums({"a": other.astype(np.float32)})["a"] != before


def test_parts_add_up(rng):
    """As those of processes do, each of which has a part of the array."""
    array = rng.normal(size=(6, 4, 5)).astype(np.float32)
    strides = [math.prod(array.shape[axis + 1 :]) for axis in range(3)]
    parts = [(first, rows, array[first : first + 2, rows : rows + 2]) for first in (0, 2, 4) for rows in (0, 2)]
    total = sum(checksums._cell_sum(part, a * strides[0] + b * strides[1], strides) for a, b, part in parts)
    assert total % 2**64 == cell_sums({"a": array})["a"]
