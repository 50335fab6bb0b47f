"""Run one case of `doctor` by every implementation, in one compiled function, and compare with NumPy in f64."""

import dataclasses
import functools
import math
import zlib
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxconv import engine
from jaxconv.doctor import reference
from jaxconv.doctor.cases import Case
from jaxconv.engine.form import SLOTS, Form
from jaxconv.engine.rules import RULES, Place, can_run
from jaxconv.engine.simplify import simplified
from jaxconv.engine.window import zeros_around
from jaxconv.ops._pool import max_pool
from jaxconv.ops._resize import resize

AUTO, XLA = "auto", "XLA"
TOLERANCE = {"float32": 2e-5, "bfloat16": 2e-2}
"""Tolerated error, relative to the largest |value| of the reference."""

Arrays = dict[str, Any]
Compute = Callable[[Any, Any, Any], Arrays]
"""(x, k, cotangent of y) -> the slots that are computed: "y", and the gradients "x" and "k"."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """A wrong or missing result.

    Attributes:
      case: the case's name.
      who: "auto", a formulation, or "XLA": plain `jax.lax`.
      slot: "y", "x", "k"; "" without a result.
      error: the largest |error| as a share of the largest |value| that is right; infinite where nothing came.
      reason: why nothing came.
    """

    case: str
    who: str
    slot: str
    error: float
    reason: str = ""


def everyone() -> tuple[str, ...]:
    """All implementations, whether or not they run on this device."""
    return (AUTO, *engine.FORMULATIONS, XLA)


def eligible(platform: str) -> list[str]:
    """The formulations that jaxconv may choose on a platform."""
    return sorted({rule.impl for rule in RULES.get(platform, ())})


def check(case: Case, who: Collection[str] = ()) -> tuple[list[Finding], int]:
    """The wrong results of a case, and the number of results compared.

    Args:
      case: the test case.
      who: implementations from `everyone`; all if empty.
    """
    trials = {name: compute for name, compute in _TRIALS[case.kind](case.form).items() if not who or name in who}
    if not trials:
        return [], 0
    x, k, g = _draw(case)
    got = _computed(case, trials, x, k, g)
    want = [_reference(case, *(v.astype(np.float64) for v in step)) for step in zip(x, k, g, strict=True)]
    errors = {
        (name, slot): max(_error(value[step], want[step][slot]) for step in range(case.steps))
        for name, slots in got.items()
        for slot, value in slots.items()
    }
    wrong = [(*at, error) for at, error in errors.items() if not error <= TOLERANCE[case.form.dtype]]
    return [Finding(case.name, *row) for row in wrong], len(errors)


def _draw(case: Case) -> list[np.ndarray]:
    """x, k and the cotangent of y for every step; with few distinct values if ties matter."""
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    arrays = (rng.normal(size=(case.steps, *getattr(case.form, slot))) for slot in SLOTS)
    return [(v.round() if case.kind == "max_pool" else v).astype(jnp.dtype(case.form.dtype)) for v in arrays]


def _computed(case: Case, trials: dict[str, Compute], x: Any, k: Any, g: Any) -> dict[str, Arrays]:
    def once(x: Any, k: Any, g: Any) -> dict[str, Arrays]:
        return {name: compute(x, k, g) for name, compute in trials.items()}

    if case.steps == 1:
        got = jax.jit(once)(x[0], k[0], g[0])
        return jax.tree.map(lambda v: np.asarray(v, np.float64)[None], got)
    got = jax.jit(lambda *arrays: lax.scan(lambda _, step: (None, once(*step)), None, arrays)[1])(x, k, g)
    return jax.tree.map(lambda v: np.asarray(v, np.float64), got)


def _reference(case: Case, x: np.ndarray, k: np.ndarray, g: np.ndarray) -> Arrays:
    form, last = case.form, case.form.rank
    if case.kind == "max_pool":
        return reference.max_pool(x, g, form)
    if case.kind == "resize":
        return reference.resize(x, g, form)
    if case.kind == "dilated":
        x = reference.spread(x, last, 2)
        return reference.conv(x, np.ones_like(k), np.zeros(form.open("y", x=x.shape).y), form)
    if case.kind == "cropped":
        return reference.conv(np.delete(x, 0, last), k, g[..., 1:, :], form)
    return reference.conv(x, k, g, form)


def _error(got: np.ndarray, want: np.ndarray) -> float:
    if got.shape != want.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - want).max() / (np.abs(want).max() or 1))


# ---------------------------------------------------------------- implementations


def _precision() -> str | None:
    """Full f32, the only precision on CPU; other devices default to less, which is no error."""
    return None if jax.default_backend() == "cpu" else "highest"


def _plain(x: Any, k: Any, form: Form) -> jax.Array:
    """The convolution of `jax.lax`, as every library calls it."""
    spatial = "DHW"[-form.rank :]
    return lax.conv_general_dilated(
        x, k, form.stride, form.padding, rhs_dilation=form.dilation, feature_group_count=form.groups,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"), precision=_precision(),
    )  # fmt: skip


def _both_ways(forward: Callable[[Any, Any], Any]) -> Compute:
    def compute(x: Any, k: Any, g: Any) -> Arrays:
        y, pull = jax.vjp(forward, x, k)
        return dict(zip("yxk", (y, *pull(g)), strict=True))

    return compute


def _conv_trials(form: Form) -> dict[str, Compute]:
    form = form.open("y", precision=_precision())
    trials = {AUTO: _both_ways(lambda x, k: engine.bind(x, k, form)), XLA: _both_ways(lambda x, k: _plain(x, k, form))}
    place = Place(jax.default_backend())
    for impl in engine.FORMULATIONS:
        slots = tuple(slot for slot in SLOTS if can_run(impl, simplified(form.open(slot)).form, place))
        if slots:
            trials[impl] = functools.partial(_forced, form.open("y", impl=impl), slots)
    return trials


def _forced(form: Form, slots: tuple[str, ...], x: Any, k: Any, g: Any) -> Arrays:
    arrays = dict(zip(SLOTS, (x, k, g), strict=True))
    opened = (form.open(slot) for slot in slots)
    return {one.slot: engine.bind(arrays[one.operands[0]], arrays[one.operands[1]], one) for one in opened}


def _pool_trials(form: Form) -> dict[str, Compute]:
    def ours(x: Any) -> Any:
        return max_pool(x, form.kernel_size, stride=form.stride, padding=form.padding, dilation=form.dilation)

    def plain(x: Any) -> Any:
        lowest = np.array(-np.inf, x.dtype)
        shape = (1, *form.kernel_size, 1), (1, *form.stride, 1), ((0, 0), *form.padding, (0, 0))
        return lax.reduce_window(x, lowest, lax.max, *shape)

    return {AUTO: functools.partial(_of_x, ours), XLA: functools.partial(_of_x, plain)}


def _of_x(forward: Callable[[Any], Any], x: Any, _: Any, g: Any) -> Arrays:
    y, pull = jax.vjp(forward, x)
    return {"y": y, "x": pull(g)[0]}


def _resize_trials(form: Form) -> dict[str, Compute]:
    def plain(x: Any) -> Any:
        return jax.image.resize(x, form.y, "linear", antialias=False, precision=_precision())

    ours = functools.partial(resize, size=form.y[1:-1], mode="linear")
    return {AUTO: functools.partial(_of_x, ours), XLA: functools.partial(_of_x, plain)}


def _dilated_trials(form: Form) -> dict[str, Compute]:
    holes = (*(1,) * form.rank, 2, 1)
    shape = (1, *form.kernel_size, 1), (1, *form.stride, 1), ((0, 0), *form.padding, (0, 0))
    return {XLA: lambda x, k, g: {"y": lax.reduce_window(x, np.array(0, x.dtype), lax.add, *shape, holes)}}


def _cropped_trials(form: Form) -> dict[str, Compute]:
    """A crop on the last axis, and on axes of length 1 before it an interior padding without effect."""
    no_op = [(0, 0, int(n == 1)) for n in form.x[1:-2]]
    crop = [(0, 0, 0), *no_op, (-1, 0, 0), (0, 0, 0)]
    less = form.open("y", x=(*form.x[:-2], form.x[-2] - 1, form.x[-1]), precision=_precision())
    pairs = (*((0, 0),) * (form.rank - 1), (-1, 0))
    return {
        AUTO: lambda x, k, g: {"y": engine.bind(zeros_around(x, pairs), k, less)},
        XLA: lambda x, k, g: {"y": _plain(lax.pad(x, np.array(0, x.dtype), crop), k, less)},
    }


def _sharded_trials(axis: str, form: Form) -> dict[str, Compute]:
    """Kernels sharded by output channels (jax#16894), or batches over one axis of two (see `rules.grouped_kernel`)."""
    devices = jax.local_devices()
    sizes = (2, 2) if len(devices) >= 4 else (1, min(len(devices), 2))
    mesh = Mesh(np.array(devices[: math.prod(sizes)]).reshape(sizes), ("data", "model"))
    sharding = NamedSharding(
        mesh, PartitionSpec("data") if axis == "n" else PartitionSpec(*(None,) * form.rank, None, "model")
    )
    trials = _conv_trials(form)

    def compute(trial: Compute, x: Any, k: Any, g: Any) -> Arrays:
        shard = functools.partial(lax.with_sharding_constraint, shardings=sharding)
        return trial(x, shard(k), g) if axis == "o" else trial(shard(x), k, shard(g))

    return {name: functools.partial(compute, trials[name]) for name in (AUTO, XLA)}


_TRIALS: dict[str, Callable[[Form], dict[str, Compute]]] = {
    "conv": _conv_trials, "max_pool": _pool_trials, "resize": _resize_trials, "dilated": _dilated_trials,
    "cropped": _cropped_trials, "sharded kernel": functools.partial(_sharded_trials, "o"),
    "sharded batch": functools.partial(_sharded_trials, "n"),
}  # fmt: skip
