"""Parameters and running statistics of a net in torch's names and layout, and conversion in both directions."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.errors import ConfigError
from jaxconv._base.paths import leaf_names
from jaxconv.layers.layer import Layer, lift, shape_of
from jaxconv.port.weights.order import flattened

__all__ = ["Leaf", "Leaves", "leaves_of"]

WORDS = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
"""Our names of leaves as torch's; all others are the same."""


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One array of params or state.

    Attributes:
      keys: names from the net down to the leaf.
      kind: of the layer that it belongs to, "conv".
      shape, dtype: ours.
      statistic: whether it is in the state (running statistics).
      orders: {axis of ours: order}; see `order.flattened`.
      maps: {axis of ours: (*spatial, C)} of the feature maps that were flattened along it, if known.
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
        """Path as in `optim.partition` and `optim.freeze`: "layer1/0/conv1/kernel"."""
        return "/".join(self.keys)

    @property
    def part(self) -> tuple[str, ...]:
        """The keys of the layer that it belongs to."""
        return self.keys[:-1]

    @property
    def word(self) -> str:
        """Torch's name for such a leaf: "weight"."""
        return WORDS.get(self.keys[-1], self.keys[-1])

    @property
    def name(self) -> str:
        """Torch's name for it: "layer1.0.conv1.weight"."""
        return ".".join([*self.part, self.word])

    @property
    def turned(self) -> bool:
        """Whether torch has the last two axes first: weights of (transposed) convolutions and dense layers."""
        if self.keys[-1] != "kernel" or len(self.shape) < 2 or self.kind == "local_conv":
            return False
        # The adjoint of a dense layer already has the shape of that layer's weight in torch.
        return not (self.kind == "adjoint" and len(self.shape) == 2)

    @property
    def torch_shape(self) -> tuple[int, ...]:
        """Shape of torch's tensor."""
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
          array: ours; one of another shape, as of a head for other classes, gets its axes turned alone.
        """
        for axis, order in self.orders.items() if array.shape == self.shape else ():
            array = np.take(array, np.argsort(order), axis)
        return np.moveaxis(array, (-1, -2), (0, 1)) if self.turned and array.ndim > 1 else array


@dataclasses.dataclass(frozen=True)
class Leaves(Sequence[Leaf]):
    """All leaves of a net; one that `repeat` stacks counts as n, as in torch.

    Attributes:
      leaves: in the order of (params, state)'s own.
      structure: of (params, state).
      stacks: for each array in `structure`, its leading axes of copies; () for most.
    """

    leaves: tuple[Leaf, ...]
    structure: Any
    stacks: tuple[tuple[int, ...], ...]

    def __getitem__(self, i: Any) -> Any:
        return self.leaves[i]

    def __len__(self) -> int:
        return len(self.leaves)

    def join(self, arrays: Iterable[Any]) -> Any:
        """(params, state) from one array for each leaf.

        Args:
          arrays: in the leaves' order.
        """
        rest = iter(arrays)

        def taken(stack: tuple[int, ...]) -> Any:
            return jnp.stack([taken(stack[1:]) for _ in range(stack[0])]) if stack else next(rest)

        return jax.tree.unflatten(self.structure, [taken(stack) for stack in self.stacks])

    def split(self, trees: Any) -> list[Any]:
        """One array for each leaf.

        Args:
          trees: (params, state).

        Raises:
          ConfigError: if they belong to another net, or to another x.
        """
        if jax.tree.structure(trees) != self.structure:
            raise ConfigError("params and state must be those of this net\n  fix: params, state = net.init(key, x)")
        arrays, rest = [], iter(self.leaves)
        for array, stack in zip(jax.tree.leaves(trees), self.stacks, strict=True):
            for index in np.ndindex(*stack):
                leaf, came = next(rest), np.shape(array)
                if came != (*stack, *leaf.shape):
                    raise ConfigError(
                        f"params and state must be those of this net for this x: {leaf.path} must be "
                        f"{[*stack, *leaf.shape]}, got {list(came)}\n  fix: x= the shape that they were initialized for"
                    )
                arrays.append(array[index] if stack else array)
        return arrays

    def to_torch(self, found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays of a file of ours as tensors in torch's layout, under their dotted names.

        Args:
          found: by path, "params/conv0/kernel", also those that the net lacks.
        """
        left, tensors, rest = dict(found), dict[str, np.ndarray](), iter(self.leaves)
        params, state = jax.tree.unflatten(self.structure, range(len(self.stacks)))
        for path, stack in zip(leaf_names({"params": params, "state": state}), self.stacks, strict=True):
            array = left.pop(path, None)
            for index in np.ndindex(*stack):
                leaf = next(rest)
                if array is not None and array.shape[: len(stack)] == stack:
                    tensors[leaf.name] = leaf.to_torch(array[index])
        return tensors | {".".join(path.split("/")[1:]): array for path, array in left.items()}


def leaves_of(net: Any, x: Any) -> Leaves:
    """The leaves of a net for an input shape; nothing is computed.

    Args:
      net: a Layer.
      x: an array, a `jax.ShapeDtypeStruct` or a shape.

    >>> from jaxconv.layers import Conv, chain
    >>> leaves = leaves_of(chain(stem=Conv(8, 3)), (1, 9, 9, 3))
    >>> [(leaf.path, leaf.kind, leaf.shape, leaf.torch_shape) for leaf in leaves]
    [('stem/bias', 'conv', (8,), (8,)), ('stem/kernel', 'conv', (3, 3, 3, 8), (8, 3, 3, 3))]
    """
    net, x = lift(net), shape_of(x)
    born = jax.eval_shape(lambda: net.init(jax.random.key(0), x))
    orders = flattened(lambda born, x: net.apply(*born, x)[0], born, x)
    leaves, stacks = list[Leaf](), list[tuple[int, ...]]()
    for number, (path, struct) in enumerate(jax.tree.leaves_with_path(born)):
        tree, *keys = (getattr(key, "key", getattr(key, "idx", None)) for key in path)
        words, found = tuple(map(str, keys)), orders.get(number, {})
        order, maps = {axis: o for axis, (_, o) in found.items()}, {axis: m for axis, (m, _) in found.items() if m}
        kind, at = _place(net, words)
        stack, shape = struct.shape[: len(at)], struct.shape[len(at) :]
        stacks.append(stack)
        for index in np.ndindex(*stack):
            leaves.append(Leaf(_numbered(words, at, index), kind, shape, struct.dtype, tree == 1, order, maps))
    return Leaves(tuple(leaves), jax.tree.structure(born), tuple(stacks))


_WRAPPERS = re.compile(r"(?:(?:remat|cast|repeat)\()*")


def _place(net: Layer, keys: tuple[str, ...]) -> tuple[str, list[int]]:
    """The kind of the innermost layer on a path, and the positions in it at which copies are numbered."""
    at: list[int] = []
    outside = ""
    for depth, key in enumerate((*keys, "")):
        around = _WRAPPERS.match(net.name)
        outside = around[0] if around else ""
        at += [depth] * outside.count("repeat(")
        if key not in net.parts:
            break
        net = net.parts[key]
    return re.split(r"[,()]", net.name[len(outside) :])[0], at


def _numbered(keys: tuple[str, ...], at: Sequence[int], index: Sequence[int]) -> tuple[str, ...]:
    """The keys with the numbers of a copy inserted."""
    whole = list(keys)
    for place, number in reversed(list(zip(at, index, strict=True))):
        whole.insert(place, str(number))
    return tuple(whole)
