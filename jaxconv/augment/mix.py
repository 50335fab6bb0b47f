"""Mixup and CutMix."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.dtypes import upcast
from jaxconv._base.errors import ShapeError
from jaxconv.augment.box import centered_box, scaled_int
from jaxconv.augment.contract import (
    Augment,
    check_arguments,
    draws,
    images_of,
    number_problem,
    per_image,
    probability_problem,
)
from jaxconv.augment.joint import is_spatial
from jaxconv.data.dataset import Batch
from jaxconv.data.spatial import Mask


@renamed_arguments(classes="num_classes")
def mixup(alpha: float = 0.2, *, num_classes: int, probability: float = 1.0) -> Augment:
    """Blend each image and its label with those of another image of the batch: `s x + (1 - s) x'`.

    s is drawn from Beta(alpha, alpha) for each image; partners are a permutation of the batch. Images of weight 0 are
    not blended into others.

    Args:
      alpha: parameter of the Beta distribution; the smaller, the closer s is to 0 or 1.
      num_classes: number of classes.
      probability: probability of blending an image.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] become float32 in the same units, labels float32
      [N, num_classes]. A label outside the classes becomes NaN.

    Raises:
      ConfigError: if an argument is out of range.
      ShapeError: when called, if not with a Batch of images [N, H, W, C], or if labels are neither integers [N] nor
        floating [N, num_classes].

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018.

    >>> batch = Batch(jnp.zeros([2, 1, 1, 1]), jnp.array([0, 1]), jnp.ones(2))
    >>> print(jax.jit(mixup(1.0, num_classes=2))(jax.random.key(0), batch).label.sum(-1))
    [1. 1.]
    """
    _check("mixup", alpha, num_classes, probability)

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = upcast(images_of("mixup", batch))
        label = soft_labels(batch.label, len(images), num_classes)
        partner_key, share_key = jax.random.split(key)
        partner, mixed = _partners(partner_key, batch, probability)
        share = jnp.where(mixed, _beta(share_key, alpha, len(images)), 1)
        own = per_image(share.astype(images.dtype))
        mixture = own * images + (1 - own) * images[partner]
        return batch._replace(image=mixture, label=_mix_labels(label, partner, share))

    return run


@renamed_arguments(classes="num_classes")
def cutmix(alpha: float = 1.0, *, num_classes: int, probability: float = 1.0) -> Augment:
    """Paste a box of another image into each image; labels mix by area, and masks like images.

    s is drawn from Beta(alpha, alpha) for each image; the box has the image's aspect ratio, `1 - s` of its area and its
    center on any pixel. It is clipped at the border, and labels mix by the clipped area. Partners are a permutation of
    the batch. Images of weight 0 are not pasted into others.

    Args:
      alpha: parameter of the Beta distribution.
      num_classes: number of classes.
      probability: probability of changing an image.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their type, labels become float32
      [N, num_classes]. A label outside the classes becomes NaN.

    Raises:
      ConfigError, ShapeError: as `mixup`.

    Source: Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers, 2019.

    >>> batch = Batch(jnp.array([0, 100]).reshape(2, 1, 1, 1) * jnp.ones([2, 5, 5, 1]), jnp.array([0, 1]), jnp.ones(2))
    >>> mixed = jax.jit(cutmix(num_classes=2))(jax.random.key(0), batch)
    >>> print(mixed.image.mean((1, 2, 3)).round() == (100 * mixed.label[:, 1]).round())
    [ True  True]
    """
    _check("cutmix", alpha, num_classes, probability)

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("cutmix", batch)
        n, rows, columns, _ = images.shape
        partner_key, share_key, place_key = jax.random.split(key, 3)
        partner, mixed = _partners(partner_key, batch, probability)
        side = jnp.sqrt(1 - _beta(share_key, alpha, n))
        height, width = (jnp.where(mixed, side * size, 0).astype(jnp.int32) for size in (rows, columns))
        row, column = draws(place_key, 2, n)
        pasted = centered_box(scaled_int(row, rows), scaled_int(column, columns), height, width).covers(rows, columns)
        share = 1 - pasted.sum((1, 2, 3), dtype=jnp.float32) / (rows * columns)
        mixture = jnp.where(pasted, images[partner], images)

        def mix(label: Any) -> Any:
            if not isinstance(label, Mask):
                return _mix_labels(soft_labels(label, n, num_classes), partner, share)
            values = jnp.asarray(label.values)
            box = pasted if values.ndim == 4 else pasted[..., 0]
            return Mask(jnp.where(box, values[partner], values), label.outside)

        return batch._replace(image=mixture, label=jax.tree.map(mix, batch.label, is_leaf=is_spatial))

    return run


def soft_labels(label: Any, n: int, num_classes: int) -> jax.Array:
    """One-hot or soft labels.

    Args:
      label: integers [N]; several labels of each image, integers [N, num_classes] of 0 and 1; or soft labels, floating
        [N, num_classes].
      n: number of images.
      num_classes: number of classes.

    Returns:
      float32 [N, num_classes]; a label outside the classes is a row of NaN, so that the loss becomes NaN.

    Raises:
      ShapeError: if labels have another shape or dtype.

    >>> print(soft_labels(jnp.array([1, 3]), 2, 3))
    [[ 0.  1.  0.]
     [nan nan nan]]
    """
    if not isinstance(label, jax.Array | np.ndarray):
        raise ShapeError(
            "labels that are mixed must be those of classes, an array",
            got=type(label).__name__,
            fix="cutmix, which pastes masks, too" if isinstance(label, Mask) else "",
        )
    label = jnp.asarray(label)
    if label.shape == (n, num_classes):
        return upcast(label) if jnp.issubdtype(label.dtype, jnp.floating) else label.astype(jnp.float32)
    if label.shape != (n,) or not jnp.issubdtype(label.dtype, jnp.integer):
        raise ShapeError(
            f"labels must be integers [{n}], or several or soft labels [{n}, {num_classes}]",
            got=f"{label.dtype} {list(label.shape)}",
        )
    known = (label >= 0) & (label < num_classes)
    return jnp.where(known[:, None], jax.nn.one_hot(label, num_classes, dtype=jnp.float32), jnp.nan)


def _check(name: str, alpha: float, num_classes: int, probability: float) -> None:
    check_arguments(
        name,
        number_problem("alpha", alpha, "a number above 0", lambda value: 0 < value < float("inf")),
        number_problem("num_classes", num_classes, "a whole number, 1 or more", lambda value: value >= 1, whole=True),
        probability_problem(probability),
    )


def _partners(key: jax.Array, batch: Batch, probability: float) -> tuple[jax.Array, jax.Array]:
    """Index of each image's partner [N], and whether they are mixed [N]."""
    n = len(batch.image)
    order, coin = draws(key, 2, n)
    partner = jnp.argsort(order)
    return partner, (coin < probability) & (jnp.asarray(batch.weight)[partner] != 0)


def _beta(key: jax.Array, alpha: float, n: int) -> jax.Array:
    """[n] numbers from Beta(alpha, alpha), float32; alpha = 1 is uniform and avoids rejection sampling."""
    return draws(key, 1, n)[0] if alpha == 1 else jax.random.beta(key, alpha, alpha, (n,), jnp.float32)


def _mix_labels(labels: jax.Array, partner: jax.Array, share: jax.Array) -> jax.Array:
    own = share[:, None]
    # If nothing is mixed in, a partner's NaN must not enter as 0 * NaN.
    return jnp.where(own < 1, own * labels + (1 - own) * labels[partner], labels)
