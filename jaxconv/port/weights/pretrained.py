"""Initialize a net from pretrained weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from jaxconv.layers.layer import Layer, lift
from jaxconv.port.weights.hub import download
from jaxconv.port.weights.load import load
from jaxconv.port.weights.names import Source

__all__ = ["pretrained"]

_HUB = "hf://"


def pretrained(
    net: Layer,
    weights: Any,
    source: Source = "torchvision",
    *,
    skip: str | Iterable[str] = (),
    ignore: str | Iterable[str] = (),
    entry: str | None = None,
    part: str | None = None,
) -> Layer:
    """The net with an `init` that loads pretrained weights; parameters that are skipped are initialized randomly.

    Args:
      net: a Layer.
      weights: a file, a state dict or a torch module, as in `load`, or "hf://owner/repository/file" to download.
      source: naming scheme of the weights, as in `load`.
      skip: patterns of parameter paths to initialize from the key: a new head.
      ignore: patterns of unexpected names in the file that are no error.
      entry: key of the state dict in a checkpoint that has several, as in `load`.
      part: path of the part that the weights are for, as in `load`; all others are initialized from the key.

    Returns:
      A Layer with the same `apply`, parts and parameter structure.

    Raises:
      PortError, ConfigError, DataError: at `init`, as `load` does.

    >>> import jax, numpy as np
    >>> from jaxconv.layers import Dense, chain
    >>> weights = {"body.weight": np.eye(3), "body.bias": np.zeros(3)}
    >>> net = pretrained(chain(body=Dense(3), head=Dense(2)), weights, skip="head")
    >>> params, _ = net.init(jax.random.key(0), (1, 3))
    >>> params["body"]["kernel"][0], params["head"]["kernel"].shape
    (Array([1., 0., 0.], dtype=float32), (3, 2))
    """
    net = lift(net)

    def init(key: Any, x: Any) -> Any:
        words: Any = {"skip": skip, "ignore": ignore, "entry": entry, "part": part}
        return load(net, _fetched(weights), source, x=x, key=key, **words)

    return dataclasses.replace(net, init=init)


def _fetched(weights: Any) -> Any:
    """The weights, downloaded if they are an address on the hub."""
    if not isinstance(weights, str) or not weights.startswith(_HUB):
        return weights
    owner, _, rest = weights.removeprefix(_HUB).partition("/")
    repository, _, file = rest.partition("/")
    return download(f"{owner}/{repository}", *([file] if file else []))
