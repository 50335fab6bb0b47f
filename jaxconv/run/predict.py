"""Prediction: from image files to class probabilities, with their preprocessing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import port
from jaxconv._base.errors import ConfigError, DataError, not_one_of
from jaxconv._base.files import read_text
from jaxconv.augment import normalize
from jaxconv.data.class_names import VOC
from jaxconv.data.decode import INTERPOLATIONS, Interpolation, read_square, read_whole
from jaxconv.data.images import IMAGENET_MEAN, IMAGENET_STD
from jaxconv.data.picture import Picture, read_picture
from jaxconv.layers.layer import Layer
from jaxconv.models._registry import default_classes, make_net
from jaxconv.run.build.model import make_views
from jaxconv.run.config import TtaConfig, with_changes
from jaxconv.run.tasks import Task, find_task
from jaxconv.training.finite import first_nonfinite
from jaxconv.training.tta import Views

__all__ = ["Input", "Predictor", "check_finite", "pretrained"]


@dataclasses.dataclass(frozen=True)
class Input:
    """Input of a net: its shape, normalization and classes.

    Args:
      shape: height, width and channels.
      peak: largest possible pixel value.
      mean: per channel, in pixel units.
      std: per channel, in pixel units.
      classes: class names in label order.
      photographs: whether images are center-cropped (photographs) rather than letterboxed (drawings).
      shorter: size in pixels that a photograph's shorter side is resized to before the crop; the crop's if None.
      interpolation: filter that photographs are resized by.
    """

    shape: tuple[int, int, int]
    peak: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    photographs: bool = False
    shorter: int | None = None
    interpolation: Interpolation = "lanczos"

    @property
    def squares(self) -> bool:
        """Whether images are resized and center-cropped, by `jaxconv.data.decode.read_square`."""
        return self.photographs and self.shape[0] == self.shape[1]


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A trained net.

    Args:
      net: the layer.
      params: its parameters; of an ensemble, with a first axis for its members.
      state: its state, likewise.
      input: its input shape, normalization and classes.
      members: whether it is an ensemble.
      views: test-time augmentation; None for none.
      temperature: that logits are divided by, see `jaxconv.training.calibration`; of an ensemble, those of its mean.
      task_name: what the net was trained for.
    """

    net: Layer
    params: Any
    state: Any
    input: Input
    members: bool
    views: Views | None = dataclasses.field(default=None, kw_only=True)
    temperature: float = dataclasses.field(default=1.0, kw_only=True)
    task_name: str = dataclasses.field(default="classification", kw_only=True)

    @property
    def task(self) -> Task:
        """What the net was trained for."""
        return find_task(self.task_name)

    def prepare(self, images: jax.Array) -> jax.Array:
        """Normalize images as in training: [N, H, W, C] in the data's pixel units."""
        return normalize(images, self.input.mean, self.input.std)

    def picture(self, path: str | Path, invert: bool | None = None) -> Picture:
        """Read an image file at the net's input size; for predictions of pixels, with a shorter side of that size.

        Args:
          path: an image of any size, in one of the formats of `jaxconv.data.picture.FORMATS`.
          invert: whether to exchange light and dark; None does so if the border of a drawing is light.

        Raises:
          DataError: if it cannot be read.
        """
        height, width, channels = self.input.shape
        if self.task.dense:
            return self._whole(path, min(height, width), bool(invert))
        if self.input.squares:
            options: dict[str, Any] = {"shorter": self.input.shorter, "interpolation": self.input.interpolation}
            pixels = read_square(path, height, channels, **options).astype(np.float32)
            return Picture(np.float32(self.input.peak) - pixels if invert else pixels, bool(invert))
        return read_picture(path, self.input.shape, self.input.peak, invert)

    def shown(self, path: str | Path, picture: Picture) -> np.ndarray:
        """The image that a prediction is shown with: for predictions of pixels, the file's in its own size.

        Args:
          path: the file.
          picture: from `picture`.

        Returns:
          float32 [H, W, C] in the data's pixel units.
        """
        return self._whole(path, None, picture.inverted).pixels if self.task.dense else picture.pixels

    def _whole(self, path: str | Path, shorter: int | None, invert: bool) -> Picture:
        whole = read_whole(path, shorter, self.input.shape[-1], self.input.interpolation)
        pixels = whole * np.float32(self.input.peak / 255)
        return Picture(np.float32(self.input.peak) - pixels if invert else pixels, invert)

    def probabilities(self, images: jax.typing.ArrayLike) -> jax.Array:
        """Class probabilities.

        Args:
          images: [N, H, W, C] in the data's pixel units.

        Returns:
          float32 [N, classes]; of an ensemble, the mean over its members.
        """
        return jnp.exp(self.outputs(images))

    def outputs(self, images: jax.typing.ArrayLike) -> jax.Array:
        """Predictions, of the kind that the task has: log-probabilities [N, classes] of classes.

        Args:
          images: [N, H, W, C] in the data's pixel units.
        """
        options: dict[str, Any] = {"members": self.members, "temperature": self.temperature}
        predict = jax.jit(self.task.make_predict(self.net, self.prepare, self.views, **options))
        return predict(self.params, self.state, jnp.asarray(images))


def pretrained(
    name: str,
    weights: str | Path,
    classes: Sequence[str] | None = None,
    source: str = "torchvision",
    *,
    size: int = 224,
    shorter: int | None = 256,
    channels: int = 3,
    entry: str | None = None,
    tta: Sequence[str] = (),
    interpolation: str = "lanczos",
) -> Predictor:
    """A net of the registry, for classification or segmentation, with pretrained weights and ImageNet's preprocessing.

    Args:
      name: a key of `jaxconv.models.registry`.
      weights: a file, see `jaxconv.port.weights.load`.
      classes: class names in the order of the net's logits; if None, VOC's of 21 classes, else their indices.
      source: library whose parameter names the weights have.
      size: side of the center crop in pixels.
      shorter: size in pixels that the shorter side is resized to before the crop.
      channels: 3 for color, 1 for luminance.
      entry: key of the state dict in a checkpoint that has several.
      tta: keys of a config's test-time augmentation, such as "flip=true".
      interpolation: filter of the resizing; torchvision's weights are evaluated with "bilinear", timm's with "bicubic".

    Raises:
      ConfigError, DataError: if there is no such net or filter, the weights do not match the net, or a key of `tta` is
        invalid.
    """
    if interpolation not in INTERPOLATIONS:
        raise ConfigError(not_one_of("--interpolation", interpolation, INTERPOLATIONS))
    classes = _default_names(default_classes(name)) if classes is None else classes
    net, shape = make_net(name, {}, len(classes)), (size, size, channels)
    params, state = port.load(net, weights, source, x=(1, *shape), entry=entry)
    check_finite(weights, params, state)
    moments = IMAGENET_MEAN[channels], IMAGENET_STD[channels]
    wanted = Input(shape, 255, *moments, tuple(classes), True, shorter, interpolation)
    views = make_views(with_changes("tta", TtaConfig(), tta))
    scores = jax.eval_shape(lambda: net.apply(params, state, jnp.zeros((1, *shape)))[0])
    task = "segmentation" if scores.ndim == len(shape) + 1 else "classification"
    return Predictor(net, params, state, wanted, members=False, views=views, task_name=task)


def _default_names(count: int) -> tuple[str, ...]:
    return VOC if count == len(VOC) else tuple(map(str, range(count)))


def check_finite(path: str | Path, params: Any, state: Any) -> None:
    """Raise DataError if parameters or state from a file contain NaN or infinity."""
    name = first_nonfinite({"params": params, "state": state})
    if name is not None:
        raise DataError(f"parameters must be finite; {path} has NaN or infinity in {name}\n  fix: train again")


def class_names(path: str | Path) -> list[str]:
    """Read class names from a file, one a line, in label order.

    Raises:
      ConfigError: if the file cannot be read, is empty, or has an empty line.
    """
    try:
        names = [line.strip() for line in read_text(path).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"--names must be a text file with one class a line; cannot read {path}: {reason}") from None
    names = names[: max((number for number, name in enumerate(names, 1) if name), default=0)]
    if not names or not all(names):
        found = "an empty line" if names else "no lines"
        raise ConfigError(f"--names must be a text file with one class a line; {path} has {found}")
    return names
