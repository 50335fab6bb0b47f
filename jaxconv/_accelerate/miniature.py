"""The arrays of a program as functions of one another, whichever operations compute them.

The program runs on a miniature: axes are cut to `SIDE`, and arrays of unknown origin (arguments, results of
convolutions and of comparisons, …) are random float64 numbers. What +, -, *, /, sums and the roots of variances make of
them is a rational function of these numbers and roots, and two arrays that agree at random numbers are the same
function of them (Schwartz, Fast Probabilistic Algorithms for Verification of Polynomial Identities, 1980).
"""

import collections
import dataclasses
import heapq
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxconv._base.compat import JaxprEqn, Literal

SIDE = 5
"""Length of the axes of miniatures; of fewer numbers, powers of the distances from their mean depend on each other."""
CLOSE = 1e-10
"""Relative difference of equal arrays."""
REACH = 40
"""The most operations between a sum of an array and a variance, and between that and the normalized array."""

ARITHMETIC = {
    "add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative,
    "square": np.square,
}  # fmt: skip
VIEWS = {"broadcast_in_dim", "reshape", "squeeze", "transpose", "convert_element_type", "copy", "pvary"}
"""Operations that compute nothing, unless a reshape divides or merges axes or a conversion is to less than 16 bits."""
COMPARISONS = {
    "eq": np.equal, "ne": np.not_equal, "gt": np.greater, "ge": np.greater_equal, "lt": np.less, "le": np.less_equal,
}  # fmt: skip
OF_LITERALS = {**COMPARISONS, "max": np.maximum, "min": np.minimum, "sqrt": np.sqrt}
"""Operations that are no rational functions: computed of literals alone."""

Value = np.ndarray[Any, Any]


def cut(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of the miniature of an array."""
    return tuple(min(n, SIDE) for n in shape)


def long_axes(shape: Sequence[int]) -> tuple[int, ...]:
    """The axes longer than 1."""
    return tuple(axis for axis, n in enumerate(shape) if n > 1)


def dims(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without its axes of length 1."""
    return tuple(n for n in shape if n > 1)


def same(a: Value, b: Value) -> bool:
    """Whether two miniatures are equal up to axes of length 1 and rounding."""
    a, b = a.squeeze(), b.squeeze()
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0) <= CLOSE * np.abs(b).max(initial=0))


@dataclasses.dataclass(frozen=True)
class Variance:
    """What an array is the variance of, plus eps.

    Attributes:
      x: a variable.
      axes: its axes that the variance is over, without those of length 1.
      eps: added to the variance.
    """

    x: Any
    axes: tuple[int, ...]
    eps: float = 0.0


class Miniature:
    """A program on miniatures of its arrays.

    Attributes:
      small: the miniature of each variable; none for keys.
      position: the index of the equation that computes a variable; -1 for the program's arguments.
      roots: each equation of the square root of something with sums in it, with the `Variance` that it is; else None.
    """

    def __init__(self, arguments: Sequence[Any], eqns: Sequence[JaxprEqn]) -> None:
        self._random, self._eqns = np.random.default_rng(0), eqns
        self._users: dict[Any, list[int]] = collections.defaultdict(list)
        self._known: set[Any] = set()  # computed from literals alone
        self._clipping: set[Any] = set()  # whether variances are positive: chooses between known numbers only
        self._variances: dict[Any, Variance | None] = {}
        self._weights: dict[tuple[int, ...], Value] = {}
        self._sums: dict[tuple[int, ...], Any] = {}
        self.small: dict[Any, Value] = {}
        self.position: dict[Any, int] = {}
        self.roots: list[tuple[JaxprEqn, Variance | None]] = []
        for v in arguments:
            self._enter(v, -1, None)
        for i, eqn in enumerate(eqns):
            for atom in dict.fromkeys(atom for atom in eqn.invars if not isinstance(atom, Literal)):
                self._users[atom].append(i)
            made = self._made(eqn) if len(eqn.outvars) == 1 else None
            for v in eqn.outvars:
                self._enter(v, i, made)
        alike: dict[tuple[int, ...], list[Any]] = collections.defaultdict(list)
        for v, value in self.small.items():
            if _floating(v):
                alike[dims(v.aval.shape)].append((v, self._print(value)))
        self._alike = {shape: ([v for v, _ in of], np.array([p for _, p in of])) for shape, of in alike.items()}

    def _enter(self, v: Any, i: int, value: Value | None) -> None:
        self.position[v] = i
        if hasattr(v.aval, "shape") and hasattr(v.aval, "dtype"):
            shape = cut(v.aval.shape)
            if value is None or not np.all(np.isfinite(value)):
                value = self._random.standard_normal(shape)
            self.small[v] = np.broadcast_to(value, shape)

    def _print(self, value: Value) -> float:
        """A linear function of an array, by which equal ones are found."""
        short = value.squeeze()
        if short.shape not in self._weights:
            self._weights[short.shape] = np.random.default_rng(short.size).standard_normal(short.shape)
        return float((self._weights[short.shape] * short).sum())

    # ------------------------------------------------------------ what a program computes

    def equal(self, value: Value, shape: Sequence[int], after: int = -2) -> list[Any]:
        """The variables equal to `value`, the miniature of an array of this shape, up to axes of length 1.

        Args:
          after: the index of an equation; those computed by it or before it are left out.
        """
        value = np.broadcast_to(value, cut(shape))
        found, prints = self._alike.get(dims(shape), ([], np.zeros(0)))
        error = np.abs(prints - self._print(value))
        near = np.flatnonzero(error <= 10 * CLOSE * value.size * np.abs(value).max(initial=0))
        return [v for v in (found[i] for i in near) if self.position[v] > after and same(self.small[v], value)]

    def origin(self, v: Any) -> Any:
        """The variable that v is a broadcast, a reshape or a conversion of."""
        while (i := self.position[v]) >= 0 and self._eqns[i].primitive.name in VIEWS - {"transpose"}:
            source = self._eqns[i].invars[0]
            if isinstance(source, Literal) or not _floating(source):
                break
            v = source
        return v

    def made_from(self, v: Any) -> list[JaxprEqn]:
        """The first `REACH` equations of arithmetic and views of v and of what they compute."""
        queue, found, seen = list(self._users[v]), list[JaxprEqn](), set[int]()
        while queue and len(found) < REACH:
            i = heapq.heappop(queue)
            eqn = self._eqns[i]
            if i not in seen and (eqn.primitive.name in ARITHMETIC or eqn.primitive.name in VIEWS):
                found.append(eqn)
                for user in self._users[eqn.outvars[0]]:
                    heapq.heappush(queue, user)
            seen.add(i)
        return found

    def partners(self, v: Any) -> Iterator[Any]:
        """The variables that v is multiplied with, and those that it divides."""
        for i in self._users[v]:
            eqn = self._eqns[i]
            if eqn.primitive.name in ("mul", "div"):
                yield from (atom for atom in eqn.invars if not isinstance(atom, Literal) and atom is not v)

    def with_others(self, value: Value, shape: Sequence[int], after: int, most: int) -> tuple[Any, ...] | None:
        """The variables, one or two, whose sum with `value` the program computes; None if it computes no such sum.

        Args:
          value, shape, after: as for `equal`.
          most: terms of a sum that are tried.
        """
        value = np.broadcast_to(value, cut(shape))
        if dims(shape) not in self._sums:
            self._sums[dims(shape)] = self._terms(shape, most)
        found, prints = self._sums[dims(shape)]
        error = np.abs(prints - self._print(value))
        for i in np.flatnonzero(error <= 10 * CLOSE * value.size * np.abs(value).max(initial=0)):
            v, others = found[i]
            total = value.squeeze() + sum(self.small[other].squeeze() for other in others)
            if self.position[v] > after and same(self.small[v], total):
                return others
        return None

    def _terms(self, shape: Sequence[int], most: int) -> tuple[list[tuple[Any, tuple[Any, ...]]], Value]:
        """The sums of a shape, each with one or two of its terms, and a print of the rest of its terms."""
        found, prints = [], []
        variables, all_prints = self._alike[dims(shape)]
        own = dict(zip(variables, all_prints, strict=True))
        for v in sorted(variables, key=self.position.__getitem__):
            terms = [v]
            for term in terms:
                i = self.position[term]
                if i >= 0 and self._eqns[i].primitive.name in ("add", "add_any") and len(terms) < most:
                    terms += [atom for atom in self._eqns[i].invars if not isinstance(atom, Literal) and atom in own]
            for count in (1, 2):
                for others in itertools.combinations(terms[1:], count):
                    found.append((v, others))
                    prints.append(own[v] - sum(own[other] for other in others))
        return found, np.array(prints)

    # ------------------------------------------------------------ one equation

    def _read(self, atom: Any) -> Value | None:
        return np.asarray(atom.val, np.float64) if isinstance(atom, Literal) else self.small.get(atom)

    def _made(self, eqn: Any) -> Value | None:
        """The miniature of an equation's result; None for an array of unknown origin."""
        name, p, out, source = eqn.primitive.name, eqn.params, eqn.outvars[0], next(iter(eqn.invars), None)
        if source is None or not all(_numeric(v) for v in (*eqn.invars, out)):
            return None
        values: list[Any] = [self._read(atom) for atom in eqn.invars]
        known = all(map(self._is_known, eqn.invars))
        made: Value | None = None
        with np.errstate(all="ignore"):
            if known and name in OF_LITERALS:
                made = OF_LITERALS[name](*values)
            elif name == "select_n" and self._is_choice(eqn) and np.ptp(values[0] * 1.0) == 0:
                made = values[1 + int(values[0].flat[0])]
                known = all(map(self._is_known, eqn.invars[1:]))
            elif name in COMPARISONS:
                made = self._compared(eqn, values)
                self._clipping.update([out] if made is not None else ())
            elif name in ("max", "rsqrt", "sqrt", "pow"):
                made = (self._clipped if name == "max" else self._root)(eqn, values)
            elif not known and not all(map(_floating, (*eqn.invars, out))):
                return None
            elif name in VIEWS:
                made = _view(name, p, values[0], source.aval.shape, out.aval.shape)
                if made is not None and (found := self._noted(source)):
                    self._variances[out] = found
            elif name in ARITHMETIC and _floating(out):
                made = ARITHMETIC[name](*values)
                if name == "add":
                    self._shift(eqn, values)
            elif name == "integer_pow":
                made = values[0] ** float(p["y"])
            elif (name == "reduce_sum" or _over_axes(eqn)) and source.aval.size:
                shape = source.aval.shape
                made = values[0].sum(tuple(p["axes"])) * math.prod(shape[a] / min(shape[a], SIDE) for a in p["axes"])
        if known and made is not None:
            self._known.add(out)
        return made

    def _noted(self, atom: Any) -> Variance | None:
        return None if isinstance(atom, Literal) else self._variances.get(atom)

    def _is_known(self, atom: Any) -> bool:
        return isinstance(atom, Literal) or atom in self._known

    def _is_choice(self, eqn: Any) -> bool:
        """Whether it is known which operand a select_n selects."""
        which, *cases = eqn.invars
        return self._is_known(which) or (which in self._clipping and all(map(self._is_known, cases)))

    def _with_number(self, eqn: Any, values: Sequence[Value]) -> Iterator[tuple[Any, float]]:
        """Operands of an equation of two, with the number that the other operand is."""
        for (v, _), (other, number) in itertools.permutations(zip(eqn.invars, values, strict=True), 2):
            if self._is_known(other) and not isinstance(v, Literal) and number.size and np.ptp(number) == 0:
                yield v, float(number.flat[0])

    def _shift(self, eqn: Any, values: Sequence[Value]) -> None:
        """Note a variance + eps."""
        for v, eps in self._with_number(eqn, values):
            found = self._variance(v)
            if found and found.eps == 0 and eps >= 0:
                self._variances[eqn.outvars[0]] = dataclasses.replace(found, eps=eps)

    def _clipped(self, eqn: Any, values: Sequence[Value]) -> Value | None:
        """max(v, 0) of a variance v, which only rounding makes negative."""
        for v, least in self._with_number(eqn, values):
            found = self._variance(v)
            if found and found.eps == 0 and least <= 0:
                self._variances[eqn.outvars[0]] = found
                return self.small[v]
        return None

    def _compared(self, eqn: Any, values: Sequence[Value]) -> Value | None:
        """The comparisons in the derivative of max(v, 0) of a variance v, as they are where v is positive.

        Where it is not, x is constant, and the derivative is multiplied by x - mean.
        """
        a, b = noted = [self._noted(v) for v in eqn.invars]
        with_itself = a is not None and a == b
        if not with_itself and not any(m <= 0 and self._noted(v) for v, m in self._with_number(eqn, values)):
            return None
        positive = [number if found is None else np.ones(()) for found, number in zip(noted, values, strict=True)]
        return np.broadcast_to(COMPARISONS[eqn.primitive.name](*positive), cut(eqn.outvars[0].aval.shape))

    def _root(self, eqn: Any, values: Sequence[Value]) -> Value | None:
        """A power of a variance + eps."""
        v = eqn.invars[0]
        power = {"rsqrt": -0.5, "sqrt": 0.5}.get(eqn.primitive.name)
        if power is None:
            power = next((number for base, number in self._with_number(eqn, values) if base is v), None)
        if isinstance(v, Literal) or power is None:
            return None
        found = self._variance(v)
        if abs(power) == 0.5 and (found or (v.aval.size > 1 and self._summed(v))):
            self.roots.append((eqn, found))
        return np.asarray(values[0] ** power) if found else None

    # ------------------------------------------------------------ variances

    def _variance(self, v: Any) -> Variance | None:
        """The array and the axes that v is the variance of."""
        if v not in self._variances:
            self._variances[v] = next(self._variances_of(v), None)
        return self._variances[v]

    def _variances_of(self, v: Any) -> Iterator[Variance]:
        left = dims(v.aval.shape)
        for x in self._summed(v) if v.aval.size else ():
            shape, long = x.aval.shape, long_axes(x.aval.shape)
            for kept in itertools.combinations(long, len(left)):
                axes = tuple(axis for axis in long if axis not in kept)
                if (
                    axes
                    and tuple(shape[axis] for axis in kept) == left
                    and same(self.small[x].var(axes), self.small[v])
                ):
                    yield Variance(x, axes)

    def _summed(self, v: Any) -> list[Any]:
        """The arrays whose sums v is made of, in the program's order."""
        seen, found, queue = {v}, set[Any](), collections.deque([v])
        while queue and len(seen) < REACH:
            i = self.position[queue.popleft()]
            name = self._eqns[i].primitive.name if i >= 0 else ""
            if name in ARITHMETIC or name in VIEWS or name in ("reduce_sum", "psum", "integer_pow", "max", "select_n"):
                operands = [atom for atom in self._eqns[i].invars if not isinstance(atom, Literal)]
                found.update(operands if name == "reduce_sum" else ())
                queue += [atom for atom in operands if atom not in seen]
                seen.update(operands)
        return sorted(found, key=lambda x: self.position[x])


def _floating(v: Any) -> bool:
    """Whether an operand or a result is of real numbers, of at least half precision."""
    dtype = getattr(v.aval, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize >= 2


def _numeric(v: Any) -> bool:
    """Whether an operand or a result is of real numbers, integers or truth values."""
    dtype = getattr(v.aval, "dtype", None)
    return dtype is not None and any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_))


def _over_axes(eqn: Any) -> bool:
    """Whether a psum is over axes of its operand alone, as under `vmap` with an `axis_name`."""
    p = eqn.params
    return (
        eqn.primitive.name == "psum"
        and all(isinstance(axis, int) for axis in p["axes"])
        and p["axis_index_groups"] is None
    )


def _view(name: str, p: Any, v: Value, before: Sequence[int], shape: Sequence[int]) -> Value | None:
    """The result of an operation that computes nothing; None for a reshape of more than axes of length 1."""
    if name == "broadcast_in_dim":
        places = [1] * len(shape)
        for axis, n in zip(p["broadcast_dimensions"], v.shape, strict=True):
            places[axis] = n
        return np.broadcast_to(v.reshape(places), cut(shape))
    if name == "transpose":
        return v.transpose(p["permutation"])
    return v.reshape(cut(shape)) if dims(before) == dims(shape) else None
