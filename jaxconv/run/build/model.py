"""Model of a run: the net in its precision, its initial weights, its input normalization."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import data
from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv.augment import normalize
from jaxconv.data import Arrays, Source
from jaxconv.explain import diagnose
from jaxconv.layers.layer import Layer
from jaxconv.models._registry import make_net
from jaxconv.port import pretrained
from jaxconv.run.build.precision import in_precision
from jaxconv.run.config import Config, TtaConfig
from jaxconv.training.tta import Views

__all__ = ["Model", "build_model", "make_views"]

# Training images that a net is initialized from, if it asks for them.
_FIRST = 5000


@dataclasses.dataclass(frozen=True)
class Model:
    """A net and its input.

    Args:
      net: the net in the precision that it computes in.
      float32: the same net before it was cast.
      prepare: `images -> input of the net`, which normalizes them.
      shape: of an input of one image, [1, H, W, C].
    """

    net: Layer
    float32: Layer
    prepare: Callable[[jax.Array], jax.Array]
    shape: tuple[int, ...]

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Add to a ShapeError of the net its cause and an input shape that works."""
        try:
            yield
        except ShapeError as error:
            raise ShapeError(diagnose(self.float32, self.shape, error)) from error

    def structs(self) -> tuple[Any, Any]:
        """Shapes of the params and state of `float32`."""
        with self.explained():
            return jax.eval_shape(lambda: self.float32.init(jax.random.key(0), self.shape))


def build_model(settings: Config, dataset: data.Dataset[Any], train: Source | None = None) -> Model:
    """Build the net of a config for a dataset's images and classes.

    Args:
      settings: the config.
      dataset: has the image shape, the classes and the normalization.
      train: training images, for nets whose initialization depends on them; None if they are not initialized.

    Raises:
      ConfigError, DataError: if there is no such net, or its pretrained weights cannot be loaded.
    """
    prepare = functools.partial(normalize, mean=dataset.mean, std=dataset.std)
    images = None if train is None else lambda: prepare(jnp.asarray(_first(train)))
    plain = make_net(settings.net.name, settings.net.arguments, len(dataset.classes), images)
    plain = _pretrained(plain, settings)
    return Model(in_precision(plain, settings.precision), plain, prepare, (1, *dataset.image_shape))


def make_views(wanted: TtaConfig) -> Views:
    """The test-time augmentation of a config."""
    return Views(**dataclasses.asdict(wanted))


def _pretrained(net: Layer, settings: Config) -> Layer:
    """The net, initialized from the config's pretrained weights if there are any."""
    wanted = settings.pretrained
    if wanted.weights is None:
        if wanted.skip or wanted.ignore or wanted.entry or wanted.part:
            raise ConfigError("pretrained.skip, ignore, entry and part require pretrained.weights, got none")
        return net
    words: Any = {"skip": wanted.skip, "ignore": wanted.ignore, "entry": wanted.entry, "part": wanted.part}
    return pretrained(net, wanted.weights, wanted.source, **words)


def _first(source: Source) -> np.ndarray:
    """The first images of a source, uint8 [N, H, W, C]."""
    count = min(_FIRST, len(source))
    return source.images[:count] if isinstance(source, Arrays) else np.stack([source[i][0] for i in range(count)])
