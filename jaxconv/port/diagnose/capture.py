"""Capture each layer's inputs and outputs: ours through the flow, torch's by hooks."""

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
      path: names from the net down to the layer.
      layer: ours; None for torch's.
      x, y: input and output; None if not a single array.
      flat_x, flat_y: (*spatial, C) if x or y are flattened feature maps, or None.
      params, state, after: ours: params, state before and state after the call.
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
    """Run a net and record every call in the order of completion, inner calls before outer ones.

    Args:
      net: a Layer.
      params, state: its own.
      x: an array.
      train: as in `apply`.
      flat: {path: (*spatial, C) of the flattened maps that a layer takes, and of those that it returns}.

    Returns:
      The calls up to the first error, and that ShapeError or None.

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
        for call in calls:  # a later call may show that a value is flattened
            call.flat_x, call.flat_y = record.flat.get(id(call.x)), record.flat.get(id(call.y))
        values = [(call.x, call.y, call.params, call.state, call.after) for call in calls]
        for call in calls:  # tracers must not outlive the trace
            call.x = call.y = call.params = call.state = call.after = None
        return values

    values = jax.device_get(jax.jit(program)(params, state, x))
    for call, arrays in zip(calls, values, strict=True):
        call.x, call.y, call.params, call.state, call.after = arrays
    return calls, stopped[0] if stopped else None


class _Recorder:
    """The calls of one run, and the shape of the maps behind each flattened value."""

    def __init__(self, calls: list[Call], known: Mapping[tuple[str, ...], tuple[Maps, Maps]]):
        self.calls, self.known = calls, known
        self.flat: dict[int, Maps] = {}
        self.alive: list[Any] = []  # keeps ids unique

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
    """Run a copy of a torch module and record every submodule's inputs and outputs, in torch's layout.

    Args:
      module: a torch.nn.Module.
      x: [N, *spatial, C].
      train: run in training mode.

    Returns:
      {name: its calls}, and {name: module} of the copy after the run.
    """
    import torch  # pyright: ignore[reportMissingImports]

    module = copy.deepcopy(module).train(train)
    modules: Mapping[str, Any] = dict(module.named_modules())
    calls: dict[str, list[Call]] = {name: [] for name in modules}
    norms = (torch.nn.modules.batchnorm._NormBase, torch.nn.GroupNorm, torch.nn.LayerNorm)
    hooks, running = [], list[tuple[Any, list[Any]]]()  # the input of a module, and those of modules called in it

    def before(part: Any, args: Any, words: Any) -> None:
        x = _tensor([*args, *words.values()])
        if running:
            running[-1][1].append(x)
        running.append((x, []))

    def after(name: str) -> Any:
        def hook(part: Any, args: Any, result: Any) -> None:
            x, inner = running.pop()
            # timm's norms pass their result to an activation of their own
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
    """A copy of the tensor that a module returns, or of the main one in the outputs of transformers."""
    for word in ("logits", "last_hidden_state"):
        result = getattr(result, word, result)
    if isinstance(result, tuple | list):
        result = next((one for one in result if hasattr(one, "detach")), None)
    return result.detach().float().cpu().numpy().copy() if hasattr(result, "detach") else None


def relative(a: Any, b: Any) -> float:
    """Relative error |a - b| / |b|; infinity if shapes differ or values are not finite.

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
