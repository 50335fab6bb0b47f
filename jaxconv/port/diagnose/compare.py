"""Run a net and a torch module side by side and find the first layer that differs, and the cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxconv._base.errors import ShapeError
from jaxconv._base.types import InputSpec, Params, State
from jaxconv.geometry import looks_channels_first
from jaxconv.layers.layer import Layer, lift
from jaxconv.port.diagnose.capture import Call, our_calls, relative, their_calls
from jaxconv.port.diagnose.conventions import Case, Cause, find_cause
from jaxconv.port.diagnose.parameters import statistics, weights_differ
from jaxconv.port.diagnose.report import Comparison, Pair
from jaxconv.port.weights.leaves import Leaf, leaves_of
from jaxconv.port.weights.names import Source, dotted, name_leaves

__all__ = ["Comparison", "Pair", "compare"]


def compare(
    net: Layer,
    params: Params,
    state: State,
    torch_module: Any,
    x: InputSpec,
    *,
    source: Source = "torchvision",
    train: bool = False,
    tolerance: float = 1e-4,
) -> Comparison:
    """Run a net and a torch module on the same images and find the first layer that differs.

    Layers are paired by name. For the first pair whose outputs differ, the report says whether its weights are torch's,
    whether it agrees on torch's own input, and if not, which known convention explains it: the padding (SAME is not
    symmetric), the divisor of averages, eps, momentum, biased variances, ceil mode, GELU by tanh or by erf, the
    order of a flattened image, TF32. Each is tried on the actual arrays.

    Args:
      net: a Layer.
      params, state: its own, from `load`.
      torch_module: a torch.nn.Module; a copy of it is run.
      x: images [N, *spatial, C].
      source: naming scheme of the module, as in `load`.
      train: run both in training mode, and compare running statistics, too; dropout must be off.
      tolerance: of |ours - theirs| / |theirs|.

    Returns:
      A Comparison: `print` it for the report; `.agrees` for tests.

    Raises:
      ShapeError: if images are not [N, *spatial, C].
      ConfigError: if the source is unknown.
    """
    net, x = lift(net), _images(x)
    leaves = leaves_of(net, x)
    flat = {leaf.part: (leaf.maps.get(0), leaf.maps.get(1)) for leaf in leaves if leaf.maps and len(leaf.shape) == 2}
    calls, stopped = our_calls(net, params, state, x, train, flat)
    theirs, modules = their_calls(torch_module, x, train)
    names = _module_names(calls, leaves, name_leaves(leaves, source, torch_module.state_dict()), modules)
    met = _meet(calls, theirs, names)
    pairs = [_pair(call, their, names[call.path], modules) for call, their in met]
    first = next((i for i, pair in enumerate(pairs) if not pair.error <= tolerance), None)
    alone, cause, notes = None, None, list[str]()
    if first is not None:
        alone, cause = _cause(met, first, modules, names, leaves, calls, tolerance)
    elif train:
        wrong, notes = statistics([(call, their, modules[names[call.path]]) for call, their in met], tolerance)
        if wrong is not None:
            first, cause = wrong
    ours, others = _alone(calls, theirs, met, names, modules)
    found = None if first is None else pairs[first]
    ended = None if stopped is None else "; ".join(line.strip() for line in str(stopped).splitlines())
    return Comparison(tuple(pairs), found, alone, cause, tuple(notes), ended, ours, others, tolerance)


def _alone(
    calls: Sequence[Call], theirs: Mapping[str, list[Call]], met: Sequence[tuple[Call, Call]],
    names: Mapping[tuple[str, ...], str], modules: Mapping[str, Any],
) -> tuple[tuple[str, ...], tuple[str, ...]]:  # fmt: skip
    """Leaf layers that ran and have no pair: ours and torch's."""
    paired = {call.path for call, _ in met}
    unpaired = [call for call in calls if call.path not in paired and call.layer is not None and not call.layer.parts]
    used = {names[path] for path in paired}
    others = [name for name, part in modules.items() if name not in used and theirs[name] and not [*part.children()]]
    return tuple(dict.fromkeys("/".join(call.path) for call in unpaired)), tuple(others)


def _images(x: Any) -> np.ndarray:
    x = np.asarray(x)
    if looks_channels_first(x.shape):
        raise ShapeError(
            "compare needs images [N, *spatial, C], for both sides",
            got=f"{x.shape}, which looks like NCHW",
            fix="np.moveaxis(x, 1, -1)",
        )
    return x.astype(np.float32)


def _module_names(
    calls: Sequence[Call], leaves: Sequence[Leaf], names: Mapping[str, str], modules: Mapping[str, Any]
) -> dict[tuple[str, ...], str]:
    """The name of torch's module for each of our paths: by its weights, or by the path if it has none."""
    found = {leaf.part: names[leaf.path].rpartition(".")[0] for leaf in leaves}
    found |= {call.path: dotted(call.path) for call in calls if call.path not in found}
    return {path: name for path, name in found.items() if name in modules}


def _meet(
    calls: Sequence[Call], theirs: Mapping[str, list[Call]], names: Mapping[tuple[str, ...], str]
) -> list[tuple[Call, Call]]:
    """Pairs of calls in the order of completion; a layer that runs n times here and m times there has no pair."""
    counts: dict[tuple[str, ...], list[Call]] = {}
    for call in calls:
        counts.setdefault(call.path, []).append(call)
    met = []
    for call in calls:
        own, other = counts[call.path], theirs.get(names.get(call.path, "?"), [])
        if call.path in names and len(own) == len(other) and call.y is not None:
            their = other[next(i for i, one in enumerate(own) if one is call)]
            if their.y is not None:
                met.append((call, their))
    return met


def turned(theirs: Any, ours: Any, flat: tuple[int, ...] | None) -> np.ndarray:
    """Torch's array in our layout: [N, C, *spatial] as [N, *spatial, C], flattened maps in our order.

    Args:
      theirs: torch's.
      ours: the array to compare it with.
      flat: (*spatial, C) of the maps if ours is flattened, or None.
    """
    if flat is not None and theirs.ndim == 2 and theirs.shape[1] == np.prod(flat):
        maps = theirs.reshape(len(theirs), flat[-1], *flat[:-1])
        return np.moveaxis(maps, 1, -1).reshape(theirs.shape)
    choices = [np.moveaxis(theirs, 1, -1), theirs] if theirs.ndim > 2 else [theirs]
    if theirs.ndim > ours.ndim and theirs.size == theirs.shape[0] * theirs.shape[1]:  # [N, C, 1, 1]
        choices.append(theirs.reshape(theirs.shape[:2]))
    if ours.ndim > theirs.ndim and ours.size == ours.shape[0] * ours.shape[-1]:
        choices.append(theirs.reshape(len(theirs), *(1,) * (ours.ndim - 2), -1))
    fit = [one for one in choices if one.shape == ours.shape]
    return min(fit, key=lambda one: relative(ours, one)) if fit else choices[0]


def _pair(call: Call, their: Call, name: str, modules: Mapping[str, Any]) -> Pair:
    theirs = turned(their.y, call.y, call.flat_y)
    inside = None if call.x is None or their.x is None else relative(call.x, turned(their.x, call.x, call.flat_x))
    same = theirs.shape == call.y.shape
    gap = np.abs(call.y - theirs) if same and theirs.size else np.zeros(1)
    at = tuple(int(i) for i in np.unravel_index(np.nanargmax(np.nan_to_num(gap, nan=np.inf)), gap.shape))
    kind = call.layer.name if call.layer else ""
    return Pair(
        "/".join(call.path), name, kind, type(modules[name]).__name__, relative(call.y, theirs), inside,
        float(gap[at]), at, (call.y.shape, theirs.shape),
    )  # fmt: skip


def _cause(
    met: Sequence[tuple[Call, Call]], first: int, modules: Mapping[str, Any], names: Mapping[tuple[str, ...], str],
    leaves: Sequence[Leaf], calls: Sequence[Call], tolerance: float,
) -> tuple[float | None, Cause | None]:  # fmt: skip
    """The error of a layer on torch's own input, and its cause."""
    call, their = met[first]
    layer, module = call.layer, modules[names[call.path]]
    if layer is None or layer.parts:
        return None, Cause("all submodules match; the difference is in forward()")
    theirs = turned(their.y, call.y, call.flat_y)
    if their.x is None or call.x is None:
        return None, None
    x = turned(their.x, call.x, call.flat_x)
    try:
        ours = np.asarray(layer.apply(call.params, call.state, x)[0])
    except ShapeError as error:
        return None, Cause(f"our layer rejects torch's input: {error.must}; got {error.got}")
    alone = relative(ours, theirs)
    if alone <= tolerance and relative(call.x, x) <= tolerance:
        words = "rounding: the inputs agree, and so does the layer on torch's own input; small differences grow here"
        return alone, Cause(words, "a larger tolerance, or float64 on both sides to be sure")
    if alone <= tolerance:
        last = "/".join(met[first - 1][0].path) if first else "the images"
        return alone, _before(call, their, calls, names, tolerance, last)
    if differ := weights_differ(call.path, call.params, call.state, module, leaves):
        return alone, differ
    case = Case(layer.name, module, x, theirs, ours, jax.device_get(call.params), call.state, tolerance)
    return alone, find_cause(case)


def _before(
    call: Call, their: Call, calls: Sequence[Call], names: Mapping[tuple[str, ...], str], tolerance: float, last: str
) -> Cause:
    """The cause in front of a layer that itself agrees: a layer of ours that has no pair, if there is one."""
    for other in calls:
        if other.layer is not None and not other.layer.parts and other.path not in names and other.y is not None:
            if other.y.shape != call.x.shape or relative(other.y, call.x) > 0:
                continue
            theirs = turned(their.x, call.x, call.flat_x)
            case = Case(other.layer.name, None, other.x, theirs, other.y, other.params, other.state, tolerance)
            cause = find_cause(case)
            where = f"{'/'.join(other.path)} before it, which has no pair"
            return Cause(f"{where}: {cause.words}", cause.fix) if cause else Cause(f"{where}, has another output")
    return Cause(f"its input: the two differ between {last} and this layer")
