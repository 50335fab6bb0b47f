"""Policies: TrivialAugment, RandAugment and AugMix, over one set of operations, as in torchvision."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from jaxconv._base.dtypes import upcast
from jaxconv._base.errors import ShapeError
from jaxconv.augment.contract import (
    Augment,
    as_type,
    bool_problem,
    check_arguments,
    choice_problem,
    fill_number_problem,
    images_of,
    number_problem,
    peak_problem,
    per_image,
)
from jaxconv.augment.joint import is_spatial
from jaxconv.augment.operations import OPERATIONS, Range, applied, drawn, magnitudes
from jaxconv.data.dataset import Batch
from jaxconv.geometry import PADDING_MODES

_AUGMIX_BINS = 10
_AUGMIX_DEPTH = 3  # of a chain whose depth is random, at most
_AS_IMAGENET_C = ("identity", "brightness", "color", "contrast", "sharpness")  # what AugMix leaves out

TRIVIAL = Range(0.99, lambda size: 32.0, 135.0, 0.99, (8, 2))
RAND = Range(0.3, lambda size: 150 / 331 * size, 30.0, 0.9, (8, 4))
AUGMIX = Range(0.3, lambda size: size / 3, 30.0, 0.9, (4, 0))


def trivial_augment(bins: int = 31, padding_mode: str = "zeros", *, fill: float = 0.0, peak: float = 255) -> Augment:
    """TrivialAugment: one operation for each image, of a strength drawn uniformly, both anew for every image.

    The operations and the strengths are those of "TA (Wide)": identity, shear, translation, rotation (up to 135°),
    brightness, color, contrast, sharpness, posterize, solarize, autocontrast, equalize.

    Args:
      bins: number of strengths.
      padding_mode: values outside the image: "zeros", "reflect", "edge" or "wrap".
      fill: another value for "zeros".
      peak: maximum pixel value.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep shape and dtype (integers are rounded); masks and boxes follow.
      "color" changes RGB images alone.

    Raises:
      ConfigError: if an argument is out of range.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    Source: Müller and Hutter, TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation, 2021.

    >>> batch = Batch(jnp.full([2, 5, 5, 3], 7, jnp.uint8), jnp.zeros(2, int), jnp.ones(2))
    >>> jax.jit(trivial_augment())(jax.random.key(0), batch).image.shape
    (2, 5, 5, 3)
    """
    check_arguments("trivial_augment", _bins_problem(bins), *_shared_problems(padding_mode, fill, peak))

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("trivial_augment", batch)
        table = magnitudes(TRIVIAL, bins, *images.shape[1:3])
        return applied(batch, *drawn(key, len(images), table, OPERATIONS), padding_mode, fill, peak)

    return run


def rand_augment(
    magnitude: int = 9,
    num_ops: int = 2,
    bins: int = 31,
    padding_mode: str = "zeros",
    *,
    fill: float = 0.0,
    peak: float = 255,
) -> Augment:
    """RandAugment: `num_ops` operations for each image, one after the other, all of one strength.

    The operations are those of `trivial_augment`, with the strengths of the paper (rotation up to 30°).

    Args:
      magnitude: strength, from 0 to `bins - 1`.
      num_ops: number of operations for each image.
      bins: number of strengths.
      padding_mode: values outside the image: "zeros", "reflect", "edge" or "wrap".
      fill: another value for "zeros".
      peak: maximum pixel value.

    Returns:
      `(key, batch) -> batch`, as `trivial_augment`.

    Raises:
      ConfigError, ShapeError: as `trivial_augment`.

    Source: Cubuk et al., RandAugment: Practical Automated Data Augmentation with a Reduced Search Space, 2020.

    >>> batch = Batch(jnp.full([2, 5, 5, 3], 7, jnp.uint8), jnp.zeros(2, int), jnp.ones(2))
    >>> jax.jit(rand_augment(magnitude=15))(jax.random.key(0), batch).image.dtype
    dtype('uint8')
    """
    wrong_bins = _bins_problem(bins)
    highest = 30 if wrong_bins else bins - 1
    be = f"a whole number from 0 to {highest}"
    check_arguments(
        "rand_augment",
        number_problem("magnitude", magnitude, be, lambda n: 0 <= n <= highest, whole=True),
        number_problem("num_ops", num_ops, "a whole number, 1 or more", lambda n: n >= 1, whole=True),
        wrong_bins,
        *_shared_problems(padding_mode, fill, peak),
    )

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("rand_augment", batch)
        table = magnitudes(RAND, bins, *images.shape[1:3])[:, magnitude : magnitude + 1]

        def step(batch: Batch, key: jax.Array) -> tuple[Batch, None]:
            return applied(batch, *drawn(key, len(images), table, OPERATIONS), padding_mode, fill, peak), None

        return jax.lax.scan(step, jax.tree.map(jnp.asarray, batch), jax.random.split(key, num_ops))[0]

    return run


def augmix(
    severity: int = 3,
    width: int = 3,
    depth: int | None = None,
    alpha: float = 1.0,
    padding_mode: str = "zeros",
    *,
    all_ops: bool = False,
    fill: float = 0.0,
    peak: float = 255,
) -> Augment:
    """AugMix: a mixture of each image with `width` copies, each changed by a chain of random operations.

    `m x + (1 - m) Σ w_i chain_i(x)`, with m from Beta(alpha, alpha) and w from Dirichlet(alpha, …, alpha). The paper's
    Jensen-Shannon loss between several mixtures of an image is not part of it.

    Args:
      severity: strengths of the operations are drawn from the weakest `severity` of 10.
      width: number of chains.
      depth: operations of a chain; by default 1 to 3, drawn for each chain.
      alpha: parameter of both distributions.
      padding_mode: values outside the image: "zeros", "reflect", "edge" or "wrap".
      all_ops: whether to use brightness, color, contrast and sharpness, too, which resemble ImageNet-C's corruptions.
      fill: another value for "zeros".
      peak: maximum pixel value.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep shape and dtype (integers are rounded).

    Raises:
      ConfigError: if an argument is out of range.
      ShapeError: when called, if not with a Batch of images [N, H, W, C], or if the label has masks or boxes, which
        cannot follow several copies.

    Source: Hendrycks et al., AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty, 2020.

    >>> batch = Batch(jnp.full([2, 5, 5, 3], 7, jnp.uint8), jnp.zeros(2, int), jnp.ones(2))
    >>> jax.jit(augmix())(jax.random.key(0), batch).image.shape
    (2, 5, 5, 3)
    """
    be = f"a whole number from 1 to {_AUGMIX_BINS}"
    check_arguments(
        "augmix",
        number_problem("severity", severity, be, lambda n: 1 <= n <= _AUGMIX_BINS, whole=True),
        number_problem("width", width, "a whole number, 1 or more", lambda n: n >= 1, whole=True),
        number_problem("depth", depth, "a whole number, 1 or more", lambda n: n >= 1, whole=True, optional=True),
        number_problem("alpha", alpha, "a number above 0", lambda value: 0 < value < math.inf),
        bool_problem("all_ops", all_ops),
        *_shared_problems(padding_mode, fill, peak),
    )
    names = OPERATIONS[1:] if all_ops else tuple(name for name in OPERATIONS if name not in _AS_IMAGENET_C)

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("augmix", batch)
        if any(map(is_spatial, jax.tree.leaves(batch.label, is_leaf=is_spatial))):
            raise ShapeError(
                "augmix takes labels of classes: no mask and no box can follow several copies of an image",
                got="a label with masks or boxes",
                fix="rand_augment, whose masks and boxes follow",
            )
        n = len(images)
        table = magnitudes(AUGMIX, _AUGMIX_BINS, *images.shape[1:3])[:, :severity]
        mix_key, share_key, depth_key, chain_key = jax.random.split(key, 4)
        own, other = _dirichlet(mix_key, alpha, 2, n)
        shares = other[None] * _dirichlet(share_key, alpha, width, n)
        longest = depth or _AUGMIX_DEPTH
        lengths = jnp.full([width, n], longest) if depth else jax.random.randint(depth_key, (width, n), 1, longest + 1)

        def chain(total: jax.Array, inputs: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            share, length, key = inputs

            def step(current: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
                number, key = inputs
                choice = drawn(key, n, table, names)
                changed = applied(Batch(current, None, None), *choice, padding_mode, fill, peak).image
                return jnp.where(per_image(number < length), changed, current), None

            keys = jax.random.split(key, longest)
            result, _ = jax.lax.scan(step, images, (jnp.arange(longest), keys))
            return total + per_image(share).astype(total.dtype) * upcast(result), None

        start = per_image(own).astype(upcast(images).dtype) * upcast(images)
        mixture, _ = jax.lax.scan(chain, start, (shares, lengths, jax.random.split(chain_key, width)))
        return batch._replace(image=as_type(mixture, images.dtype))

    return run


def _bins_problem(bins: int) -> str:
    return number_problem("bins", bins, "a whole number, 2 or more", lambda n: n >= 2, whole=True)


def _shared_problems(padding_mode: str, fill: float, peak: float) -> tuple[str, ...]:
    mode = choice_problem("padding_mode", padding_mode, PADDING_MODES)
    return mode, fill_number_problem(fill), peak_problem(peak)


def _dirichlet(key: jax.Array, alpha: float, count: int, n: int) -> jax.Array:
    """[count, n] shares from a symmetric Dirichlet distribution; they sum to 1 along the first axis."""
    if alpha == 1:  # exponential variables, without rejection sampling
        parts = jax.random.exponential(key, (count, n), jnp.float32)
    else:
        log = jax.random.loggamma(key, alpha, (count, n), jnp.float32)  # the sum of a small alpha's would be 0
        parts = jnp.exp(log - log.max(0, keepdims=True))
    return parts / parts.sum(0, keepdims=True)
