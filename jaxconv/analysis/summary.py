"""Model summary: shapes, parameters, MACs, memory and receptive fields, read from the jaxpr."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxconv._base.compat import ClosedJaxpr, jaxpr_as_fun
from jaxconv._base.errors import ShapeError
from jaxconv.analysis.memory import Grown, Training, peak
from jaxconv.analysis.render import Summary
from jaxconv.analysis.rows import gather
from jaxconv.analysis.symbolic_batch import AT, affine, with_batch
from jaxconv.analysis.trace_cache import shapes_only
from jaxconv.analysis.walk import walk
from jaxconv.layers.layer import Layer, shape_of

__all__ = ["Summary", "summary"]


def summary(
    net: Layer | Callable[..., Any],
    x: Any,
    *args: Any,
    params: Any = None,
    train: bool = False,
    axes: Sequence[int] | None = None,
) -> Summary:
    """Summarize a net: shapes, parameters, MACs, memory and receptive field of every layer.

    Nothing is computed or allocated: the function is traced and its jaxpr analyzed. MACs are exact. Receptive fields
    are exact, too, as the hull of all cells that can matter, with three exceptions that count as seeing everything: a
    gather or dynamic slice, a product with a constant matrix that contains zeros (`jax.image.resize`, unlike
    `jaxconv.resize`), a while loop.

    Args:
      net: a Layer, or any function that JAX can trace, of any library.
      x: its input with the batch size to count for: an array, a `jax.ShapeDtypeStruct` or a shape. The batch may be
        a symbol, as in `("n", 28, 28, 1)` or from `jax.export.symbolic_shape`: numbers are then affine in n, fitted
        at three batch sizes.
      args: further arguments of a function.
      params: for a Layer, those of `init` if omitted. For a function, its first argument, before x; if omitted, the
        floating arrays that it closes over count as parameters.
      train: analyze a Layer in training mode.
      axes: the spatial axes of x; all between the first and the last if omitted (2, 3 for NCHW).

    Returns:
      A Summary: `print` shows a table; `.markdown()`, `.json()` and `.html()` export it.

    Raises:
      ShapeError: if the net rejects the input, or a number is not affine in a symbolic batch.

    >>> import jaxconv as jc
    >>> found = summary(jc.chain(jc.Conv(8, 3, padding="same"), jax.nn.relu, jc.MaxPool(2)), (1, 28, 28, 1))
    >>> found.parameters, found.macs, found.rows[-1].field[0].size
    (80, 56448, 4)
    >>> str(summary(jc.Conv(8, 3), ("n", 28, 28, 1)).macs)
    'n·48672'
    """
    if (batch := with_batch(x)) is not None:
        symbol, at = batch
        return _joined([summary(net, at(n), *args, params=params, train=train, axes=axes) for n in AT], symbol)
    x = shape_of(x)
    if isinstance(net, Layer):
        if args:
            raise ShapeError("summary of a Layer takes no arguments beside its input", got=f"{len(args)} more")
        run, params, inputs, learn = _layer(net, x, params, train)
    elif callable(net):
        run, params, inputs = _function(net, x, args, params)
        learn = run, inputs
    else:
        raise ShapeError("summary needs a Layer or a function", got=type(net).__name__)
    leaves, tree = jax.tree.flatten((params, inputs))
    count = len(jax.tree.leaves(params))
    closed = jax.make_jaxpr(lambda *leaves: run(*jax.tree.unflatten(tree, leaves)))(*leaves)
    followed = count + _image(jax.tree.leaves(inputs))
    image = leaves[followed].shape
    dims = tuple(range(1, len(image) - 1)) if axes is None else tuple(axes)
    if any(not 0 <= d < len(image) for d in dims):
        raise ShapeError(f"axes must be among the {len(image)} axes of x", got=f"axes={dims}, x {image}")
    numbers = [i if i < count else None for i in range(len(leaves))]
    program = walk(closed, numbers, followed, dims or range(len(image)))
    held = dict(enumerate(leaves[:count])) | program.constants
    rows, owners = gather(program, {n: math.prod(a.shape) for n, a in held.items()})
    if not dims:
        rows = [dataclasses.replace(row, field=()) for row in rows]
    if program.constants:
        learn, params = _hoisted(closed, leaves), list(closed.consts)
    most, where = peak(program)
    total = sum(math.prod(a.shape) for a in held.values())
    unread = total - sum(row.parameters for row in rows)
    notes = [*program.notes, *([f"{unread:,} parameters are unused"] if unread else [])]
    if uneven := [row.path for row in rows if row.uneven]:
        notes.append(f"{', '.join(uneven)}: kernel no multiple of the stride, which gives checkerboard patterns")
    return Summary(
        rows=tuple(rows),
        input=tuple(image),
        parameters=total,
        macs=sum(row.macs for row in rows),
        inside=sum(row.inside for row in rows),
        other=sum(row.other for row in rows),
        parameter_bytes=sum(math.prod(a.shape) * a.dtype.itemsize for a in held.values()),
        peak_bytes=most,
        peak_at=owners.get(id(where), ""),
        training=Training(learn[0], params, learn[1]),
        notes=tuple(notes),
    )


def _joined(found: Sequence[Summary], symbol: str) -> Summary:
    """Merge summaries of one net at the batch sizes of `AT` into one with a symbolic batch."""

    def joined(values: Sequence[Any], what: str) -> Any:
        if all(value == values[0] for value in values):
            return values[0]
        if isinstance(values[0], tuple) and len({len(value) for value in values}) == 1:
            return tuple(joined(each, what) for each in zip(*values, strict=True))
        if all(dataclasses.is_dataclass(value) for value in values):
            first: Any = values[0]
            return dataclasses.replace(first, **fields(values, getattr(values[0], "path", what)))
        return affine(values, symbol, what)

    def fields(values: Sequence[Any], where: str) -> dict[str, Any]:
        names = [field.name for field in dataclasses.fields(values[0]) if field.name != "training"]
        return {n: joined([getattr(v, n) for v in values], f"{n} of {where}") for n in names}

    grown: dict[str, Any] = {"training": Grown([each.training for each in found], symbol), "symbol": symbol}
    return dataclasses.replace(found[0], **fields(found, "the net") | grown)


def _layer(net: Layer, x: Any, params: Any, train: bool) -> tuple[Any, Any, Any, tuple[Any, Any]]:
    """A Layer as a function of (params, inputs), and the same in training mode, with its inputs."""
    net = shapes_only(net)
    born, state = jax.eval_shape(lambda: net.init(jax.random.key(0), x))
    params = born if params is None else shape_of(params) if jax.tree.leaves(params) else params
    key = jax.eval_shape(lambda: jax.random.key(0))

    def run(params: Any, inputs: Any) -> Any:
        return net.apply(params, inputs[1], inputs[0])[0]

    def learn(params: Any, inputs: Any) -> Any:
        return net.apply(params, inputs[1], inputs[0], key=inputs[2], train=True)[0]

    return (learn if train else run), params, (x, state, key) if train else (x, state), (learn, (x, state, key))


def _function(net: Callable[..., Any], x: Any, args: Sequence[Any], params: Any) -> tuple[Any, Any, Any]:
    """A function as one of (params, inputs); arguments other than arrays are bound."""
    leaves, tree = jax.tree.flatten(args)
    traced = [hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves]
    given = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v, t in zip(leaves, traced, strict=True) if t]
    # Layers of some libraries are trees of parameters and functions: only arrays are inputs.
    params_leaves, params_tree = jax.tree.flatten(params)
    arrays = {i: leaf for i, leaf in enumerate(params_leaves) if hasattr(leaf, "shape") and hasattr(leaf, "dtype")}

    def run(params: dict[int, Any], inputs: Any) -> Any:
        rest = iter(inputs[1])
        more = jax.tree.unflatten(tree, [next(rest) if t else v for v, t in zip(leaves, traced, strict=True)])
        if not arrays:
            return net(inputs[0], *more)
        own = jax.tree.unflatten(params_tree, [params.get(i, leaf) for i, leaf in enumerate(params_leaves)])
        return net(own, inputs[0], *more)

    shapes = {i: jax.ShapeDtypeStruct(a.shape, a.dtype) for i, a in arrays.items()}
    return run, shapes, (x, given)


def _hoisted(closed: ClosedJaxpr, leaves: Sequence[Any]) -> tuple[Any, Any]:
    """A function of (its closed-over arrays, its inputs), and those inputs."""
    jaxpr = closed.jaxpr.replace(constvars=(), invars=[*closed.jaxpr.constvars, *closed.jaxpr.invars])
    function = jaxpr_as_fun(ClosedJaxpr(jaxpr, ()))
    return lambda consts, inputs: function(*consts, *inputs), list(leaves)


def _image(leaves: Sequence[Any]) -> int:
    """Index of the image among the leaves of x: the first with spatial axes, or else the first."""
    return next((i for i, leaf in enumerate(leaves) if len(leaf.shape) >= 3), 0)
