"""Diagnose a shape error: the failing layer, the shapes before it, the likeliest cause and the fix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from jaxconv._base.errors import ShapeError, count
from jaxconv.explain.shape_walk import Step, Walk, Walker
from jaxconv.explain.sizes import first_line, shortest
from jaxconv.geometry import looks_channels_first
from jaxconv.layers.composition import path_of
from jaxconv.layers.layer import shape_of

__all__ = ["diagnose"]

_LARGEST = 512
_NEAR = 8
_SHOWN = 5
_LONGEST = 110


def diagnose(net: Any, x: Any, error: Exception) -> str:
    """Explain in ten lines or less why `net.init` or `net.apply` failed.

    The net is traced again with the shape of the input. Nothing is computed, so it takes well under a second.

    Args:
      net: the Layer or callable that failed.
      x: its input: an array, a `jax.ShapeDtypeStruct` or a shape.
      error: the exception that it raised.

    Returns:
      Lines: the error with the layer's path and the formula with its numbers; the shapes before it; the likeliest
      cause, and the fix.

    >>> from jaxconv.layers import Conv, MaxPool, chain
    >>> net = chain(Conv(20, 5), MaxPool(2), Conv(40, 5), MaxPool(2))
    >>> try:
    ...     net.init(jax.random.key(0), (1, 12, 12, 1))
    ... except ShapeError as error:
    ...     print(diagnose(net, (1, 12, 12, 1), error))
    at conv1: conv: a kernel of 5 must fit into the padded input of 4 + 0 + 0 cells on spatial axis 0
      got: spatial shape (4, 4); out = floor((4 + 0 + 0 - 1*(5 - 1) - 1) / 1) + 1 = 0
      before: x (1, 12, 12, 1) → conv0 8×8×20 → max_pool0 4×4×20
      cause: 12×12 is too small for this net; its smallest legal input is 16×16
      fix: a larger input, a kernel of at most 4, or padding='same'
    """
    struct, walker = shape_of(x), Walker(net)
    walk = walker.walk(struct)
    shape_error = error if isinstance(error, ShapeError) else _foreign(error)
    path = shape_error.path or walk.at
    shape = getattr(struct, "shape", None)
    lines = [f"at {'/'.join(path)}: {shape_error.must}" if path else shape_error.must]
    lines += [f"  got: {shape_error.got}"] * bool(shape_error.got)
    if shape is not None and (path or walk.error):  # else the error has nothing to do with this input
        lines.append(f"  before: {_before(shape, _passed(walk, path))}")
    cause, fix = _cause(walker, walk, shape, shape_error, path) if shape is not None else ("", "")
    lines += [f"  cause: {cause}"] * bool(cause)
    lines += [f"  fix: {fix or shape_error.fix}"] * bool(fix or shape_error.fix)
    return "\n".join(lines)


def _foreign(error: Exception) -> ShapeError:
    """The error of another library as a ShapeError: its first line, and the path of the part that raised it."""
    plain = ShapeError((str(error).splitlines() or [type(error).__name__])[0].strip())
    plain.path = path_of(error)
    return plain


def _passed(walk: Walk, path: Sequence[str]) -> list[Step]:
    """The steps before a layer: all of them if the walk ended there."""
    if walk.error is not None:
        return walk.steps
    for number, step in enumerate(walk.steps):
        if step.path[: len(path)] == tuple(path):
            return walk.steps[:number]
    return walk.steps


def _before(shape: Any, steps: Sequence[Step]) -> str:
    """The last few shapes: x (1, 28, 28, 1) → conv0 24×24×20."""
    texts = [f"{'/'.join(step.path) or step.kind} {_shapes(step.y)}" for step in steps]
    kept = texts[-_SHOWN:]
    while len(kept) > 1 and sum(map(len, kept)) > _LONGEST:
        kept = kept[1:]
    skipped = [f"{len(texts) - len(kept)} layers"] * (len(kept) < len(texts))
    return " → ".join([f"x {shape}", *skipped, *kept])


def _shapes(tree: Any) -> str:
    return ", ".join(_times(leaf.shape[1:]) or str(leaf.shape) for leaf in jax.tree.leaves(tree))


def _times(cells: Sequence[int]) -> str:
    return "×".join(map(str, cells))


def _cause(
    walker: Walker, walk: Walk, shape: tuple[int, ...], error: ShapeError, path: Sequence[str]
) -> tuple[str, str]:
    """The likeliest cause and its fix; empty if the error itself is complete."""
    if looks_channels_first(shape):
        return f"x {shape} looks like NCHW, expected channels last", "jnp.moveaxis(x, 1, -1)"
    cells, channels, batch = shape[1:-1], shape[-1], shape[0]
    if error.kind == "window" and 1 <= len(cells) <= 3 and channels and batch:
        try:
            least = _times(shortest(walker, channels, len(cells), _LARGEST, batch))
        except ShapeError:
            return f"this net takes no square input up to {_LARGEST}", ""
        return f"{_times(cells)} is too small for this net; its smallest legal input is {least}", ""
    if walk.error is not None:
        if isinstance(walk.error, ShapeError) and walk.error.must != error.must:
            return first_line(walk), ""
        near = _nearest(walker, shape)
        if not near:
            return "", ""
        return f"this net takes {near}, but not {_times(cells)}", error.fix or f"an input of {near}"
    expected = error.numbers.get("expected")
    if error.kind == "inputs" and expected:
        return _initialized_for(walker, shape, expected, path)
    if error.kind in ("channels", "layout") and expected:
        return f"the net was initialized for another input: here it expects {count(expected, 'channel')}", (
            "an input of those channels, or params of net.init(key, x) with this x"
        )
    if error.kind not in ("params", "shape"):
        return "", ""
    return f"a fresh net takes {shape}: params and state are those of another net or input", (
        "params, state = net.init(key, x) with this x"
    )


def _nearest(walker: Walker, shape: tuple[int, ...]) -> str:
    """The nearest legal size, with all axes longer or shorter by the same few cells; empty if there is none."""
    cells = shape[1:-1]
    for more in range(1, _NEAR + 1) if cells and min(cells) > 0 else ():
        for step in (-more, more):
            near = tuple(n + step for n in cells)
            if 2 * min(near) >= min(cells) and walker.walk((shape[0], *near, shape[-1])).error is None:
                return _times(near)
    return ""


def _initialized_for(walker: Walker, shape: tuple[int, ...], values: int, path: Sequence[str]) -> tuple[str, str]:
    """The square image sizes for which a dense layer with so many inputs was initialized."""
    rank, cells, channels = len(shape) - 2, shape[1:-1], shape[-1]
    fix = f"inputs of that size, params of net.init(key, {shape}), or global_avg_pool instead of flatten"

    def width(n: int) -> int:
        """Number of the layer's inputs for images of n cells per axis; 0 if the net rejects them earlier."""
        steps = walker.walk((shape[0], *(n,) * rank, channels)).steps
        return next((step.x.shape[-1] for step in steps if step.path == tuple(path)), 0)

    least = _least(lambda n: width(n) >= values) if rank > 0 else 0
    if not least or width(least) != values:
        cause = f"the layer was initialized for {values} values, which no square input of {count(channels, 'channel')}"
        return f"{cause} has there", "params, state = net.init(key, x) with this x"
    most = _least(lambda n: width(n) > values) - 1
    either = f"{_times((least,) * rank)}" + (f" to {_times((most,) * rank)}" if most > least else "")
    return f"the net was initialized for inputs of {either}, x is {_times(cells)}", fix


def _least(holds: Any) -> int:
    """The smallest size for which a monotone condition holds; 0 if it is beyond the largest."""
    low, high = 0, 1
    while not holds(high):
        if high >= _LARGEST:
            return 0
        low, high = high, min(2 * high, _LARGEST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
