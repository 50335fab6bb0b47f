"""A trained net and what it asks of a picture: from files to the probability of each class."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import port
from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.files import read_text
from jaxconv.augment import normalise
from jaxconv.data.decode import read_square
from jaxconv.data.folder import IMAGENET_MEAN, IMAGENET_STD
from jaxconv.data.picture import Picture, read_picture
from jaxconv.layers.layer import Layer
from jaxconv.models._registry import make_net
from jaxconv.training.finite import first_nonfinite

__all__ = ["Input", "Predictor", "check_finite", "pretrained"]


@dataclasses.dataclass(frozen=True)
class Input:
    """What a net was trained on.

    Args:
      shape: height, width and channels.
      peak: the brightest value that a pixel can have.
      mean: of each channel, in pixel units.
      std: likewise.
      classes: their names, in label order.
      photographs: whether pictures are read by their middle square; else as drawings on a ground of their own.
      shorter: what a photograph's shorter side becomes before that; the side of the square if None.
    """

    shape: tuple[int, int, int]
    peak: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    photographs: bool = False
    shorter: int | None = None


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A trained net.

    Args:
      net: the layer.
      params: its parameters; with a first axis for the members of an ensemble.
      state: its state, likewise.
      input: what it was trained on.
      members: whether it is an ensemble.
    """

    net: Layer
    params: Any
    state: Any
    input: Input
    members: bool

    def prepare(self, images: jax.Array) -> jax.Array:
        """Normalise images as in training: [N, H, W, C] in the data's pixel units."""
        return normalise(images, self.input.mean, self.input.std)

    def picture(self, path: str | Path, invert: bool | None = None) -> Picture:
        """Read a picture as the net wants it.

        Args:
          path: a file of any size, in one of the formats of `jaxconv.data.picture.FORMATS`.
          invert: exchange light and dark; None for where the border of a drawing is light.

        Raises:
          DataError: it cannot be read.
        """
        height, width, channels = self.input.shape
        if self.input.photographs and height == width:
            pixels = read_square(path, height, channels, self.input.shorter).astype(np.float32)
            return Picture(np.float32(self.input.peak) - pixels if invert else pixels, bool(invert))
        return read_picture(path, self.input.shape, self.input.peak, invert)

    def probabilities(self, images: jax.typing.ArrayLike) -> jax.Array:
        """Each class's probability.

        Args:
          images: [N, H, W, C] in the data's pixel units.

        Returns:
          float32 [N, classes]; an ensemble's are the mean of its members'.
        """
        x = self.prepare(jnp.asarray(images))

        def one(params: Any, state: Any) -> jax.Array:
            return jax.nn.softmax(self.net.apply(params, state, x)[0].astype(jnp.float32))

        if self.members:
            return jax.jit(lambda params, state: jax.vmap(one)(params, state).mean(0))(self.params, self.state)
        return jax.jit(one)(self.params, self.state)


def pretrained(
    name: str,
    weights: str | Path,
    classes: Sequence[str],
    source: str = "torchvision",
    *,
    size: int = 224,
    shorter: int | None = 256,
    channels: int = 3,
) -> Predictor:
    """A net of the registry with weights that somebody trained on ImageNet, or as if it were.

    Args:
      name: a key of `jaxconv.models.registry`.
      weights: as `jaxconv.port.weights.load` takes them.
      classes: their names, in the order of the net's logits.
      source: whose names the weights have.
      size: side of the square that is cut out of a photograph.
      shorter: what its shorter side becomes before.
      channels: 3 for colour, 1 for luminance.

    Raises:
      ConfigError, DataError: there is no such net, or the weights are not its own.
    """
    net, shape = make_net(name, {}, len(classes)), (size, size, channels)
    params, state = port.load(net, weights, source, x=(1, *shape))
    check_finite(weights, params, state)
    moments = IMAGENET_MEAN[channels], IMAGENET_STD[channels]
    return Predictor(net, params, state, Input(shape, 255, *moments, tuple(classes), True, shorter), members=False)


def check_finite(path: str | Path, params: Any, state: Any) -> None:
    """Raise DataError if what was read from a file holds NaN or an infinity: no answer of such a net means anything."""
    name = first_nonfinite({"params": params, "state": state})
    if name is not None:
        raise DataError(f"parameters must be finite; {path} holds NaN or infinity in {name}\n  fix: train again")


def class_names(path: str | Path) -> list[str]:
    """Names of classes, one a line, in label order.

    Raises:
      ConfigError: the file cannot be read, or holds none.
    """
    try:
        names = [line.strip() for line in read_text(path).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"--names must be a text file of one class a line; cannot read {path}: {reason}") from None
    names = names[: max((number for number, name in enumerate(names, 1) if name), default=0)]
    if not names or not all(names):
        came = "an empty line" if names else "no lines"
        raise ConfigError(f"--names must be a text file of one class a line; {path} has {came}")
    return names
