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
        (axis, rows), *left = left
        columns, size = _WHOLE, 1
        if left and left[0][0] == axis + 1:
            (_, columns), *left = left
            size = x.shape[axis + 1]
        after = x.shape[axis + 1 :] if columns is _WHOLE else x.shape[axis + 2 :]
        outer, inner = math.prod(x.shape[:axis]), math.prod(after)
        shape = (outer, len(rows[0]), len(columns[0]), inner)
        y = jax.ffi.ffi_call("jaxconv_resample", jax.ShapeDtypeStruct(shape, x.dtype))(
            x.reshape(outer, x.shape[axis], size, inner), **_words("row", rows), **_words("column", columns)
        )
        here = (len(rows[0]),) if columns is _WHOLE else (len(rows[0]), len(columns[0]))
        x = y.reshape(*x.shape[:axis], *here, *after)
    return x


def _words(name: str, table: Table) -> dict[str, np.ndarray]:
    cells, weights = table
    return {f"{name}_cells": cells.ravel().astype(np.int64), f"{name}_weights": weights.ravel().astype(np.float32)}
