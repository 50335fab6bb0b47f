"""Predictions of pixels over windows and scales of an image: sliding-window and multi-scale inference."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import ops
from jaxconv._base.dtypes import upcast
from jaxconv._base.errors import ShapeError

__all__ = ["multi_scale", "sliding_window"]

Predict = Callable[[jax.Array], jax.Array]


def sliding_window(predict: Predict, size: int, overlap: float = 0.5) -> Predict:
    """A prediction of pixels from square windows of the image, averaged where they overlap.

    Windows are `size * (1 - overlap)` pixels apart, and the last of each axis ends at the border. One runs at a time.
    An axis that is shorter than a window has one window of its length.

    Args:
      predict: images [N, H, W, C] of any size to [N, H, W, K].
      size: height and width of a window in pixels.
      overlap: share of a window that the next one has, too, from 0 to below 1.

    Returns:
      A function of the same kind.

    Raises:
      ShapeError: if size or overlap is invalid, or `predict` returns another height or width.

    Source: the slide mode of MMSegmentation (2020).

    >>> window_means = lambda x: jnp.broadcast_to(x.mean((1, 2), keepdims=True), x.shape)
    >>> print(sliding_window(window_means, 2, overlap=0.5)(jnp.arange(4.0).reshape(1, 1, 4, 1)).ravel())
    [0.5 1.  2.  2.5]
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ShapeError("size of a window must be an int ≥ 1", got=f"size={size!r}")
    if not 0 <= overlap < 1:
        raise ShapeError("overlap of windows must be at least 0 and below 1", got=f"overlap={overlap!r}")

    def slid(images: jax.Array) -> jax.Array:
        axes = [_starts(n, size, overlap) for n in images.shape[1:3]]
        corners, window = np.array(list(itertools.product(*axes))), [min(n, size) for n in images.shape[1:3]]
        if len(corners) == 1:
            return predict(images)

        def of_window(corner: jax.Array) -> jax.Array:
            cut = (images.shape[0], *window, *images.shape[3:])
            return predict(jax.lax.dynamic_slice(images, (0, corner[0], corner[1], 0), cut))

        made = jax.eval_shape(of_window, jax.ShapeDtypeStruct((2,), jnp.int32))
        if made.ndim != 4 or list(made.shape[1:3]) != window:
            raise ShapeError(f"predict must return [N, {window[0]}, {window[1]}, K]", got=f"{made.shape}")

        def add(total: jax.Array, corner: jax.Array) -> tuple[jax.Array, None]:
            at = (0, corner[0], corner[1], 0)
            old = jax.lax.dynamic_slice(total, at, made.shape)
            return jax.lax.dynamic_update_slice(total, old + of_window(corner), at), None

        counts = np.zeros(images.shape[1:3])
        for top, left in corners:
            counts[top : top + window[0], left : left + window[1]] += 1
        zeros = jnp.zeros((made.shape[0], *images.shape[1:3], made.shape[3]), made.dtype)
        total, _ = jax.lax.scan(add, zeros, jnp.asarray(corners, jnp.int32))
        return total / jnp.asarray(counts, made.dtype)[..., None]

    return slid


def _starts(length: int, size: int, overlap: float) -> list[int]:
    """First pixel of each window along an axis."""
    last = max(length - size, 0)
    return [*range(0, last, max(1, round(size * (1 - overlap)))), last]


def multi_scale(predict: Predict, scales: Sequence[float]) -> Predict:
    """A prediction of pixels, averaged over sizes of the image, from each of which it is resized bilinearly.

    Args:
      predict: images [N, H, W, C] of any size to [N, H, W, K].
      scales: sizes relative to the image's; (1.0,) is `predict` itself.

    Returns:
      A function of the same kind, from floating images.

    Raises:
      ShapeError: if there is no scale, or one is not positive.

    Source: Chen et al., DeepLab, 2016.

    >>> areas = lambda x: jnp.full((*x.shape[:3], 1), float(x.shape[1] * x.shape[2]))
    >>> multi_scale(areas, (0.5, 1, 1.5))(jnp.zeros([1, 4, 8, 3])).shape
    (1, 4, 8, 1)
    """
    if not scales or not all(scale > 0 for scale in scales):
        raise ShapeError("scales must be at least one number above 0", got=f"scales={scales!r}")

    def averaged(images: jax.Array) -> jax.Array:
        size = images.shape[1:3]

        def at(scale: float) -> jax.Array:
            other = tuple(max(1, round(n * scale)) for n in size)
            if other == size:
                return predict(images)
            resized = ops.resize(upcast(images), other, mode="linear", antialias=scale < 1)
            return ops.resize(predict(resized), size, mode="linear", antialias=scale > 1)

        first, *rest = map(at, scales)
        return sum(rest, start=first) / len(scales)

    return averaged
