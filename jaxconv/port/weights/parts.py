"""Weights of a whole net for a part of another, such as an encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from jaxconv._base.errors import ConfigError, did_you_mean
from jaxconv.port.weights.families import family_of
from jaxconv.port.weights.leaves import Leaf, Leaves

__all__ = ["leaves_in", "of_run"]

_FEATURES = "features"  # the part of torchvision's nets that an encoder is, where all maps are in one part


def leaves_in(leaves: Sequence[Leaf], part: str) -> dict[str, Leaf]:
    """The leaves of a part as those of the net that it is taken from, by their paths here.

    Args:
      leaves: of a net.
      part: path of the part, "backbone".

    Returns:
      {path in the net: the leaf with the names that it has in a file}: without the part's, and with "features." before
      them where torchvision's net has it.

    Raises:
      ConfigError: if no leaf is in the part.
    """
    keys = tuple(part.split("/"))
    inside = {
        leaf.path: dataclasses.replace(leaf, keys=leaf.keys[len(keys) :]) for leaf in leaves if _is_in(leaf, keys)
    }
    if not inside:
        known = dict.fromkeys("/".join(leaf.keys[:n]) for leaf in leaves for n in range(1, len(leaf.keys)))
        near = did_you_mean(part, known)
        raise ConfigError(f"part must be the path of a part with parameters; got {part!r}{near}")
    outer = {path: dataclasses.replace(leaf, keys=(_FEATURES, *leaf.keys)) for path, leaf in inside.items()}
    families = [family_of(leaf.name for leaf in each.values()) for each in (inside, outer)]
    return outer if families[0] is None and families[1] is not None else inside


def of_run(leaves: Leaves, found: Mapping[str, np.ndarray], inside: Mapping[str, Leaf]) -> dict[str, np.ndarray]:
    """Arrays of another run, by path, as tensors in torch's layout with dotted names.

    Args:
      leaves: of the net.
      found: by path in the run's net, "params/conv1/kernel".
      inside: from `leaves_in`.
    """
    here = {leaf.path: path for path, leaf in inside.items()}
    own, others = {}, {}
    for path, array in found.items():
        tree, _, rest = path.partition("/")
        if rest in here:
            own[f"{tree}/{here[rest]}"] = array
        else:
            others[rest.replace("/", ".")] = array
    names = {leaf.name: inside[leaf.path].name for leaf in leaves if leaf.path in inside}
    return {names[name]: tensor for name, tensor in leaves.to_torch(own).items()} | others


def _is_in(leaf: Leaf, keys: tuple[str, ...]) -> bool:
    return leaf.keys[: len(keys)] == keys
