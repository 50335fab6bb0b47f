"""Layer-wise learning-rate decay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax

from jaxconv._base.errors import ConfigError
from jaxconv._base.types import Params
from jaxconv.layers.layer import Layer

__all__ = ["layer_groups", "layer_multipliers"]


def layer_groups(net: Layer, params: Params) -> list[list[str]]:
    """The layers and blocks of a net in the order that they run, for layer-wise learning rates.

    A part of a chain, or of chains in it, is a group if it has a kernel; one with vectors alone, such as a norm,
    belongs to the group before it (the first ones to the group after).

    Args:
      net: the net.
      params: its parameters, or their shapes.

    Returns:
      The paths of the parts of each group.

    >>> from jaxconv.layers import BatchNorm, Conv, Dense, chain
    >>> net = chain(stem=chain(Conv(4, 3), BatchNorm()), flatten=lambda x: x.reshape(1, -1), head=Dense(2))
    >>> layer_groups(net, net.init(jax.random.key(0), (1, 5, 5, 1))[0])
    [['stem/conv0', 'stem/batch_norm0'], ['head']]
    """
    groups: list[list[str]] = []
    before: list[str] = []
    for path, part in _parts(net, params, ""):
        if any(leaf.ndim > 1 for leaf in jax.tree.leaves(part)):
            groups.append([*before, path])
            before = []
        elif groups:
            groups[-1].append(path)
        else:
            before.append(path)
    return groups


def layer_multipliers(net: Layer, params: Params, decay: float) -> dict[str, float]:
    """Learning-rate multipliers of layer-wise decay, for `scale_lr`: 1 for the last layer, less for those before it.

    Args:
      net: the net.
      params: its parameters, or their shapes.
      decay: factor between a group of `layer_groups` and the one after it, in (0, 1].

    Returns:
      {path of a part: multiplier}.

    Raises:
      ConfigError: if decay is not in (0, 1], or the net is not a chain of at least two layers.

    Source: Howard and Ruder, Universal language model fine-tuning, 2018; as "layer_decay" in timm.

    >>> from jaxconv.layers import Dense, chain
    >>> net = chain(a=Dense(2), b=Dense(2), c=Dense(2))
    >>> layer_multipliers(net, net.init(jax.random.key(0), (1, 2))[0], 0.5)
    {'a': 0.25, 'b': 0.5, 'c': 1.0}
    """
    if not 0 < decay <= 1:
        raise ConfigError(f"optim.layer_decay must be above 0, up to 1, got {decay}")
    groups = layer_groups(net, params)
    if len(groups) < 2:
        raise ConfigError(f"optim.layer_decay needs a net that is a chain of layers; {net.name} is a single one")
    return {path: decay ** (len(groups) - 1 - number) for number, paths in enumerate(groups) for path in paths}


def _parts(net: Layer, params: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, parameters) of the parts of nested chains that have any."""
    if net.name != "chain":
        if jax.tree.leaves(params):
            yield path, params
        return
    for name, part in net.parts.items():
        yield from _parts(part, params.get(name, {}), f"{path}/{name}" if path else name)


def __dir__() -> list[str]:
    return sorted(__all__)
