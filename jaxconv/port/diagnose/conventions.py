"""Find the convention in which a layer differs from torch's, by trying each known one on the same input."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jaxconv import ops
from jaxconv._base.errors import ShapeError
from jaxconv.port.diagnose.capture import relative

__all__ = ["Case", "Cause", "find_cause"]


@dataclasses.dataclass(frozen=True)
class Cause:
    """A convention that explains a difference, and the fix."""

    words: str
    fix: str = ""


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer of ours and torch's module, given torch's input.

    Attributes:
      kind: of our layer, "conv".
      module: torch's; None if torch has a function call in its place.
      x: torch's input, in our layout.
      theirs: torch's output, in our layout.
      ours: our layer's output for x.
      params, state: our layer's.
      tolerance: as in `compare`.
    """

    kind: str
    module: Any
    x: np.ndarray
    theirs: np.ndarray
    ours: np.ndarray
    params: Any
    state: Any
    tolerance: float

    def gives_ours(self, y: Any) -> bool:
        """Whether an output equals ours, and is clearly nearer to it than torch's."""
        error = relative(y, self.ours)
        return error <= self.tolerance and error <= relative(self.theirs, self.ours) / 5

    def gives_theirs(self, y: Any) -> bool:
        """Whether an output equals torch's, and is clearly nearer to it than ours."""
        error = relative(y, self.theirs)
        return error <= self.tolerance and error <= relative(self.ours, self.theirs) / 5


Tried = Iterator[tuple[Cause | None, Callable[[], Any]]]


def find_cause(case: Case) -> Cause | None:
    """The convention in which the two differ; None if no known one explains it.

    A convention is the cause if our operation reproduces torch's output with torch's settings, and ours with this one
    setting changed; of several, the one nearest to our output.

    Args:
      case: the two layers and their outputs for one input.
    """
    best, nearest = None, float("inf")
    for cause, run in _TRIED.get(case.kind, _nothing)(case):
        y = _output(run, case.theirs if cause is None else case.ours)
        if cause is None and relative(y, case.theirs) > case.tolerance:
            break  # the difference is not in torch's settings
        if cause is not None and case.gives_ours(y) and (error := relative(y, case.ours)) < nearest:
            best, nearest = cause, error
    return best or _by_rounding(case)


def _output(run: Callable[[], Any], like: np.ndarray) -> Any:
    """The output of an operation; () if it raises, or has another shape."""
    try:
        return run() if jax.eval_shape(run).shape == like.shape else ()
    except ShapeError:  # this convention is invalid for this input
        return ()


def _nothing(case: Case) -> Tried:
    yield from ()


# ---------------------------------------------------------------- convolutions and dense layers

_PADDINGS = {
    "same": "'same' (the odd cell on the high side)",
    "same_lower": "'same_lower' (the odd cell on the low side)",
    "valid": "'valid'",
}
_MODES = {"zeros": "zeros", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _geometry(module: Any) -> dict[str, Any]:
    padding = module.padding if isinstance(module.padding, str) else tuple((p, p) for p in module.padding)
    return {
        "stride": tuple(module.stride), "padding": padding, "dilation": tuple(module.dilation),
        "groups": module.groups, "padding_mode": _MODES[module.padding_mode],
    }  # fmt: skip


def _conv(case: Case) -> Tried:
    module = case.module
    if not hasattr(module, "padding_mode"):
        return
    words, kernel, bias = _geometry(module), case.params["kernel"], case.params.get("bias")

    def run(kernel: Any = kernel, **changed: Any) -> Callable[[], Any]:
        return lambda: ops.conv(case.x, kernel, bias, **words | changed)

    yield None, run()
    theirs = module.padding if isinstance(module.padding, str) else f"symmetric {_short(module.padding)}"
    fix = f"padding={_short(module.padding)!r}"
    rank, most = len(module.kernel_size), max(module.dilation) * (max(module.kernel_size) - 1)
    numbers: dict[Any, str] = {((n, n),) * rank: str(n) for n in range(1, most + 1)}
    for padding, name in [("valid", _PADDINGS["valid"]), *numbers.items(), *_PADDINGS.items()]:
        yield Cause(f"padding: ours is {name}, torch's {theirs}", fix), run(padding=padding)
    for mode in ("zeros", "reflect", "edge", "wrap"):
        at = f"padding_mode={_MODES[module.padding_mode]!r}"
        yield Cause(f"padding mode: ours is {mode!r}, torch's {module.padding_mode!r}", at), run(padding_mode=mode)
    turned = np.flip(kernel, tuple(range(rank)))
    yield Cause("a flipped kernel: ours convolves, torch correlates", "jnp.flip of the kernel"), run(turned)


def _short(values: Any) -> Any:
    """A single number if all axes have the same."""
    return values[0] if not isinstance(values, str) and len(set(values)) == 1 else values


def _linear(case: Case) -> Callable[[Any, Any], Any] | None:
    """(x, kernel) -> y of a convolution or dense layer with the settings of torch's module."""
    bias = case.params.get("bias") if isinstance(case.params, dict) else None
    if case.kind in ("conv", "depthwise_conv") and hasattr(case.module, "padding_mode"):
        words = _geometry(case.module)
        return lambda x, kernel: ops.conv(x, kernel, bias, **words)
    if case.kind == "dense":
        return lambda x, kernel: x @ kernel + (0 if bias is None else bias)
    return None


def _bits(kept: int, cut: bool = False) -> Callable[[Any], np.ndarray]:
    """Reduce float32 to `kept` bits of mantissa, by rounding or, as some tensor cores do, by truncation."""
    gone = 23 - kept
    half = 0 if cut else 1 << (gone - 1)

    def rounded(x: Any) -> np.ndarray:
        whole = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
        return ((whole + half) >> gone << gone).astype(np.uint32).view(np.float32)

    return rounded


_ROUNDINGS = [
    (f"{name}: factors of {bits} bits", _bits(bits, cut), fix)
    for name, bits, fix in (
        ("TF32 (or float16)", 10, "precision='highest', or jax.default_matmul_precision('highest')"),
        ("bfloat16", 7, "precision='highest', or no cast"),
    )
    for cut in (False, True)
]


def _run(linear: Callable[[Any, Any], Any], rounding: Callable[[Any], Any], case: Case) -> Any:
    return linear(rounding(case.x), rounding(case.params["kernel"]))


def _by_rounding(case: Case) -> Cause | None:
    """Lower precision of the factors on one of the two sides."""
    if linear := _linear(case):
        for name, rounding, fix in _ROUNDINGS:
            y = _run(linear, rounding, case)
            if case.gives_ours(y):
                return Cause(f"{name} in ours, float32 in torch's", fix)
            if case.gives_theirs(y):
                return Cause(f"{name} in torch's, float32 in ours", "torch.set_float32_matmul_precision('highest')")
    return None


# ---------------------------------------------------------------- norms

_EPS = [10.0**-n for n in range(1, 13)] + [2e-5, 5e-5, 5e-6, 0.0]


def _norm(run: Callable[[Case, float], Any]) -> Callable[[Case], Tried]:
    def tried(case: Case) -> Tried:
        theirs = getattr(case.module, "eps", None) or getattr(case.module, "variance_epsilon", None)
        if theirs is not None:
            yield None, functools.partial(run, case, theirs)
        for eps in (eps for eps in _EPS if eps != theirs):
            words = f"eps: ours is {eps:g}, torch's {theirs:g}" if theirs is not None else f"eps: ours is {eps:g}"
            yield Cause(words, f"eps={theirs:g}" if theirs is not None else ""), functools.partial(run, case, eps)

    return tried


def _batch_norm(case: Case, eps: float) -> Any:
    return ops.batch_norm(case.x, case.state["mean"], case.state["var"], **case.params, eps=eps)


def _local_response_norm(case: Case) -> Tried:
    module = case.module
    if hasattr(module, "alpha"):
        size, alpha, words = module.size, module.alpha, {"beta": module.beta, "k": module.k}
        cause = Cause(
            f"alpha: ours is {alpha:g} for each map, torch divides its {alpha:g} by size={size}",
            f"alpha={alpha / size:g}",
        )
        yield None, lambda: ops.local_response_norm(case.x, size, alpha=alpha / size, **words)
        yield cause, lambda: ops.local_response_norm(case.x, size, alpha=alpha, **words)


# ---------------------------------------------------------------- pools and activations


def _pool(op: Callable[..., Any], average: bool) -> Callable[[Case], Tried]:
    def tried(case: Case) -> Tried:
        module, rank = case.module, case.x.ndim - 2
        if not hasattr(module, "ceil_mode"):
            return

        def per_axis(value: Any) -> tuple[int, ...]:
            return tuple(value) if isinstance(value, tuple) else (value,) * rank

        words = {"stride": per_axis(module.stride), "ceil_mode": module.ceil_mode,
                 "padding": tuple((p, p) for p in per_axis(module.padding))}  # fmt: skip
        words |= {"count_include_pad": module.count_include_pad} if average else {}

        def run(**changed: Any) -> Callable[[], Any]:
            return lambda: op(case.x, per_axis(module.kernel_size), **words | changed)

        yield None, run()
        yield _ceil(module), run(ceil_mode=not module.ceil_mode)
        if average:
            yield _divisor(module), run(count_include_pad=not module.count_include_pad)
        for padding, name in _PADDINGS.items():
            cause = Cause(f"padding: ours is {name}, torch's symmetric {module.padding}", f"padding={module.padding}")
            yield cause, run(padding=padding)
            if average:
                both = Cause(f"{cause.words}; {_divisor(module).words}", f"{cause.fix}, {_divisor(module).fix}")
                yield both, run(padding=padding, count_include_pad=not module.count_include_pad)

    return tried


def _ceil(module: Any) -> Cause:
    ours, theirs = ("counts", "does not") if not module.ceil_mode else ("does not count", "does")
    return Cause(
        f"ceil mode: ours {ours} a last partial window, torch's {theirs} (ceil_mode={module.ceil_mode})",
        f"ceil_mode={module.ceil_mode}",
    )


def _divisor(module: Any) -> Cause:
    cells = ["the input's cells alone", "cells of padding, too"]
    theirs = bool(module.count_include_pad)
    return Cause(
        f"average divisor: ours counts {cells[not theirs]}, torch's {cells[theirs]} (count_include_pad={theirs})",
        f"count_include_pad={theirs}",
    )


def _gelu(case: Case) -> Tried:
    theirs = getattr(case.module, "approximate", None)
    for approximate, name in ((True, "by tanh"), (False, "by erf")):
        other = "by erf" if approximate else "by tanh"
        words = f"GELU: ours is {name}, torch's {other}" + (f" (approximate={theirs!r})" if theirs else "")
        fix = f"functools.partial(jax.nn.gelu, approximate={not approximate})"
        yield Cause(words, fix), functools.partial(jax.nn.gelu, case.x, approximate=approximate)


_TRIED: dict[str, Callable[[Case], Tried]] = {
    "avg_pool": _pool(ops.avg_pool, True),
    "batch_norm": _norm(_batch_norm),
    "conv": _conv,
    "depthwise_conv": _conv,
    "gelu": _gelu,
    "group_norm": _norm(lambda case, eps: ops.group_norm(case.x, case.module.num_groups, **case.params, eps=eps)),
    "instance_norm": _norm(lambda case, eps: ops.instance_norm(case.x, **case.params, eps=eps)),
    "layer_norm": _norm(lambda case, eps: ops.layer_norm(case.x, **case.params, eps=eps)),
    "local_response_norm": _local_response_norm,
    "max_pool": _pool(ops.max_pool, False),
}
