"""The type of augmentations, and argument checks shared by all of them."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._base.errors import ShapeError, did_you_mean, raise_problems
from jaxconv._base.limits import LARGEST_INT
from jaxconv.data.dataset import Batch

Augment = Callable[[jax.Array, Batch], Batch]


def images_of(name: str, batch: Batch) -> jax.Array:
    """The images of a batch, [N, H, W, C].

    Args:
      name: name of the augmentation, for the message.
      batch: argument of the augmentation.

    Raises:
      ShapeError: if it is not a Batch, or its images are not of rank 4.
    """
    if not isinstance(batch, Batch):
        got = f"an array {list(jnp.shape(batch))}" if hasattr(batch, "shape") else type(batch).__name__
        raise ShapeError(f"{name} takes a Batch", got=got, fix="jaxconv.data.Batch(image, label, weight)")
    images = jnp.asarray(batch.image)
    if images.ndim != 4:
        raise ShapeError(f"{name} takes images [N, H, W, C]", got=str(list(images.shape)))
    return images


def as_type(values: jax.Array, dtype: Any) -> jax.Array:
    """Cast floating values; integer dtypes round and clip to their range.

    >>> as_type(jnp.array([-3.0, 1.6, 300.0]), jnp.uint8)
    Array([  0,   2, 255], dtype=uint8)
    """
    if jnp.issubdtype(dtype, jnp.integer):
        values = jnp.clip(jnp.round(values), jnp.iinfo(dtype).min, jnp.iinfo(dtype).max)
    return values.astype(dtype)


def draws(key: jax.Array, count: int, n: int) -> jax.Array:
    """Uniform numbers in [0, 1), float32 [count, n]; a single draw compiles many times faster than several."""
    return jax.random.uniform(key, (count, n), jnp.float32)


def per_image(values: jax.Array) -> jax.Array:
    """Reshape [N] to [N, 1, 1, 1], to broadcast one value per image."""
    return values[:, None, None, None]


def changed(name: str, probability: float, change: Callable[[jax.Array], jax.Array]) -> Augment:
    """The augmentation that changes each image with a probability.

    Args:
      name: name of the augmentation, for messages.
      probability: probability of changing an image.
      change: function of images [N, H, W, C] that keeps shape and dtype.
    """

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of(name, batch)
        chosen = draws(key, 1, len(images))[0] < probability
        return batch._replace(image=jnp.where(per_image(chosen), change(images), images))

    return run


def check_arguments(name: str, *problems: str) -> None:
    """Raise a ConfigError with one line for each nonempty problem."""
    raise_problems(f"{name}: {problem}" for problem in problems if problem)


def number_problem(
    word: str, value: Any, be: str, holds: Callable[[Any], bool], *, whole: bool = False, optional: bool = False
) -> str:
    """The problem of an argument that must be a number, or None if it is `optional`; empty if there is none.

    >>> number_problem("alpha", -1, "a number above 0", lambda alpha: alpha > 0)
    'alpha must be a number above 0, got -1'
    """
    if optional and value is None:
        return ""
    kind = numbers.Integral if whole else numbers.Real
    fits = isinstance(value, kind) and not isinstance(value, bool) and holds(value)
    if fits and isinstance(value, numbers.Integral) and abs(int(value)) > LARGEST_INT:
        return f"{word} must be at most {LARGEST_INT:,} in size, got {value!r}"
    return "" if fits else f"{word} must be {be}, got {value!r}"


def probability_problem(value: Any, word: str = "probability") -> str:
    """The problem of a probability; empty if there is none."""
    return number_problem(word, value, "a number from 0 to 1", lambda p: 0 <= p <= 1)


def peak_problem(value: Any) -> str:
    """The problem of a maximum pixel value; empty if there is none."""
    return number_problem("peak", value, "a number above 0", lambda x: x > 0)


def fill_number_problem(value: Any) -> str:
    """The problem of a pixel value outside the image; empty if there is none."""
    return number_problem("fill", value, "a number, 0 or more", lambda fill: 0 <= fill < math.inf)


def pixels_problem(value: Any, least: int, word: str = "pixels") -> str:
    """The problem of a number of pixels; empty if there is none."""
    return number_problem(word, value, f"a whole number, {least} or more", lambda n: n >= least, whole=True)


def range_problem(word: str, value: Any, be: str, holds: Callable[[Any, Any], bool]) -> str:
    """The problem of a range (low, high) of numbers; empty if there is none."""
    pair = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    fits = pair and not any(number_problem("", end, "", lambda _: True) for end in value) and holds(*value)
    return "" if fits else f"{word} must be {be}, got {value!r}"


def bool_problem(word: str, value: Any) -> str:
    """The problem of an argument that must be true or false; empty if there is none."""
    return "" if isinstance(value, bool) else f"{word} must be true or false, got {value!r}"


def choice_problem(word: str, value: Any, known: Sequence[str]) -> str:
    """The problem of an argument that must be one of some strings; empty if there is none."""
    return (
        "" if value in known else f"{word} must be one of {', '.join(known)}; got {value!r}{did_you_mean(value, known)}"
    )
