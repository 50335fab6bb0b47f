"""Attribution by covering parts of the input."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv import geometry
from jaxconv._base.errors import ShapeError
from jaxconv._base.types import Ints
from jaxconv.explain.scores import Predict, Target, as_input, broadcast, fixed, target_scores

__all__ = ["occlusion"]


def occlusion(
    f: Predict,
    x: ArrayLike,
    target: Target = None,
    *,
    window: Ints,
    stride: Ints | None = None,
    value: ArrayLike = 0.0,
    batch_size: int = 16,
) -> jax.Array:
    """Occlusion: how much the score drops when a window over a cell is covered, a mean over all such windows.

    Args:
      f, x, target: as in `saliency`; the predicted class is that of x. f needs no gradient.
      window: size of the window; one int, or one for each spatial axis.
      stride: distance of windows; half the window, rounded up, if None. The last window may reach beyond the border.
      value: of covered cells; broadcast to x.
      batch_size: number of windows in one call of f, on N times as many inputs.

    Returns:
      [N, *spatial], in units of the score; positive where covering lowers it.

    Raises:
      ShapeError: as `saliency`; if a window is larger than x, or a stride larger than its window leaves cells out.

    Source: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, 2013.

    >>> x = jnp.array([1.0, 5.0, 2.0]).reshape(1, 3, 1)
    >>> occlusion(lambda x: x.sum((1, 2)), x, window=1).ravel(), occlusion(lambda x: x.sum((1, 2)), x, window=2).ravel()
    (Array([1., 5., 2.], dtype=float32), Array([6. , 6.5, 7. ], dtype=float32))
    """
    x = as_input(x)
    shape, covered = x.shape[1:-1], broadcast(value, x, "value")
    windows = geometry.per_axis(window, len(shape), "window")
    strides = tuple(-(-w // 2) for w in windows) if stride is None else geometry.per_axis(stride, len(shape), "stride")
    for n, w, s in zip(shape, windows, strides, strict=True):
        if w > n or s > w:
            must = f"window must fit into x of {n} cells" if w > n else f"stride must be at most the window, {w}"
            raise ShapeError(must, got=f"{window=}, {stride=}")
    batch_size = geometry.integer(batch_size, "batch_size")
    if not x.size:
        return jnp.zeros(x.shape[:-1], x.dtype)
    target = fixed(f, x, target)
    masks = [_masks(n, w, s) for n, w, s in zip(shape, windows, strides, strict=True)]
    places = jnp.asarray(list(itertools.product(*(range(len(mask)) for mask in masks))))

    def drop(place: jax.Array) -> jax.Array:
        hidden: Any = True
        for axis, mask in enumerate(masks):
            row = jnp.asarray(mask)[place[axis]]
            hidden = hidden & row.reshape([-1 if a == axis else 1 for a in range(len(shape))])
        return target_scores(f(jnp.where(hidden[..., None], covered, x)), target)

    scores = jax.lax.map(drop, places, batch_size=min(batch_size, len(places)))
    heat = target_scores(f(x), target) - scores
    heat = jnp.moveaxis(heat, 0, -1).reshape(x.shape[0], *map(len, masks))
    for axis, mask in enumerate(masks):  # the mean over windows of an axis, one axis at a time
        share = jnp.asarray(mask / mask.sum(0), heat.dtype)
        heat = jnp.moveaxis(jnp.tensordot(heat, share, (axis + 1, 0)), -1, axis + 1)
    return heat


def _masks(n: int, window: int, stride: int) -> np.ndarray:
    """Which of n cells each window covers, bool [windows, n].

    >>> _masks(4, 2, 2).astype(int).tolist(), len(_masks(5, 3, 2)), len(_masks(6, 3, 2))
    ([[1, 1, 0, 0], [0, 0, 1, 1]], 2, 3)
    """
    first = np.arange(-(-(n - window) // stride) + 1)[:, None] * stride
    return (np.arange(n) >= first) & (np.arange(n) < first + window)
