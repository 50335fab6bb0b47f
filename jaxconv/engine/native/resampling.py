"""The native kernel of interpolation, in f32: one axis at a time, or two in one pass over memory (src/resample.h)."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxconv.engine.native.library import available
from jaxconv.engine.window import all_static

MIN_CHANNELS = 16
"""Fewer than a vector has lanes gain nothing."""

Table = tuple[np.ndarray, np.ndarray]
"""Cells [out, t] that each cell of a result is a sum of, all of them on the axis, and their weights."""

_WHOLE: Table = np.zeros((1, 1), np.int64), np.ones((1, 1), np.float32)


def fits_resample(x: Any) -> bool:
    """Whether the kernel interpolates x [N, *spatial, C]."""
    static = all_static(x.shape) and 0 not in x.shape
    return x.dtype == np.float32 and static and x.shape[-1] >= MIN_CHANNELS and available()


def resample_native(x: jax.Array, tables: Sequence[tuple[int, Table]]) -> jax.Array:
    """Weighted sums of x's cells along axes, each with a table; a pair of neighboring axes takes one pass."""
    left = sorted(tables, key=lambda table: table[0])
    while left:
        count = 2 if len(left) > 1 and left[1][0] == left[0][0] + 1 else 1
        axis, here, left = left[0][0], [table for _, table in left[:count]], left[count:]
        before, sizes, after = x.shape[:axis], x.shape[axis : axis + count], x.shape[axis + count :]
        out = [len(cells) for cells, _ in here]
        rows, columns = here[0], here[1] if count == 2 else _WHOLE
        flat = x.reshape(math.prod(before), sizes[0], math.prod(sizes[1:]), math.prod(after))
        shape = (flat.shape[0], out[0], math.prod(out[1:]), flat.shape[3])
        call = jax.ffi.ffi_call("jaxconv_resample", jax.ShapeDtypeStruct(shape, x.dtype))
        x = call(flat, **_words("row", rows), **_words("column", columns)).reshape(*before, *out, *after)
    return x


def _words(name: str, table: Table) -> dict[str, np.ndarray]:
    cells, weights = table
    return {f"{name}_cells": cells.ravel().astype(np.int64), f"{name}_weights": weights.ravel().astype(np.float32)}
