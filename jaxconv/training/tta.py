"""Test-time augmentation: predictions averaged over views of each image."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxconv._base.dtypes import upcast
from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv.augment.contract import check_arguments, choice_problem, number_problem, pixels_problem
from jaxconv.geometry import PADDING_MODES
from jaxconv.ops._pad import pad_pairs
from jaxconv.training.tiles import multi_scale, sliding_window

__all__ = ["MeanOf", "Views"]

MeanOf = Literal["logits", "probabilities"]
"""What of the views of an image is averaged: logits, or the probabilities of classes."""

Predict = Callable[[jax.Array], jax.Array]
View = tuple[float, Callable[[jax.Array], jax.Array]]


@dataclasses.dataclass(frozen=True)
class Views:
    """Views of each image that predictions are averaged over: every combination of crops, shifts and mirror images.

    `Views(flip=True, shift=1)` has the six views of airbench (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single
    GPU").

    Args:
      flip: whether to add mirror images, left to right, of equal weight.
      shift: number of pixels; adds the image shifted up and left, and down and right, which together have the weight of
        the unshifted one. 0 for none.
      padding_mode: values outside a shifted image: "zeros", "reflect", "edge" or "wrap".
      five_crop: size of crops relative to the image's, resized to it bilinearly: the four corners and the center, in
        place of the whole image. None for the whole image.
      mean_of: see `MeanOf`.
      scales: of predictions of pixels: sizes relative to the image's, see `jaxconv.training.multi_scale`. None for 1.
      window: of predictions of pixels: height and width of sliding windows, see `jaxconv.training.sliding_window`. None
        for the whole image.
      overlap: share of a window that the next one has, too.

    Raises:
      ConfigError: if an argument is invalid.

    >>> views = Views(flip=True, shift=1)
    >>> views.count, views(jnp.zeros([2, 5, 7, 3])).shape
    (6, (6, 2, 5, 7, 3))
    >>> [round(weight, 3) for weight in views.weights]
    [0.25, 0.25, 0.125, 0.125, 0.125, 0.125]
    """

    flip: bool = False
    shift: int = 0
    padding_mode: str = "reflect"
    five_crop: float | None = None
    mean_of: MeanOf = "logits"
    scales: Sequence[float] | None = None
    window: int | None = None
    overlap: float = 0.5

    def __post_init__(self) -> None:
        check_arguments(
            "tta",
            "" if isinstance(self.flip, bool) else f"flip must be true or false, got {self.flip!r}",
            pixels_problem(self.shift, 0, "shift"),
            choice_problem("padding_mode", self.padding_mode, PADDING_MODES),
            number_problem(
                "five_crop", self.five_crop, "a number above 0, up to 1", lambda x: 0 < x <= 1, optional=True
            ),
            choice_problem("mean_of", self.mean_of, get_args(MeanOf)),
            "" if self.scales is None or self.scales else "scales must be at least one number, got none",
            *(number_problem("scales", scale, "numbers above 0", lambda x: x > 0) for scale in self.scales or ()),
            number_problem("window", self.window, "a whole number of pixels", _is_size, whole=True, optional=True),
            number_problem("overlap", self.overlap, "a number from 0 to below 1", lambda x: 0 <= x < 1),
        )

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of each view of one size; their sum is 1."""
        return tuple(math.prod(weight for weight, _ in parts) for parts in self._parts())

    @property
    def count(self) -> int:
        """Number of views of an image, of all sizes."""
        return len(self.weights) * len(self.scales or (1,))

    def __call__(self, images: jax.Array) -> jax.Array:
        """The views of images [N, H, W, C] of one size: [views, N, H, W, C]; floating if they are crops.

        Raises:
          ShapeError: if the images are too small to be shifted.
        """
        rows, columns = images.shape[1:3]
        most = min(rows, columns) - 1
        if self.shift > most:
            raise ShapeError(
                f"tta.shift of {rows}×{columns} images must be at most {most} pixels", got=f"shift={self.shift}"
            )
        found = []
        for parts in self._parts():
            view = images
            for _, change in parts:
                view = change(view)
            found.append(view)
        return jnp.stack(found)

    def averaged(self, log_p: Predict, dense: bool = False) -> Predict:
        """A function of images that averages over their views; one view runs at a time.

        Args:
          log_p: `images -> log-probabilities` [N, C], or [N, H, W, C] of pixels.
          dense: whether they are of pixels, which are moved back from the views.

        Returns:
          The same kind of function.

        Raises:
          ConfigError: if a view of pixels cannot be moved back: crops and shifts; if there are scales or windows of
            other predictions.
        """
        if dense:
            check_arguments(
                "tta",
                "shift must be 0 for predictions of pixels" if self.shift else "",
                "five_crop must be unset for predictions of pixels" if self.five_crop is not None else "",
            )
        elif self.scales is not None or self.window is not None:
            raise ConfigError("tta: scales and window must be unset for predictions of images")
        if self.window is not None:
            log_p = self._smoothed(log_p, functools.partial(sliding_window, size=self.window, overlap=self.overlap))
        if len(self.weights) > 1:
            log_p = self._over_views(log_p, dense)
        if self.scales is not None:
            log_p = self._smoothed(log_p, functools.partial(multi_scale, scales=self.scales))
        return log_p

    def _smoothed(self, log_p: Predict, average: Callable[[Predict], Predict]) -> Predict:
        """Log-probabilities of pixels that are averaged as `mean_of` says."""
        if self.mean_of == "logits":
            return lambda images: jax.nn.log_softmax(average(log_p)(images))
        mean = average(lambda images: jnp.exp(log_p(images)))

        def log_mean(images: jax.Array) -> jax.Array:
            p = mean(images)
            return jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny))

        return log_mean

    def _over_views(self, log_p: Predict, dense: bool) -> Predict:
        def mean(images: jax.Array) -> jax.Array:
            each = jax.lax.map(log_p, self(images))
            if dense and self.flip:
                each = jnp.stack([each[0], each[1, :, :, ::-1]])
            weights = jnp.asarray(self.weights, each.dtype).reshape(-1, *[1] * (each.ndim - 1))
            if self.mean_of == "logits":
                return jax.nn.log_softmax((weights * each).sum(0))
            return jax.nn.logsumexp(each + jnp.log(weights), axis=0)

        return mean

    def _parts(self) -> list[tuple[View, ...]]:
        """The changes of each view, in order."""
        whole: View = 1.0, lambda images: images
        crops, shifts, mirrored = [whole], [whole], [whole]
        if self.five_crop is not None:
            crops = [(1 / 5, self._crop(corner)) for corner in ((0, 0), (0, 2), (2, 0), (2, 2), (1, 1))]
        if self.shift:
            shifts = [(1 / 2, whole[1]), (1 / 4, self._shifted(-self.shift)), (1 / 4, self._shifted(self.shift))]
        if self.flip:
            mirrored = [(1 / 2, whole[1]), (1 / 2, lambda images: images[:, :, ::-1])]
        return list(itertools.product(crops, shifts, mirrored))

    def _shifted(self, pixels: int) -> Callable[[jax.Array], jax.Array]:
        """Images shifted by so many pixels down and right; if negative, up and left."""
        size = abs(pixels)

        def change(images: jax.Array) -> jax.Array:
            rows, columns = images.shape[1:3]
            padded = pad_pairs(images, ((size, size), (size, size)), self.padding_mode)
            first = size - pixels
            return padded[:, first : first + rows, first : first + columns]

        return change

    def _crop(self, corner: tuple[int, int]) -> Callable[[jax.Array], jax.Array]:
        """A crop, resized to the image; at 0, 1 or 2 halves of the free rows and columns."""
        share = self.five_crop or 1.0

        def change(images: jax.Array) -> jax.Array:
            sizes = [max(1, round(share * n)) for n in images.shape[1:3]]
            (top, rows), (left, columns) = (
                (round(half * (n - size) / 2), size)
                for half, n, size in zip(corner, images.shape[1:3], sizes, strict=True)
            )
            crop = images[:, top : top + rows, left : left + columns]
            return jax.image.resize(upcast(crop), images.shape, "bilinear")

        return change


def _is_size(value: int) -> bool:
    return value >= 1


def __dir__() -> list[str]:
    return sorted(__all__)
