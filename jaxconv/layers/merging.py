"""Structural reparameterization: for inference, a sum of parallel convolutions becomes one convolution."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxconv._base.compat import JaxprEqn, bind
from jaxconv._base.jaxpr import called, interpret, opened
from jaxconv._base.types import InputSpec, Params, ParamsLike, State
from jaxconv.layers.composition import compose
from jaxconv.layers.conv import Conv
from jaxconv.layers.layer import Call, Layer, Part, lift, shape_of

__all__ = ["reparameterize"]

Struct = jax.ShapeDtypeStruct


def reparameterize(net: Part, params: ParamsLike, state: State, x: InputSpec) -> tuple[Layer, Params, State]:
    """The net for inference with each sum of parallel linear branches merged into one convolution.

    A part with parts of its own is merged if its output is a sum of convolutions of its input, the input itself among
    them, each with any scales, biases and batch norms: 3×3 + 1×1 + identity becomes 3×3. All others stay: with an
    activation or two convolutions in a branch, inside `repeat` or `cast`, with tied weights or padding that depends on
    the image's size, and where the merged convolution would have more MACs than the branches.

    Args:
      net: a layer.
      params: its parameters.
      state: its state, with the running statistics.
      x: an input of the net: an array, a `jax.ShapeDtypeStruct` or a shape.

    Returns:
      (net, params, state) with a `Conv` in place of each merged part; outputs with `train=False` are equal up to
      rounding. For inference only.

    Source: Ding et al., RepVGG: Making VGG-style ConvNets Great Again, 2021, section 3.3.

    >>> from jaxconv.layers import BatchNorm, Conv, branch, chain
    >>> wide = chain(Conv(4, 3, padding=1, bias=False), BatchNorm())
    >>> net = chain(body=branch(wide, Conv(4, 1), same=BatchNorm(), merge="sum"), relu=jax.nn.relu)
    >>> params, state = net.init(jax.random.key(0), (1, 8, 8, 4))
    >>> merged, params, state = reparameterize(net, params, state, (1, 8, 8, 4))
    >>> merged
    chain
      body: Conv(4, 3, padding=1)
      relu: relu
    """
    net = lift(net)
    return _merged(net, params, state, _seen(net, params, state, x), "")


def _merged(layer: Layer, params: Any, state: Any, seen: dict[str, Any], path: str) -> tuple[Layer, Any, Any]:
    """A part, merged if it can be; else with its own parts merged."""
    if path in seen and (found := _one_conv(layer, params, state, *seen[path])) is not None:
        return (*found, {})
    if layer.rebuild is None or not any(other.startswith(path) for other in seen):
        return layer, params, state
    new = {name: _merged(part, params[name], state[name], seen, f"{path}{name}/") for name, part in layer.parts.items()}
    rebuilt = layer.rebuild({name: part for name, (part, _, _) in new.items()})
    return rebuilt, {name: own for name, (_, own, _) in new.items()}, {name: own for name, (*_, own) in new.items()}


def _seen(net: Layer, params: Any, state: Any, x: InputSpec) -> dict[str, Any]:
    """The input of each composite part by its path, which ends with a slash, and the shapes of its params; without
    parts whose params other layers run on."""
    seen: dict[str, Any] = {}
    shared: set[str] = set()

    def watched(layer: Layer, path: str) -> Layer:
        if layer.rebuild is None:
            return layer
        parts, flow = {name: watched(part, f"{path}{name}/") for name, part in layer.parts.items()}, layer.flow
        if flow is None:
            return layer.rebuild(parts)

        def noting(call: Call, x: Any) -> Any:
            def note(part: str, h: Any, by: Layer | None = None) -> Any:
                shared.update([] if by is None else [f"{path}{part}/"])
                return call(part, h, by)

            return flow(note, x)

        inner = compose(layer.name, parts, noting)

        def apply(params: Any, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
            if hasattr(x, "shape"):
                seen.setdefault(path, (shape_of(x), jax.tree.map(jnp.shape, params)))
            return inner.apply(params, state, x, key=key, train=train)

        return dataclasses.replace(inner, apply=apply)

    jax.eval_shape(watched(net, "").apply, params, state, shape_of(x))
    return {path: found for path, found in seen.items() if not any(path.startswith(other) for other in shared)}


# ---------------------------------------------------------------- linear programs


class _Term(NamedTuple):
    """A convolution of the input: kernel [*k, C_in/groups, C_out], and padding as pairs."""

    kernel: Any
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def geometry(self) -> tuple[Any, ...]:
        """Everything but the weights."""
        return jnp.shape(self.kernel), *self[1:]

    @property
    def cost(self) -> int:
        """Multiplications for an output pixel."""
        return math.prod(jnp.shape(self.kernel))


class _Linear(NamedTuple):
    """An array of a program: a sum of convolutions of its input, and a bias [C] or 0; or the input itself."""

    terms: tuple[_Term, ...]
    bias: Any
    itself: bool = False

    def scaled(self, scale: Any) -> _Linear:
        """Times a number for each channel."""
        terms = (term._replace(kernel=term.kernel * scale) for term in self.terms)
        return _Linear(tuple(terms), self.bias * scale)

    def plus(self, other: _Linear) -> _Linear:
        return _Linear(self.terms + other.terms, self.bias + other.bias)


class _NotLinear(Exception):
    """An operation whose result is no `_Linear`."""


def _one_conv(layer: Layer, params: Any, state: Any, x: Struct, shapes: Any) -> tuple[Layer, Params] | None:
    """A convolution with its params that computes the same as a part; None if there is none."""
    rank = len(x.shape) - 2
    if not 1 <= rank <= 3 or jax.tree.map(jnp.shape, params) != shapes or not jnp.issubdtype(x.dtype, jnp.floating):
        return None
    larger = Struct((x.shape[0], *(n + 1 for n in x.shape[1:-1]), x.shape[-1]), x.dtype)
    try:
        found = _traced(layer, params, state, x)
        if len(found.terms) < 2:
            return None
        other = _traced(layer, params, state, larger)
    except _NotLinear:
        return None
    if [term.geometry for term in found.terms] != [term.geometry for term in other.terms]:
        return None
    term = _sum(found.terms, rank)
    if term is None:
        return None
    *taps, _, features = term.kernel.shape
    padding = [low if low == high else (low, high) for low, high in term.padding]
    conv = Conv(
        features,
        tuple(taps) if rank == 1 else _alike(taps),
        stride=_alike(term.stride),
        padding=_alike(padding) if len({*padding}) == 1 else term.padding,
        dilation=_alike(term.dilation),
        groups=term.groups,
    )
    bias = jnp.broadcast_to(found.bias, (features,)).astype(x.dtype)
    return conv, {"kernel": term.kernel.astype(x.dtype), "bias": bias}


def _alike(values: Sequence[Any]) -> Any:
    """One value if all axes have the same."""
    return values[0] if len({*values}) == 1 else tuple(values)


def _traced(layer: Layer, params: Any, state: Any, x: Struct) -> _Linear:
    """The output of a layer as a `_Linear`.

    Raises:
      _NotLinear: if it is none.
    """
    program = jax.make_jaxpr(lambda params, state, x: layer.apply(params, state, x)[0])(params, state, x)
    still, channels = (1,) * (len(x.shape) - 2), x.shape[-1]
    term = _Term(jnp.ones((*still, 1, channels), x.dtype), still, ((0, 0),) * len(still), still, channels)
    return _run(program, [*jax.tree.leaves((params, state)), _Linear((term,), 0, itself=True)])


def _run(program: Any, operands: Sequence[Any]) -> _Linear:
    """The result of a program of one result, whose values are arrays or `_Linear`."""
    jaxpr, consts = opened(program)
    results = interpret(jaxpr, [*consts, *operands], _step, lambda atom: jnp.asarray(atom.val, atom.aval.dtype))
    if len(results) != 1 or not isinstance(results[0], _Linear):
        raise _NotLinear
    return results[0]


def _step(eqn: JaxprEqn, values: list[Any]) -> Sequence[Any]:
    """The results of an equation."""
    name, inner = eqn.primitive.name, called(eqn)
    linear = [value for value in values if isinstance(value, _Linear)]
    if not linear:
        return [*bind(eqn, values)]
    out: Any = eqn.outvars[0].aval
    operand: Any = next(v.aval for v, value in zip(eqn.invars, values, strict=True) if isinstance(value, _Linear))
    if inner is not None:
        return [_run(inner, values)]
    if out.dtype != operand.dtype:
        raise _NotLinear
    if name == "jaxconv_conv":
        return [_conv(eqn.params["form"], *values)]
    if out.shape != operand.shape:
        raise _NotLinear
    if name in ("name", "convert_element_type", "copy"):
        return values
    if name == "neg":
        return [linear[0].scaled(-1)]
    if name in ("add", "add_any", "sub"):
        first, second = (v if isinstance(v, _Linear) else _Linear((), _channels(v)) for v in values)
        return [first.plus(second.scaled(-1) if name == "sub" else second)]
    if name == "mul" and len(linear) == 1:
        return [linear[0].scaled(next(_channels(value) for value in values if not isinstance(value, _Linear)))]
    if name == "div" and isinstance(values[0], _Linear) and len(linear) == 1:
        return [linear[0].scaled(1 / _channels(values[1]))]
    raise _NotLinear


def _channels(value: Any) -> Any:
    """A constant that is combined with an array, as a number or [C]."""
    if any(size != 1 for size in value.shape[:-1]):
        raise _NotLinear
    return value.reshape(value.shape[-1:])


def _conv(form: Any, x: Any, kernel: Any) -> _Linear:
    """The convolution of the input itself."""
    itself = isinstance(x, _Linear) and x.itself and not isinstance(kernel, _Linear)
    if not itself or form.slot != "y" or form.members is not None:
        raise _NotLinear
    return _Linear((_Term(kernel, form.stride, form.padding, form.dilation, form.groups),), 0)


# ---------------------------------------------------------------- sums of convolutions


def _sum(terms: Sequence[_Term], rank: int) -> _Term | None:
    """The sum of convolutions as one; None if there is none, or it multiplies more often than they do."""
    axes = [[_cells(term, axis) for term in terms] for axis in range(rank)]
    ends = [{term.padding[axis][1] - cells[-1] for term, cells in zip(terms, own, strict=True)}
            for axis, own in enumerate(axes)]  # fmt: skip
    if any(len(each) > 1 for each in ends) or len({term.stride for term in terms}) > 1:
        return None
    joined = [_joined(own) for own in axes]
    groups = math.gcd(*(term.groups for term in terms))
    first = terms[0].kernel
    shape = *map(len, joined), first.shape[-2] * terms[0].groups // groups, first.shape[-1]
    if math.prod(shape) > sum(term.cost for term in terms):
        return None
    kernel = jnp.zeros((), first.dtype)
    for term, *own in zip(terms, *axes, strict=True):
        space = [_around(cells, wide) for cells, wide in zip(own, joined, strict=True)]
        kernel += jax.lax.pad(_in_groups(term, groups), jnp.zeros((), first.dtype), [*space, (0, 0, 0), (0, 0, 0)])
    padding = tuple((-cells[0], cells[-1] + end) for cells, (end,) in zip(joined, ends, strict=True))
    return _Term(kernel, terms[0].stride, padding, tuple(cells.step for cells in joined), groups)


def _cells(term: _Term, axis: int) -> range:
    """The cells that an output pixel reads along an axis, from that at its window's start without padding."""
    low, step, taps = term.padding[axis][0], term.dilation[axis], term.kernel.shape[axis]
    return range(-low, -low + (taps - 1) * step + 1, step)


def _joined(cells: Sequence[range]) -> range:
    """The evenly spaced cells that hold all of these."""
    low, high = min(each[0] for each in cells), max(each[-1] for each in cells)
    step = math.gcd(*(cell - low for each in cells for cell in each)) or 1
    return range(low, high + 1, step)


def _around(cells: range, wide: range) -> tuple[int, int, int]:
    """How many cells of `wide` are before, after and between some of them."""
    between = cells.step // wide.step - 1 if len(cells) > 1 else 0
    return (cells[0] - wide[0]) // wide.step, (wide[-1] - cells[-1]) // wide.step, between


def _in_groups(term: _Term, groups: int) -> Any:
    """The kernel of a convolution in fewer groups, a divisor of its own: zero between its groups."""
    taps, (inputs, features), parts = term.kernel.shape[:-2], term.kernel.shape[-2:], term.groups // groups
    if parts == 1:
        return term.kernel
    kernel = term.kernel.reshape(*taps, 1, inputs, groups, parts, features // term.groups)
    own = jnp.eye(parts, dtype=kernel.dtype).reshape(parts, 1, 1, parts, 1)
    return (kernel * own).reshape(*taps, parts * inputs, features)
