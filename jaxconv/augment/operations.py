"""The operations of policies, their magnitudes, and one of them for each image."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.dtypes import upcast
from jaxconv.augment.color import blend, luminance, mean_luminance
from jaxconv.augment.contract import as_type, draws, per_image
from jaxconv.augment.filter import sharpened
from jaxconv.augment.joint import moved
from jaxconv.augment.sampling import materialized
from jaxconv.augment.tone import equalized, posterized, solarized, stretched
from jaxconv.augment.warp import affine_matrix, projected
from jaxconv.data.dataset import Batch

OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast",
    "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
_SIGNED = OPERATIONS[1:10]


class Range(NamedTuple):
    """Magnitudes of a policy's operations; those of the first five are drawn in both directions.

    Args:
      shear: maximum tangent of the angle.
      translate: image size (pixels) -> maximum translation in pixels.
      rotate: maximum angle in degrees.
      blend: maximum change of the factor of brightness, color, contrast and sharpness.
      bits: bits of `posterize`, of the weakest and the strongest change.
    """

    shear: float
    translate: Callable[[int], float]
    rotate: float
    blend: float
    bits: tuple[int, int]


def magnitudes(limits: Range, bins: int, rows: int, columns: int) -> np.ndarray:
    """Magnitude of each operation in each bin, float32 [operations, bins]."""
    first, last = limits.bits
    highest = {
        "shear_x": limits.shear,
        "shear_y": limits.shear,
        "translate_x": limits.translate(columns),
        "translate_y": limits.translate(rows),
        "rotate": limits.rotate,
    } | dict.fromkeys(("brightness", "color", "contrast", "sharpness"), limits.blend)
    table = {name: np.linspace(0, high, bins) for name, high in highest.items()}
    table |= {name: np.trunc(table[name]) for name in ("translate_x", "translate_y")}
    table["posterize"] = np.round(first - np.arange(bins) / (max(bins - 1, 1) / (first - last)))
    table["solarize"] = np.linspace(1, 0, bins)
    return np.stack([table.get(name, np.zeros(bins)) for name in OPERATIONS]).astype(np.float32)


def drawn(key: jax.Array, n: int, table: np.ndarray, names: tuple[str, ...]) -> tuple[jax.Array, jax.Array]:
    """An operation for each image and its magnitude: int32 [n], an index of `OPERATIONS`, and float32 [n].

    Args:
      key: random key.
      n: number of images.
      table: magnitudes [operations, bins], all bins equally likely.
      names: the operations to choose from, all equally likely.
    """
    which, strength, side = draws(key, 3, n)
    operation = jnp.array([OPERATIONS.index(name) for name in names])[_index(which, len(names))]
    magnitude = jnp.asarray(table)[operation, _index(strength, table.shape[1])]
    signed = jnp.array([name in _SIGNED for name in OPERATIONS])[operation]
    return operation, jnp.where(signed & (side < 0.5), -magnitude, magnitude)


def _index(uniform: jax.Array, n: int) -> jax.Array:
    return jnp.minimum((uniform * n).astype(jnp.int32), n - 1)


def applied(
    batch: Batch, operation: jax.Array, magnitude: jax.Array, padding_mode: str, fill: float, peak: float
) -> Batch:
    """The batch after one operation for each image.

    All operations run on the full batch, and one result is selected for each image: a branch for each image would run
    them one after the other.

    Args:
      batch: images, and a label of any kind.
      operation: index of `OPERATIONS` for each image, [N].
      magnitude: its magnitude, [N].
      padding_mode: values outside the image.
      fill: value outside the image for "zeros".
      peak: maximum pixel value.
    """
    images = jnp.asarray(batch.image)
    rows, columns, channels = images.shape[1:]

    def among(*names: str) -> jax.Array:
        return jnp.isin(operation, jnp.array([OPERATIONS.index(name) for name in names]))

    def of(name: str) -> jax.Array:
        return jnp.where(among(name), magnitude, 0)

    # Shear leaves the first row and column in place, not the center.
    lean, tilt = -of("shear_x"), -of("shear_y")
    move = of("translate_x") + lean * rows / 2, of("translate_y") + tilt * columns / 2
    angles = jnp.arctan(lean), jnp.arctan(tilt)
    turn = jnp.radians(of("rotate"))
    matrix = affine_matrix(turn, jnp.ones_like(turn), angles, move, (columns / 2, rows / 2))
    result = moved(batch, projected(matrix, rows, columns, padding_mode, fill))

    values, factor = upcast(images), per_image(1 + magnitude).astype(upcast(images).dtype)
    others = {"brightness": jnp.zeros_like(values), "contrast": mean_luminance(values)}
    if channels == 3:
        others["color"] = luminance(values)
    other = jnp.zeros([], values.dtype)
    for name, image in others.items():
        other = jnp.where(per_image(among(name)), image, other)
    threshold = per_image(magnitude).astype(values.dtype)
    changes = {
        tuple(others): as_type(blend(values, other, factor, peak), images.dtype),
        ("sharpness",): sharpened(images, factor, peak),
        ("posterize",): posterized(images, per_image(of("posterize")), peak),
        ("solarize",): solarized(images, threshold, peak),
        ("autocontrast",): stretched(images, peak),
        ("equalize",): equalized(images, peak),
    }
    image = result.image
    for names, change in zip(changes, materialized(*changes.values()), strict=True):
        image = jnp.where(per_image(among(*names)), change, image)
    return result._replace(image=image)
