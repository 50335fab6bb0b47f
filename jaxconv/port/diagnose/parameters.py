"""Compare the weights and running statistics of two layers, and find the cause of a difference."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxconv.port.diagnose.capture import Call, relative
from jaxconv.port.diagnose.conventions import Cause
from jaxconv.port.weights.leaves import Leaf
from jaxconv.port.weights.match import fitted

__all__ = ["statistics", "weights_differ"]

_EQUAL = 1e-6


def weights_differ(path: Sequence[str], params: Any, state: Any, module: Any, leaves: Sequence[Leaf]) -> Cause | None:
    """The first difference between a layer's params and state and torch's; None if there is none.

    Args:
      path: of the layer.
      params, state: its own.
      module: torch's.
      leaves: of the whole net.
    """
    for leaf in leaves:
        tensor = getattr(module, leaf.word, None)
        if leaf.part != tuple(path) or tensor is None:
            continue
        theirs = tensor.detach().float().cpu().numpy()
        ours = np.asarray((state if leaf.statistic else params)[leaf.keys[-1]])
        fit = fitted(leaf, theirs)
        if fit is None:
            return Cause(f"{leaf.keys[-1]} is {list(ours.shape)}, torch's {leaf.word} {list(theirs.shape)}")
        if relative(ours, leaf.from_torch(fit)) > _EQUAL:
            return _cause(leaf, ours, fit)
    return None


def _cause(leaf: Leaf, ours: np.ndarray, theirs: np.ndarray) -> Cause:
    """The cause of the difference between a leaf and torch's tensor."""
    fix = "params, state = port.load(net, torch_module)"
    want = leaf.from_torch(theirs)
    if leaf.orders:
        plain = np.moveaxis(theirs, (0, 1), (-1, -2)) if leaf.turned else theirs
        if relative(ours, plain) <= _EQUAL:
            return Cause("layout: its rows are in the order of a flattened [C, H, W], ours are [H, W, C]", fix)
    for turn in itertools.permutations(range(theirs.ndim)) if theirs.ndim > 1 else ():
        if relative(ours, np.transpose(theirs, turn)) <= _EQUAL:
            axes = "OIDHW" if theirs.ndim == 5 else "OIHW"[: theirs.ndim]
            return Cause(f"layout: its kernel is torch's weight with the axes {''.join(axes[i] for i in turn)}", fix)
    spatial = tuple(range(want.ndim - 2))
    if want.ndim > 2 and relative(ours, np.flip(want, spatial)) <= _EQUAL:
        return Cause("layout: its kernel is torch's weight, flipped", fix)
    if leaf.keys[-1] == "var" and (ratio := np.median(ours / want)) and relative(ours, ratio * want) <= _EQUAL:
        n = round(1 / abs(1 - ratio))
        return Cause(f"variance: ours is torch's running_var times {ratio:.6g}, as of {n} biased and unbiased", fix)
    return Cause(f"weights: its {leaf.keys[-1]} is not torch's {leaf.word}, by {relative(ours, want):.1e}", fix)


def statistics(met: Sequence[tuple[Call, Call, Any]], tolerance: float) -> tuple[tuple[int, Cause] | None, list[str]]:
    """Compare running statistics after one training step.

    Args:
      met: for each pair our call, torch's call, and its module after the step.
      tolerance: of the relative difference.

    Returns:
      The number of the first pair whose statistics differ with the cause, or None; and notes.
    """
    notes: dict[str, None] = {}
    for number, (call, their, module) in enumerate(met):
        new = call.after if isinstance(call.after, dict) else {}
        if not {"mean", "var"} <= new.keys() or getattr(module, "running_mean", None) is None or their.x is None:
            continue
        mean, var = (getattr(module, word).detach().float().cpu().numpy() for word in ("running_mean", "running_var"))
        n = call.x.size // call.x.shape[-1]
        share = module.momentum if module.momentum is not None else 1.0
        kept = (1 - share) * call.state["var"]
        biased = kept + (var - kept) * (n - 1) / n  # torch counts n - 1
        if relative(new["mean"], mean) > tolerance or min(relative(new["var"], v) for v in (var, biased)) > tolerance:
            return (number, _momentum(call, module)), list(notes)
        if relative(new["var"], var) > tolerance:
            notes["variance: ours is the biased one (divided by n), torch's the unbiased (by n - 1)"] = None
    return None, list(notes)


def _momentum(call: Call, module: Any) -> Cause:
    """The momentum in effect, solved from the numbers."""
    axes = tuple(range(call.x.ndim - 1))
    batch, old, new = call.x.mean(axes), call.state["mean"], call.after["mean"]
    apart = old - batch
    size = float(apart @ apart)
    ours = float((new - batch) @ apart) / size if size else 1.0
    words = f"momentum: ours keeps {ours:.3g} of the old statistics"
    if module.momentum is None:
        return Cause(f"{words}, torch's takes the mean of all steps (momentum=None)")
    theirs = 1 - module.momentum
    return Cause(f"{words}, torch's {theirs:.3g} (its momentum={module.momentum:g} is the share of the new ones)",
                 f"momentum={theirs:.3g}")  # fmt: skip
