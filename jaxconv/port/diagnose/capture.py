"""What every layer got and gave while a net ran: ours by its flow, torch's by hooks."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxconv._base.errors import ShapeError
from jaxconv.explain.outputs import run_parts
from jaxconv.layers.layer import Layer, lift

__all__ = ["Call", "our_calls", "relative", "their_calls"]


@dataclasses.dataclass
class Call:
    """One call of a layer.

    Attributes:
      path: the names that lead to it, ours.
      layer: ours; None for torch's.
      x, y: what went in and came out; None where it was no single array.
      flat_x, flat_y: (*spatial, C) of the maps that x and y are, flattened, or None.
      params, state, after: ours: its own, and the state that it left.
    """

    path: tuple[str, ...]
    layer: Layer | None
    x: Any
    y: Any
    flat_x: tuple[int, ...] | None = None
    flat_y: tuple[int, ...] | None = None
    params: Any = None
    state: Any = None
    after: Any = None


Maps = tuple[int, ...] | None


def our_calls(
    net: Any,
    params: Any,
    state: Any,
    x: Any,
    train: bool = False,
    flat: Mapping[tuple[str, ...], tuple[Maps, Maps]] | None = None,
) -> tuple[list[Call], ShapeError | None]:
    """Runs a net and keeps every call, the inner before the outer, in the order that they ended in.

    Args:
      net: a Layer.
      params, state: its own.
      x: an array.
      train: as in `apply`.
      flat: {path: (*spatial, C) of the maps that go into a layer as a row of values, and of those that come out}.

    Returns:
      The calls, as far as they came, and the ShapeError that stopped them or None.

    >>> from jaxconv.layers import chain
    >>> calls, _ = our_calls(chain(a=jax.numpy.negative, b=jax.numpy.square), {"a": {}, "b": {}},
    ...                      {"a": {}, "b": {}}, np.ones([1, 2]))
    >>> [(call.path, float(call.y[0, 0])) for call in calls]
    [(('a',), -1.0), (('b',), 1.0), ((), 1.0)]
    """
    net, calls, stopped = lift(net), list[Call](), list[ShapeError]()

    def program(params: Any, state: Any, x: Any) -> Any:
        calls.clear()
        record = _Recorder(calls, flat or {})
        try:
            run_parts(net, params, state, x, record, train=train)
        except ShapeError as error:
            stopped.append(error)
        for call in calls:  # what a value is may show but where it is used
            call.flat_x, call.flat_y = record.flat.get(id(call.x)), record.flat.get(id(call.y))
        kept = [(call.x, call.y, call.params, call.state, call.after) for call in calls]
        for call in calls:  # what was traced must not outlive the trace
            call.x = call.y = call.params = call.state = call.after = None
        return kept

    values = jax.device_get(jax.jit(program)(params, state, x))
    for call, kept in zip(calls, values, strict=True):
        call.x, call.y, call.params, call.state, call.after = kept
    return calls, stopped[0] if stopped else None


class _Recorder:
    """The calls of one run, and the maps that each flat value was made of."""

    def __init__(self, calls: list[Call], known: Mapping[tuple[str, ...], tuple[Maps, Maps]]):
        self.calls, self.known = calls, known
        self.flat: dict[int, Maps] = {}
        self.alive: list[Any] = []  # an id is a value's own only as long as it lives

    def __call__(self, path: tuple[str, ...], layer: Layer, params: Any, state: Any, h: Any, y: Any, new: Any) -> None:
        if not (hasattr(h, "shape") and hasattr(y, "shape")):
            h = y = None
        else:
            self.alive += [h, y]
            if path in self.known:
                for value, maps in zip((h, y), self.known[path], strict=True):
                    self.flat[id(value)] = maps or self.flat.get(id(value))
            elif layer.name == "flatten" and h.ndim > 2:
                self.flat[id(y)] = h.shape[1:]
            elif layer.flow is None and id(h) in self.flat and h.shape == y.shape and layer.name != "dense":
                self.flat[id(y)] = self.flat[id(h)]
        own = (params, state, new) if layer.flow is None else (None, None, None)
        self.calls.append(Call(path, layer, h, y, None, None, *own))


def their_calls(module: Any, x: np.ndarray, train: bool = False) -> tuple[dict[str, list[Call]], dict[str, Any]]:
    """Runs a copy of a torch module and keeps what every module in it got and gave, in torch's layout.

    Args:
      module: a torch.nn.Module.
      x: [N, *spatial, C].
      train: the mode that it runs in.

    Returns:
      {name: its calls}, and {name: module}, of the copy as it is after the run.
    """
    import torch

    module = copy.deepcopy(module).train(train)
    modules: Mapping[str, Any] = dict(module.named_modules())
    calls: dict[str, list[Call]] = {name: [] for name in modules}
    norms = (torch.nn.modules.batchnorm._NormBase, torch.nn.GroupNorm, torch.nn.LayerNorm)
    hooks, running = [], list[tuple[Any, list[Any]]]()  # what went into a module, and into those called in it

    def before(part: Any, args: Any, words: Any) -> None:
        x = _tensor([*args, *words.values()])
        if running:
            running[-1][1].append(x)
        running.append((x, []))

    def after(name: str) -> Any:
        def hook(part: Any, args: Any, result: Any) -> None:
            x, inner = running.pop()
            # timm's norms hand what they made to an activation of their own
            y = inner[0] if inner and isinstance(part, norms) else _tensor(result)
            calls[name].append(Call(tuple(name.split(".")), None, x, y))

        return hook

    for name, part in modules.items():
        hooks.append(part.register_forward_pre_hook(before, with_kwargs=True))
        hooks.append(part.register_forward_hook(after(name)))
    weight = next(module.parameters(), None)
    image = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))
    try:
        with torch.no_grad():
            module(image if weight is None else image.to(weight.device, weight.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return calls, dict(modules)


def _tensor(result: Any) -> np.ndarray | None:
    """The tensor that a module gives, or the one that matters of what transformers' give; a copy, as of now."""
    for word in ("logits", "last_hidden_state"):
        result = getattr(result, word, result)
    if isinstance(result, tuple | list):
        result = next((one for one in result if hasattr(one, "detach")), None)
    return result.detach().float().cpu().numpy().copy() if hasattr(result, "detach") else None


def relative(a: Any, b: Any) -> float:
    """|a - b| / |b|, and infinity for other shapes or for what is not finite.

    Args:
      a, b: arrays.

    >>> relative(np.array([3.0]), np.array([2.0]))
    0.5
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        return float("inf")
    error = float(np.linalg.norm(a - b))
    size = float(np.linalg.norm(b))
    return 0.0 if error == 0 else error / size if size and np.isfinite(error) else float("inf")
