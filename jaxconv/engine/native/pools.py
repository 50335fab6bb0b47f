"""The native kernels of pools, in f32: the first maximum and the sum of each window (src/pool.h)."""

import math
from typing import Any

import jax
import numpy as np

from jaxconv.engine.native.library import available
from jaxconv.engine.select import Choice
from jaxconv.engine.window import all_static

MIN_CHANNELS = 16
"""Fewer than a vector has lanes gain nothing."""


def fits_pool(x: Any, choice: Choice) -> bool:
    """Whether the kernels compute a pool: its windows have a cell of x each, and codes are small."""
    win = choice.win
    if x.dtype != np.float32 or not all_static((*x.shape, *win.out)) or 0 in x.shape or x.shape[-1] < MIN_CHANNELS:
        return False
    if not 1 <= len(win.out) <= 3 or choice.dtype != np.int8 or min(low for low, _ in win.padding) < 0:
        return False
    return available() and all(win.taps_on_input(x.shape[axis], axis).any(axis=0).all() for axis in win.axes)


def first_maximum_native(x: jax.Array, choice: Choice) -> Any:
    """`engine.select.first_maximum`."""
    shape = choice.shape(x.shape)
    like = (jax.ShapeDtypeStruct(shape, x.dtype), jax.ShapeDtypeStruct(shape, np.int8))
    return jax.ffi.ffi_call("jaxconv_first_maximum", like)(x, **_words(choice))


def window_sum_native(x: jax.Array, choice: Choice, mean: bool) -> Any:
    """`engine.pool.window_sum`."""
    like = jax.ShapeDtypeStruct(choice.shape(x.shape), x.dtype)
    return jax.ffi.ffi_call("jaxconv_window_sum", like)(x, mean=np.bool_(mean), **_words(choice))


def _words(choice: Choice) -> dict[str, np.ndarray]:
    win, bases = choice.win, choice.bases
    place = [math.prod(bases[axis + 1 :]) for axis in range(len(bases))]
    low = [low for low, _ in win.padding]
    words = {"size": win.kernel_size, "stride": win.stride, "low": low, "dilation": win.dilation, "place": place}
    return {name: np.array(values, np.int64) for name, values in words.items()}
