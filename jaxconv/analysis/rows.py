"""Group operations into rows, one for each layer, in execution order."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections import Counter
from fractions import Fraction
from typing import Any

from jaxconv.analysis.program import MOVES, Array, Operation, Program
from jaxconv.geometry import Pair, overlap

__all__ = ["Field", "Row", "gather"]


@dataclasses.dataclass(frozen=True)
class Field:
    """Receptive field of a layer's output along one axis of the input, in input cells.

    The last three describe maps: they are None if no axis of the output corresponds to the input's, as after a flatten,
    a global pool or a dense layer. Output cell i of a map depends on the `unclipped` cells around
    `center + i * effective_stride`, as far as they are in the input.

    Attributes:
      size: cells of the largest field, clipped to the input: padding does not count.
      unclipped: the same on an input without borders, as published for architectures; after a global pool, as in
        squeeze-and-excitation, equal to `size`.
      effective_stride: from the field of one output cell to that of the next; also None if it varies.
      center: of output 0's field, unclipped.
    """

    size: int
    unclipped: int | None
    effective_stride: Fraction | None
    center: float | None

    @property
    def jump(self) -> Fraction | None:
        """The former name of `effective_stride`."""
        warnings.warn("Field.jump is now Field.effective_stride", DeprecationWarning, stacklevel=2)
        return self.effective_stride


@dataclasses.dataclass(frozen=True)
class Row:
    """One layer.

    Attributes:
      path: names of the enclosing scopes; the second call of a layer has the suffix "#2".
      output: shape of its output, with the batch.
      dtype: of the output.
      size, stride, padding, dilation: of its windows, for each spatial axis; () without windows.
      groups: of channels.
      transposed: whether it is a transposed convolution.
      parameters: number of its own parameters; 0 if shared with an earlier row.
      macs: multiply-accumulates in convolutions and matrix products, for the full batch.
      inside: MACs excluding taps on padding.
      other: all other operations, one per output number (per input number for reductions).
      bytes: of its output.
      moved: bytes of its inputs, parameters and outputs.
      field: receptive field along each followed axis of the input; () if there is none.
      times: number of executions in a loop; parameters, macs and other are totals, the output is the last.
    """

    path: str
    output: tuple[int, ...]
    dtype: str
    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[Pair, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool
    parameters: int
    macs: int
    inside: int
    other: int
    bytes: int
    moved: int
    field: tuple[Field, ...]
    times: int = 1

    @property
    def uneven(self) -> bool:
        """Whether it is a transposed convolution whose outputs overlap unevenly, which gives checkerboard patterns."""
        windows = zip(self.size, self.stride, self.dilation, strict=True)
        return self.transposed and any(len(set(overlap(*window))) > 1 for window in windows)


def gather(program: Program, sizes: dict[int, int]) -> tuple[list[Row], dict[int, str]]:
    """The rows of a program, and the path of the row that each operation (by id) belongs to.

    Args:
      program: from `walk`.
      sizes: number of elements of each parameter.
    """
    names = _assign(program.operations)
    order = list(dict.fromkeys(names))
    owned: dict[str, list[Operation]] = {name: [] for name in order}
    for operation, name in zip(program.operations, names, strict=True):
        owned[name].append(operation)
    by_id = {id(operation): name for operation, name in zip(program.operations, names, strict=True)}
    given: dict[str, list[Array]] = {name: [] for name in order}
    read: dict[str, dict[int, int]] = {name: {} for name in order}
    claimed: dict[str, set[int]] = {name: set() for name in order}
    taken: set[int] = set()

    def arrive(array: Array, reader: str | None, counts: bool) -> None:
        maker = by_id.get(id(array.maker)) if array.maker is not None else None
        if maker != reader:
            if maker is not None:
                given[maker].append(array)
            if reader is not None and array.parameter is None and array.shape and counts:
                read[reader][id(array.root)] = array.bytes

    for operation, name in zip(program.operations, names, strict=True):
        for array in operation.operands:
            arrive(array, name, operation.name != "loop")
            if array.parameter is not None and operation.name not in MOVES:
                read[name].setdefault(-1 - array.parameter, sizes.get(array.parameter, 0) * array.dtype.itemsize)
                if array.parameter not in taken:
                    taken.add(array.parameter)
                    claimed[name].add(array.parameter)
    for array in program.outputs:
        arrive(array, None, False)
    rows = []
    for name in order:
        outs = given[name] or owned[name][-1].results
        parameters = sum(sizes.get(p, 0) for p in claimed[name])
        row = _row(name, owned[name], outs, parameters, read[name])
        if row.field or row.parameters or row.macs:
            rows.append(row)
    return rows, by_id


def _row(name: str, operations: list[Operation], outs: list[Array], parameters: int, read: dict[int, int]) -> Row:
    seen = [a for a in outs if a.fields is not None] or outs
    output = max(reversed(seen), key=lambda a: math.prod(a.shape))
    made = [(o.products, o.times) for o in operations if o.products is not None]
    first = operations[0]
    alone = first.call is not None or name.split("#")[0] == "/".join(first.path)
    window = _window(operations, alone)
    times = max(o.times for o in operations)
    stacked = {id(a) for o in operations if o.name == "loop" for a in o.results}  # over all times
    given = {id(a.root): a.bytes * (1 if id(a) in stacked else times) for a in outs}
    return Row(
        path=name,
        output=output.shape,
        dtype=str(output.dtype),
        **window,
        parameters=parameters,
        macs=sum(p.macs * t for p, t in made),
        inside=sum(p.inside * t for p, t in made),
        other=sum(o.other for o in operations),
        bytes=output.bytes,
        moved=sum(given.values()) + sum(n if k < 0 else n * times for k, n in read.items()),
        field=_field(output),
        times=times,
    )


def _field(output: Array) -> tuple[Field, ...]:
    found = [None if f is None else f.summary() for f in output.fields or ()]
    return tuple(Field(*f) for f in found if f is not None) if all(found) else ()


def _window(operations: list[Operation], alone: bool) -> dict[str, Any]:
    """The windows of a layer: its convolution's, or else its pool's if it has a scope or call of its own."""
    for operation in operations:
        made = operation.products
        if made is not None and made.size:
            words = ("size", "stride", "padding", "dilation", "groups", "transposed")
            return {word: getattr(made, word) for word in words}
    found = _reduced(operations, alone) if all(o.products is None for o in operations) else {}
    columns = [found[dim] for dim in sorted(found)]
    shown = {w: tuple(c[i] for c in columns) for i, w in enumerate(("size", "stride", "padding", "dilation"))}
    return shown | {"groups": 1, "transposed": False}


def _reduced(operations: list[Operation], alone: bool) -> dict[int, tuple[Any, ...]]:
    """(size, stride, padding, dilation) for each dimension of a pool's windows."""
    for o in operations:
        if o.name.startswith("reduce_window"):
            n = len(o.params["window_dimensions"])
            dilation = o.params.get("window_dilation") or (1,) * n
            columns = zip(
                o.params["window_dimensions"], o.params["window_strides"], o.params["padding"], dilation, strict=True
            )
            return {i: c for i, c in enumerate(columns) if (c[0], c[1]) != (1, 1)}
    if not alone or any(o.name in ("concatenate", "stack") for o in operations):
        return {}
    pads = next((o.params["padding_config"] for o in operations if o.name == "pad"), ())
    cuts: dict[int, list[Operation]] = {}
    for o in operations:
        if o.name == "slice" and o.operands[0].fields is not None:
            cuts.setdefault(id(o.operands[0]), []).append(o)
    found: dict[int, tuple[Any, ...]] = {}
    spatial = range(0)
    for group in cuts.values():
        first, starts = group[0], [o.params["start_indices"] for o in group]
        strides = first.params["strides"] or (1,) * len(starts[0])
        shape, cut = first.operands[0].shape, first.results[0].shape
        dims = [d for d in range(len(shape)) if shape[d] != cut[d]]
        if len(dims) != 1 or len({o.results[0].shape for o in group}) > 1:
            continue
        (d,) = dims
        step = starts[1][d] - starts[0][d] if len(group) > 1 else 1
        found[d] = (len(group), strides[d], tuple(pads[d][:2]) if pads else (0, 0), step)
        spatial = range(1, len(shape) - 1)
    return {d: found.get(d, (1, 1, (0, 0), 1)) for d in spatial} if found and set(found) <= set(spatial) else {}


# ---------------------------------------------------------------- assignment of operations to rows


def _assign(operations: list[Operation]) -> list[str]:
    """The row of each operation.

    An innermost scope is a layer, and another row each time the program returns to it or to its weights. Operations
    outside of scopes, or beside scopes, start a row at each convolution, product, pool, `jax.nn` function, reshape,
    and where two branches meet.
    """
    composite = _composites(operations)
    names: list[str | None] = []
    counts, visits = Counter[tuple[tuple[str, ...], str]](), Counter[tuple[str, ...]]()
    last: Operation | None = None
    used: set[int] = set()
    current: dict[str, Any] = {"name": None, "path": None, "call": None}
    for o in operations:
        if o.name == "loop":  # it belongs to the first layer in it
            names.append(None)
            continue
        if o.path not in composite:
            weights = _weights(o)
            if last is None or last.path != o.path or weights & used:
                visits[o.path] += 1
                used = set()
            used |= weights
            again = f"#{visits[o.path]}" if visits[o.path] > 1 else ""
            current = {"name": "/".join(o.path) + again, "path": o.path, "call": None}
        else:
            label = _label(o, current)
            if label is not None:
                counts[o.path, label] += 1
                name = "/".join((*o.path, f"{label}{counts[o.path, label] - 1}"))
                current = {"name": name, "path": o.path, "call": o.call}
        last = o
        names.append(current["name"])
    following, found = "function", list[str]()
    for own in reversed(names):
        following = own or following
        found.append(following)
    return found[::-1]


def _composites(operations: list[Operation]) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = {()}
    run: set[frozenset[int]] = set()
    last = None
    for o in operations:
        found.update(o.path[:i] for i in range(len(o.path)))
        run = run if last == o.path else set()
        last = o.path
        if weights := _weights(o):
            run.add(frozenset(weights))
        if len(run) > 1:
            found.add(o.path)
    return found


def _weights(o: Operation) -> set[int]:
    """The parameters that a convolution or product multiplies by."""
    return {a.parameter for a in o.operands if a.parameter is not None} if o.products is not None else set()


def _label(o: Operation, current: dict[str, Any]) -> str | None:
    """The name of the row that an operation starts; None if it belongs to the row before."""
    if o.call is not None:
        return None if o.call == current["call"] else o.call[0]
    if o.products is not None:
        return "conv" if o.products.size else "dense" if _weights(o) else "dot"
    seen = [a for a in o.operands if a.fields is not None]
    if not seen:
        return None
    if o.name.startswith("reduce_window"):
        return "max_pool" if "max" in o.name else "avg_pool" if "sum" in o.name else "pool"
    if o.name == "jaxconv_resample":
        return "resize"
    alike = {id(a) for a in seen if a.shape == o.results[0].shape} if o.results else set()
    if o.name in ("reshape", "concatenate", "stack", "pad") or o.name.startswith("reduce_") or len(alike) > 1:
        return o.name
    return None if current["path"] == o.path else o.name
