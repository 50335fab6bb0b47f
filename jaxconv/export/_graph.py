"""The ONNX graph that is being written: its nodes, its constants, and the layout of each tensor in it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from jaxconv.export._tensors import Tensor, element_type, refuse

__all__ = ["Graph"]


class Graph:
    """Nodes and constants in the order in which they are written."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[bytes, Any] = {}
        self.path = ""
        self._symbols: dict[str, tuple[Any, str, int]] = {}
        self._count = 0
        self._made: dict[Any, Any] = {}

    @contextlib.contextmanager
    def inside(self, path: str) -> Iterator[None]:
        """Name the nodes of the block after a layer."""
        before, self.path = self.path, "/".join(filter(None, (self.path, path)))
        try:
            yield
        finally:
            self.path = before

    def input(self, name: str, shape: Sequence[Any], dtype: Any) -> Tensor:
        """An input of the graph, from whose shape symbolic sizes are read."""
        for axis, size in enumerate(shape):
            if not isinstance(size, int):
                self._symbols.setdefault(str(size), (size, name, axis))
        return Tensor(tuple(shape), np.dtype(dtype), tuple(range(len(shape))), name)

    def nodes_of(self, op: str, *inputs: str, count: int, **attributes: Any) -> list[str]:
        """Write a node with several outputs; their names."""
        from onnx import helper

        self._count += 1
        name = f"{self.path}/{op}_{self._count}".lstrip("/")
        outputs = [name] if count == 1 else [f"{name}:{i}" for i in range(count)]
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return outputs

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Write a node; the name of its output."""
        return self.nodes_of(op, *inputs, count=1, **attributes)[0]

    def cast(self, name: str, dtype: Any) -> str:
        return self.node("Cast", name, to=element_type(dtype))

    def constant(self, value: Any) -> str:
        """The name of a constant; equal ones are written once."""
        from onnx import numpy_helper

        array = np.asarray(value, order="C")
        element_type(array.dtype)
        key = hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + array.tobytes()).digest()
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(array, f"constant_{len(self.constants)}")
        return str(self.constants[key].name)

    def number(self, value: float, dtype: Any) -> str:
        return self.constant(np.asarray(value, dtype))

    def ints(self, values: Any) -> str:
        return self.constant(np.asarray(values, np.int64))

    def once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What `make` returned for an equal key before."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def written(self, t: Tensor) -> Tensor:
        """A tensor, or what stands in for it."""
        if t.instead is None:
            return t
        make = t.instead
        found, _ = self.once(("instead", id(t)), lambda: (make(), t))  # kept, so that no other has its id
        return found if isinstance(found, Tensor) else t

    def name(self, t: Tensor, order: Sequence[int] | None = None) -> str:
        """The name of a tensor whose axes in the graph are in an order; by default the program's."""
        t = self.written(t)
        order = tuple(range(t.rank) if order is None else order) if t.rank else ()
        if t.value is not None:
            return self.constant(np.transpose(np.asarray(t.value), order))
        if t.order == order:
            return t.name
        perm = [t.order.index(axis) for axis in order]
        return str(self.once((t.name, tuple(perm)), lambda: self.node("Transpose", t.name, perm=perm)))

    def full(self, t: Tensor, shape: Sequence[Any], order: Sequence[int] | None = None) -> str:
        """As `name`, with every axis broadcast to its size in `shape`."""
        order = tuple(range(t.rank) if order is None else order)
        if t.shape == tuple(shape):
            return self.name(t, order)
        if t.value is not None and all(isinstance(size, int) for size in shape):
            return self.name(dataclasses.replace(t, value=np.broadcast_to(np.asarray(t.value), shape)), order)
        return self.node("Expand", self.name(t, order), self.sizes([shape[axis] for axis in order]))

    def sizes(self, shape: Sequence[Any]) -> str:
        """The name of a shape: a constant, or computed from those of the inputs."""
        if all(isinstance(size, int) for size in shape):
            return self.ints(shape)
        parts = [self.ints([size]) if isinstance(size, int) else self.size(size) for size in shape]
        return self.node("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]

    def size(self, size: Any) -> str:
        """The name of a symbolic size, int64 [1]."""
        for symbol, name, axis in self._symbols.values():
            factor, more = size // symbol, size - symbol
            if isinstance(more, int):
                return self._changed("Add", self._size_of(name, axis), more, 0)
            if isinstance(factor, int) and factor * symbol == size:
                return self._changed("Mul", self._size_of(name, axis), factor, 1)
        raise refuse(
            "a symbolic size must be one of the inputs', a multiple of it, or longer by a number",
            str(size),
            "export with static sizes",
        )

    def _size_of(self, name: str, axis: int) -> str:
        return str(self.once(("size", name, axis), lambda: self.node("Shape", name, start=axis, end=axis + 1)))

    def _changed(self, op: str, size: str, number: int, neutral: int) -> str:
        return size if number == neutral else self.node(op, size, self.ints([number]))

    def reshape(self, name: str, shape: Sequence[Any]) -> str:
        """Reshape a tensor whose axes are in the program's order."""
        symbolic = [axis for axis, size in enumerate(shape) if not isinstance(size, int)]
        if len(symbolic) == 1 and 0 not in shape:
            return self.node(
                "Reshape", name, self.ints([-1 if axis in symbolic else n for axis, n in enumerate(shape)])
            )
        return self.node("Reshape", name, self.sizes(shape), allowzero=1)
