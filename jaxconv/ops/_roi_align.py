"""RoI align."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxconv import geometry
from jaxconv._base.dtypes import cast_back, upcast
from jaxconv._base.errors import ShapeError
from jaxconv._base.numeric import check_number
from jaxconv._base.types import ArrayLike, Ints
from jaxconv.engine.window import assert_shape
from jaxconv.ops._pool import as_feature_maps
from jaxconv.ops._sample import linear_taps, sample


def roi_align(
    x: ArrayLike,
    boxes: ArrayLike,
    size: Ints,
    *,
    scale: float = 1.0,
    samples: int = 2,
    aligned: bool = True,
) -> jax.Array:
    """RoI align: feature maps of a fixed size from boxes, each cell a mean of bilinear samples.

    Args:
      x: [N, H, W, C].
      boxes: [N, K, 4], (x1, y1, x2, y2) of K boxes in each image, in pixels of the image.
      size: output size of a box; one int, or (rows, columns).
      scale: size of x relative to the image's, 1/16 for example.
      samples: samples in each cell along each axis (torchvision's `sampling_ratio`; its default, which depends on the
        values of the boxes, does not compile).
      aligned: whether pixel centers are at half-integer coordinates; False for the older, shifted convention, in which
        boxes are at least one cell wide.

    Returns:
      [N, K, *size, C] of x's dtype (float32 for integers); equal to `torchvision.ops.roi_align`.

    Raises:
      ShapeError: if x is not [N, H, W, C], boxes are not [N, K, 4], or an argument is invalid.

    Source: He et al., Mask R-CNN, 2017.

    >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    >>> roi_align(x, jnp.array([[[0.0, 0.0, 4.0, 4.0]]]), 2, samples=2)[0, 0, :, :, 0]
    Array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    """
    x, boxes = as_feature_maps(x, "roi_align"), jnp.asarray(boxes)
    if x.ndim != 4 or boxes.ndim != 3 or boxes.shape[0] != x.shape[0] or boxes.shape[2] != 4:
        raise ShapeError(
            "roi_align needs x [N, H, W, C] and boxes [N, K, 4]", got=f"x {x.shape}, boxes {boxes.shape}", kind="shape"
        )
    check_number(scale, "scale", "scale must be a number above 0", lambda scale: scale > 0)
    sizes, samples = geometry.per_axis(size, 2, "size"), geometry.integer(samples, "samples")
    y = upcast(x)
    ends = upcast(boxes).astype(y.dtype) * scale - (0.5 if aligned else 0.0)
    lines, inside = [], []
    for axis, (n, m) in enumerate(zip(x.shape[1:3], sizes, strict=True)):
        low, high = ends[..., 1 - axis, None], ends[..., 3 - axis, None]
        length = high - low if aligned else jnp.maximum(high - low, 1)
        at = (jnp.arange(m * samples, dtype=y.dtype) + 0.5) / (m * samples)
        line = low + length * at[None, None]  # [N, K, m*samples]
        lines.append(jnp.clip(line, 0, n - 1))
        inside.append((line >= -1) & (line <= n))
    shape = (*boxes.shape[:2], *(m * samples for m in sizes))
    rows, columns = jnp.broadcast_to(lines[0][..., None], shape), jnp.broadcast_to(lines[1][..., None, :], shape)
    taken = sample(y, linear_taps([rows, columns]))
    taken = jnp.where((inside[0][..., None] & inside[1][..., None, :])[..., None], taken, 0)
    cells = taken.reshape(*shape[:2], sizes[0], samples, *taken.shape[3:]).mean(3)
    cells = cells.reshape(*cells.shape[:3], sizes[1], samples, x.shape[-1]).mean(4)
    return assert_shape(cast_back(cells, x), (*boxes.shape[:2], *sizes, x.shape[-1]))
