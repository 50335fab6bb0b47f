"""Norms of a traced program, in place of the operations that compute them.

A norm is known by its values (miniature.py): (x - mean) / sqrt(var + eps) * scale + bias, with the mean and the
variance of x over some axes, is replaced wherever it and they appear, and so are the gradients of x, scale and bias if
the program contains them. What is not shown to be equal stays as it is.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._accelerate.miniature import Miniature, Value, Variance, cut, dims, long_axes
from jaxconv._accelerate.report import FoundNorm
from jaxconv._base.compat import Jaxpr, JaxprEqn, Literal, ShapedArray
from jaxconv._base.jaxpr import inlined
from jaxconv.engine import native
from jaxconv.engine.norm import Norm
from jaxconv.engine.norm_primitive import bind_gradient, bind_normalize
from jaxconv.engine.placement import on_explicit_mesh, varying_axes
from jaxconv.engine.window import all_static

TERMS = 8
"""The most terms of a sum of cotangents among which the gradient of a norm is searched."""

Placed = tuple[Any, tuple[int, ...]]
"""A variable, and its shape with x's rank."""


@dataclasses.dataclass(eq=False)
class Step:
    """One replacement: `run` computes the variables `outvars` from `invars`, in the context of the equation `eqn`."""

    eqn: JaxprEqn
    invars: list[Any]
    outvars: list[Any]
    run: Callable[..., list[jax.Array]]


@dataclasses.dataclass(eq=False)
class _Found:
    """One norm in a program: its variables, and miniatures of its parts, which broadcast to x's."""

    eqn: JaxprEqn
    x: Any
    norm: Norm
    scale: Placed | None
    bias: Placed | None
    centered: Value
    rstd: Value
    factor: Value  # scale
    order: tuple[int, ...]  # of x's axes, that the kernels want: the last ones are those of scale and bias
    moments: tuple[object, ...] = dataclasses.field(default_factory=lambda: (object(), object(), object()))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.x.aval.shape)

    @property
    def affine(self) -> tuple[int, ...]:
        """The shape that scale and bias have in common."""
        shapes = [placed[1] for placed in (self.scale, self.bias) if placed]
        return tuple(np.broadcast_shapes(*shapes)) if shapes else self.norm.of_mean(self.shape)

    @property
    def ordered(self) -> Norm:
        """The norm of x with its axes in order."""
        return Norm(tuple(sorted(self.order.index(axis) for axis in self.norm.axes)), self.norm.eps)

    def filled(self, placed: Placed | None, value: jax.Array | None, fill: float) -> jax.Array:
        """Scale or bias in f32, of the common shape with its axes in order."""
        if placed is None or value is None:
            return jnp.full([self.affine[axis] for axis in self.order], fill, np.float32)
        return self.put(jnp.broadcast_to(value.astype(np.float32).reshape(placed[1]), self.affine))

    def put(self, v: jax.Array) -> jax.Array:
        """An array of x's rank with its axes in order."""
        return v.transpose(self.order)

    def back(self, v: jax.Array) -> jax.Array:
        """An array of x's rank with its axes as x's again."""
        return v.transpose([self.order.index(axis) for axis in range(v.ndim)])


def replace_norms(jaxpr: Jaxpr) -> tuple[Jaxpr, list[JaxprEqn | Step], list[FoundNorm]]:
    """A jaxpr and the equations to run, with a `Step` for each norm and each of its gradients; a line on each norm.

    Without a norm that can be replaced, the jaxpr as it is; else with its jits inlined.
    """
    original, jaxpr = jaxpr, inlined(jaxpr)
    eqns, arguments = jaxpr.eqns, (*jaxpr.constvars, *jaxpr.invars)
    shapes = [getattr(v.aval, "shape", ()) for v in (*arguments, *(v for eqn in eqns for v in eqn.outvars))]
    if not any(eqn.primitive.name in ("rsqrt", "sqrt", "pow") for eqn in eqns) or not all(map(all_static, shapes)):
        return original, list(original.eqns), []
    mini, taken = Miniature(arguments, eqns), set[Any]()
    steps: list[tuple[int, Step]] = []
    rows: dict[Any, FoundNorm] = {}
    for eqn, variance in mini.roots:
        if (variance or eqn) in rows:
            continue
        found, here = _norm(mini, eqn, variance), list[tuple[int, Step]]()
        if isinstance(found, _Found):
            here = [step for step in (_forward(mini, found, taken),) if step]
            here += [] if not here else _backward(mini, found, here[0][0], taken)
        why = found if isinstance(found, str) else "forward and gradients" if here[1:] else "forward"
        of: Any = variance.x if variance else eqn.invars[0]
        where, shape = str(eqn.source_info.name_stack), of.aval.shape
        rows[variance or eqn] = FoundNorm(
            where, tuple(shape), variance.axes if variance else (), "native" if here else "XLA", why
        )
        steps += here
    if not steps:
        return original, list(original.eqns), list(rows.values())
    return jaxpr, _woven(jaxpr, steps), list(rows.values())


def _woven(jaxpr: Jaxpr, steps: Sequence[tuple[int, Step]]) -> list[JaxprEqn | Step]:
    """Each step after the equation of its index; without the equations whose results nothing needs any more."""
    at: dict[int, list[Step]] = {}
    for i, step in steps:
        at.setdefault(i, []).append(step)
    replaced = {v for _, step in steps for v in step.outvars}
    order: list[JaxprEqn | Step] = [*at.get(-1, ())]
    for i, eqn in enumerate(jaxpr.eqns):
        if not eqn.outvars or not replaced.issuperset(eqn.outvars):
            order.append(eqn)
        order += at.get(i, ())
    needed = set(filter(_variable, jaxpr.outvars))
    kept: list[JaxprEqn | Step] = []
    for item in reversed(order):
        if not needed.isdisjoint(item.outvars) or getattr(item, "effects", None):
            kept.append(item)
            needed.update(filter(_variable, item.invars))
    return kept[::-1]


def _variable(atom: Any) -> bool:
    return not isinstance(atom, Literal)


# ---------------------------------------------------------------- forward


def _norm(mini: Miniature, eqn: JaxprEqn, variance: Variance | None) -> _Found | str:
    """The norm with the root that an equation computes; why none is replaced if it is none."""
    if variance is None:
        return "its root is not of the variance of one array"
    x, axes = variance.x, variance.axes
    if variance.eps == 0:  # the program may guard against division by 0, which no random number shows
        return "no eps is added to its variance"
    if jax.default_backend() != "cpu":
        return "not on a CPU"
    if not native.available():
        return "the native kernels are not available"
    if x.aval.dtype != np.float32:
        return f"its sums are of {x.aval.dtype}, not float32"
    if on_explicit_mesh(x.aval):
        return "on an explicit mesh"
    small = mini.small[x]
    centered, rstd = small - _mean(small, axes), (small.var(axes, keepdims=True) + variance.eps) ** -0.5
    best: tuple[int, Any] = (-1, None)
    for scale, bias in itertools.product(*_affine(mini, eqn.outvars[0], x.aval.shape)):
        factor, offset = (
            np.array(fill) if placed is None else mini.small[placed[0]].reshape(cut(placed[1]))
            for placed, fill in ((scale, 1.0), (bias, 0.0))
        )
        results = mini.equal(centered * rstd * factor + offset, x.aval.shape)
        first = min((mini.position[v] for v in results), default=-1)
        if first > best[0]:  # the result is what is computed last: with its scale and its bias
            order = tuple(range(small.ndim))
            best = first, _Found(eqn, x, Norm(axes, variance.eps), scale, bias, centered, rstd, factor, order)
    found = best[1]
    if found is None:
        return "its result is not (x - mean) / sqrt(var + eps)"
    if any(varying_axes(placed[0].aval) - varying_axes(x.aval) for placed in (found.scale, found.bias) if placed):
        return "scale or bias differ between devices on which its array is the same"
    scaled_last = tuple(sorted(found.order, key=lambda axis: found.affine[axis] > 1))
    for order in (found.order, scaled_last):
        found.order = order
        of, affine = (
            jax.ShapeDtypeStruct([shape[axis] for axis in order], np.float32) for shape in (found.shape, found.affine)
        )
        if native.norm_sizes(of, affine, found.ordered):
            return found
    return "no kernel is for these axes"


def _mean(v: Value, axes: Sequence[int]) -> Value:
    return np.asarray(v.mean(tuple(axes), keepdims=True))


def _affine(mini: Miniature, root: Any, shape: Sequence[int]) -> tuple[list[Placed | None], list[Placed | None]]:
    """What arrays made from the root are multiplied with, and what is added to them; None is nothing."""
    made = {root}
    factors: dict[Placed | None, None] = {None: None}
    offsets = dict(factors)
    for eqn in mini.made_from(root):
        made.update(eqn.outvars)
        into = {"mul": factors, "div": factors, "add": offsets, "sub": offsets}.get(eqn.primitive.name)
        for v in eqn.invars if into is not None else ():
            if _variable(v) and v not in made and into is not None:
                origin = mini.origin(v)
                into |= {(origin, place): None for place in _places(origin.aval.shape, tuple(shape))}
    return list(factors), list(offsets)


def _places(own: Sequence[int], shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The shapes of x's rank that an array smaller than x can have, its axes in order."""
    left, long = dims(own), long_axes(shape)
    for kept in itertools.combinations(long, len(left)) if len(left) < len(long) else ():
        if tuple(shape[axis] for axis in kept) == left:
            yield tuple(n if axis in kept else 1 for axis, n in enumerate(shape))


def _forward(mini: Miniature, found: _Found, taken: set[Any]) -> tuple[int, Step] | None:
    """The result, the mean and the variance, after the equation of the index."""
    small, axes, given = mini.small[found.x], found.norm.axes, [p for p in (found.scale, found.bias) if p]
    offset = np.array(0.0) if found.bias is None else mini.small[found.bias[0]].reshape(cut(found.bias[1]))
    wanted = [
        (found.centered * found.rstd * found.factor + offset, found.shape),
        (_mean(small, axes), found.norm.of_mean(found.shape)),
        (small.var(axes, keepdims=True), found.norm.of_mean(found.shape)),
    ]
    after = max(mini.position[v] for v in (found.x, *(v for v, _ in given)))
    sets = _take(mini, wanted, after, taken)

    def run(x: jax.Array, *values: jax.Array) -> list[jax.Array]:
        own = dict(zip((placed[0] for placed in given), values, strict=True))
        scale, bias = (
            found.filled(placed, own[placed[0]] if placed else None, fill)
            for placed, fill in ((found.scale, 1), (found.bias, 0))
        )
        z, center, rest, var = bind_normalize(found.put(x), scale, bias, norm=found.ordered)
        return [*_given_to(sets, [found.back(v) for v in (z, center + rest, var)]), center, rest, var]

    outvars = [v for set_ in sets for v in set_] + list(found.moments)
    return (after, Step(found.eqn, [found.x, *(v for v, _ in given)], outvars, run)) if sets[0] else None


def _take(
    mini: Miniature, wanted: Sequence[tuple[Value, Sequence[int]]], after: int, taken: set[Any]
) -> list[list[Any]]:
    """The variables that equal each of the wanted arrays and that no other step computes."""
    sets = [[v for v in mini.equal(value, shape, after) if v not in taken] for value, shape in wanted]
    taken.update(*sets)
    return sets


def _given_to(sets: Sequence[Sequence[Any]], values: Sequence[jax.Array]) -> list[jax.Array]:
    """Each value in the type of each variable of its set."""
    return [_as(value, v.aval) for set_, value in zip(sets, values, strict=True) for v in set_]


def _as(value: jax.Array, aval: ShapedArray) -> jax.Array:
    value = value.reshape(aval.shape).astype(aval.dtype)
    more = varying_axes(aval) - varying_axes(jax.typeof(value))
    return jax.lax.pcast(value, tuple(more), to="varying") if more else value


# ---------------------------------------------------------------- gradients


def _backward(mini: Miniature, found: _Found, after: int, taken: set[Any]) -> list[tuple[int, Step]]:
    """The gradients for each cotangent of the norm in the program, each after the equation of the index."""
    axes, y = found.norm.axes, found.centered * found.rstd
    rows = tuple(axis for axis, n in enumerate(found.affine) if n == 1)
    scale_by = math.prod(found.shape[axis] / cut(found.shape)[axis] for axis in rows)
    steps = []
    for dz in _cotangents(mini, found):
        small, start = mini.small[dz].reshape(cut(found.shape)), max(after, mini.position[dz])
        scaled = small * found.factor
        dx = found.rstd * (scaled - _mean(scaled, axes) - y * _mean(scaled * y, axes))
        others: tuple[Any, ...] | None = ()
        if not mini.equal(dx, found.shape, start):
            others = mini.with_others(dx, found.shape, start, TERMS)
        if others is None or np.abs(dx).max() <= 1e-6 * np.abs(scaled).max():
            continue
        start = max([start, *(mini.position[v] for v in others)])
        wanted = [(dx + sum(mini.small[v].reshape(dx.shape) for v in others), found.shape)]
        wanted += [(v.sum(rows, keepdims=True) * scale_by, found.affine) for v in (small * y, small)]
        sets = _take(mini, wanted, start, taken)
        if sets[0]:
            scale = [found.scale[0]] if found.scale else []
            operands = [dz, found.x, *found.moments, *others, *scale]
            outvars = [v for set_ in sets for v in set_]
            steps.append((start, Step(found.eqn, operands, outvars, _gradient(found, sets, len(others)))))
    return steps


def _gradient(found: _Found, sets: Sequence[Sequence[Any]], others: int) -> Callable[..., list[jax.Array]]:
    def run(dz: jax.Array, x: jax.Array, center: jax.Array, rest: jax.Array, var: jax.Array, *more: jax.Array) -> Any:
        scale = found.filled(found.scale, more[others] if found.scale else None, 1)
        dz = found.put(dz.astype(np.float32).reshape(x.shape))
        cotangents = bind_gradient(dz, found.put(x), center, rest, var, scale, norm=found.ordered)
        dx, dscale, dbias = map(found.back, cotangents)
        for v in more[:others]:
            dx = dx + v.astype(dx.dtype).reshape(dx.shape)
        return _given_to(sets, (dx, dscale, dbias))

    return run


def _cotangents(mini: Miniature, found: _Found) -> list[Any]:
    """What is multiplied with an array that only the derivative of the norm by x or scale multiplies."""
    y = found.centered * found.rstd
    factors = (found.rstd * found.factor, found.rstd, found.factor, found.centered, y, 1 / found.rstd)
    arrays = []
    for value in factors:
        own = (1,) * (len(found.shape) - value.ndim) + value.shape
        places = {found.shape, tuple(n if m > 1 else 1 for n, m in zip(found.shape, own, strict=True))}
        arrays += [v for place in places for v in mini.equal(value, place)]
    partners = dict.fromkeys(v for factor in arrays for v in mini.partners(factor))
    return [v for v in partners if dims(v.aval.shape) == dims(found.shape) and v not in {found.x, *arrays}]
