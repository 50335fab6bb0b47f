"""What an augmentation takes and gives back, and the checks that all of them share."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._base.dtypes import accum_dtype
from jaxconv._base.errors import ConfigError, ShapeError, did_you_mean
from jaxconv._base.limits import LARGEST_INT
from jaxconv.data.dataset import Batch

Augment = Callable[[jax.Array, Batch], Batch]


def images_of(name: str, batch: Batch) -> jax.Array:
    """The images of a batch, [N, H, W, C].

    Args:
      name: of the augmentation, for the message.
      batch: what it was called with.

    Raises:
      ShapeError: it is no Batch, or its images have another rank.
    """
    if not isinstance(batch, Batch):
        came = f"an array {list(jnp.shape(batch))}" if hasattr(batch, "shape") else type(batch).__name__
        raise ShapeError(f"{name} takes a Batch", got=came, fix="jaxconv.data.Batch(image, label, weight)")
    images = jnp.asarray(batch.image)
    if images.ndim != 4:
        raise ShapeError(f"{name} takes images [N, H, W, C]", got=str(list(images.shape)))
    return images


def floating(images: jax.Array) -> jax.Array:
    """Images as float32, or as the wider type that they have, in the same units."""
    return images.astype(accum_dtype(images.dtype))


def as_type(values: jax.Array, dtype: Any) -> jax.Array:
    """Floating values in a type: whole numbers are rounded, and kept inside the type's range.

    >>> as_type(jnp.array([-3.0, 1.6, 300.0]), jnp.uint8)
    Array([  0,   2, 255], dtype=uint8)
    """
    if jnp.issubdtype(dtype, jnp.integer):
        values = jnp.clip(jnp.round(values), jnp.iinfo(dtype).min, jnp.iinfo(dtype).max)
    return values.astype(dtype)


def draws(key: jax.Array, count: int, n: int) -> jax.Array:
    """Uniform numbers in [0, 1), float32 [count, n]; drawn in one go, which compiles many times faster."""
    return jax.random.uniform(key, (count, n), jnp.float32)


def one_each(values: jax.Array) -> jax.Array:
    """[N] as [N, 1, 1, 1]: one for each image."""
    return values[:, None, None, None]


def refuse(name: str, *problems: str) -> None:
    """Raise a ConfigError with a line for each problem that is not empty."""
    if lines := [f"{name}: {problem}" for problem in problems if problem]:
        raise ConfigError("\n".join(lines))


def number(word: str, value: Any, be: str, holds: Callable[[Any], bool], *, whole: bool = False) -> str:
    """What is wrong with an argument that must be a number; empty where nothing is.

    >>> number("alpha", -1, "a number above 0", lambda alpha: alpha > 0)
    'alpha must be a number above 0, got -1'
    """
    kind = numbers.Integral if whole else numbers.Real
    fits = isinstance(value, kind) and not isinstance(value, bool) and holds(value)
    if fits and isinstance(value, numbers.Integral) and abs(int(value)) > LARGEST_INT:
        return f"{word} must be at most {LARGEST_INT:,} in size, got {value!r}"
    return "" if fits else f"{word} must be {be}, got {value!r}"


def chance(value: Any, word: str = "probability") -> str:
    """What is wrong with a probability."""
    return number(word, value, "a number from 0 to 1", lambda p: 0 <= p <= 1)


def pixels_problem(value: Any, least: int, word: str = "pixels") -> str:
    """What is wrong with a number of pixels."""
    return number(word, value, f"a whole number, {least} or more", lambda n: n >= least, whole=True)


def span(word: str, value: Any, be: str, holds: Callable[[Any, Any], bool]) -> str:
    """What is wrong with a range (low, high) of numbers."""
    pair = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    fits = pair and not any(number("", end, "", lambda _: True) for end in value) and holds(*value)
    return "" if fits else f"{word} must be {be}, got {value!r}"


def one_of(word: str, value: Any, known: Sequence[str]) -> str:
    """What is wrong with an argument that must be one of some words."""
    return (
        "" if value in known else f"{word} must be one of {', '.join(known)}; got {value!r}{did_you_mean(value, known)}"
    )
