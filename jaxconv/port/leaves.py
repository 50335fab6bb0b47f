"""Every parameter and statistic of a net as torch has it: its name, its shape, and the way there and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxconv.layer import Layer, lift, shape_of
from jaxconv.port.order import flattened

__all__ = ["Leaf", "leaves_of"]

WORDS = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
"""Our names of leaves as torch's; all others are the same."""


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One array of params or state.

    Attributes:
      keys: the names that lead to it.
      kind: of the layer that it belongs to, "conv".
      shape, dtype: ours.
      statistic: whether it stands in the state.
      orders: {axis of ours: order}; see `order.flattened`.
      maps: {axis of ours: (*spatial, C)} of what was flattened, where it is known.
    """

    keys: tuple[str, ...]
    kind: str
    shape: tuple[int, ...]
    dtype: Any
    statistic: bool
    orders: Mapping[int, np.ndarray]
    maps: Mapping[int, tuple[int, ...]]

    @property
    def path(self) -> str:
        """As `partition` and `freeze` know it: "layer1/0/conv1/kernel"."""
        return "/".join(self.keys)

    @property
    def part(self) -> tuple[str, ...]:
        """The keys of the layer that it belongs to."""
        return self.keys[:-1]

    @property
    def word(self) -> str:
        """What torch calls such a leaf: "weight"."""
        return WORDS.get(self.keys[-1], self.keys[-1])

    @property
    def turned(self) -> bool:
        """Whether torch keeps the last two axes first: weights of convolutions, transposed ones, dense layers."""
        if self.keys[-1] != "kernel" or len(self.shape) < 2 or self.kind == "local_conv":
            return False
        # The way back through a dense layer has the very shape of that layer's weight in torch.
        return not (self.kind == "adjoint" and len(self.shape) == 2)

    @property
    def torch_shape(self) -> tuple[int, ...]:
        """Of torch's tensor."""
        return (self.shape[-1], self.shape[-2], *self.shape[:-2]) if self.turned else self.shape

    def from_torch(self, tensor: np.ndarray) -> np.ndarray:
        """A tensor of `torch_shape` as ours.

        Args:
          tensor: torch's.
        """
        array = np.moveaxis(tensor, (0, 1), (-1, -2)) if self.turned else tensor
        for axis, order in self.orders.items():
            array = np.take(array, order, axis)
        return np.ascontiguousarray(array)

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        """Ours as a tensor of `torch_shape`.

        Args:
          array: ours.
        """
        for axis, order in self.orders.items():
            array = np.take(array, np.argsort(order), axis)
        return np.moveaxis(array, (-1, -2), (0, 1)) if self.turned else array


def leaves_of(net: Any, x: Any) -> tuple[list[Leaf], Any]:
    """The leaves of a net for an input of a shape; nothing is computed.

    Args:
      net: a Layer.
      x: an array, a `jax.ShapeDtypeStruct` or a shape.

    Returns:
      The leaves in the order of (params, state)'s own, and the tree that they make.

    >>> from jaxconv.layers import Conv, chain
    >>> leaves, _ = leaves_of(chain(stem=Conv(8, 3)), (1, 9, 9, 3))
    >>> [(leaf.path, leaf.kind, leaf.shape, leaf.torch_shape) for leaf in leaves]
    [('stem/bias', 'conv', (8,), (8,)), ('stem/kernel', 'conv', (3, 3, 3, 8), (8, 3, 3, 3))]
    """
    net, x = lift(net), shape_of(x)
    born = jax.eval_shape(lambda: net.init(jax.random.key(0), x))
    orders = flattened(lambda born, x: net.apply(*born, x)[0], born, x)
    leaves = []
    for number, (path, struct) in enumerate(jax.tree.leaves_with_path(born)):
        tree, *keys = (getattr(key, "key", getattr(key, "idx", None)) for key in path)
        words, found = tuple(map(str, keys)), orders.get(number, {})
        order, maps = {axis: o for axis, (_, o) in found.items()}, {axis: m for axis, (m, _) in found.items() if m}
        leaves.append(Leaf(words, _kind(net, words), struct.shape, struct.dtype, tree == 1, order, maps))
    return leaves, jax.tree.structure(born)


def _kind(net: Layer, keys: tuple[str, ...]) -> str:
    """The name of the innermost layer that a path leads to."""
    for key in keys:
        if key not in net.parts:
            break
        net = net.parts[key]
    return net.name
