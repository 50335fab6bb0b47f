"""Why a net does not take an input: where it stopped, what came before, the likeliest cause and its fix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jax

from jaxconv._base.errors import ShapeError, count
from jaxconv.explain.shape_walk import Step, Walk, Walker
from jaxconv.explain.sizes import first_line, shortest
from jaxconv.geometry import looks_channels_first
from jaxconv.layers.layer import path_of, shape_of

__all__ = ["diagnose"]

_LARGEST = 512
_NEAR = 8
_SHOWN = 5
_LONGEST = 110


def diagnose(net: Any, x: Any, error: Exception) -> str:
    """Say in ten lines or less why `net.init` or `net.apply` failed.

    The net is walked again with the shape of the input, nothing is computed; so it takes well under a second.

    Args:
      net: the Layer or callable that failed.
      x: the input it was given: an array, a `jax.ShapeDtypeStruct` or a shape.
      error: what it raised.

    Returns:
      Lines: the error with the layer's path and the formula with its numbers; the shapes that led there; the
      likeliest cause, and the fix.

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
      fix: an input of 16×16, a kernel of at most 4, or padding='same'
    """
    seen, walker = shape_of(x), Walker(net)
    walk = walker.walk(seen)
    told = error if isinstance(error, ShapeError) else _plain(error)
    path = told.path or walk.at
    shape = getattr(seen, "shape", None)
    lines = [f"at {'/'.join(path)}: {told.must}" if path else told.must]
    lines += [f"  got: {told.got}"] * bool(told.got)
    if shape is not None and (path or walk.error):  # else it is not the net that failed on this input
        lines.append(f"  before: {_before(shape, _passed(walk, path))}")
    cause, fix = _cause(walker, walk, shape, told, path) if shape is not None else ("", "")
    lines += [f"  cause: {cause}"] * bool(cause)
    lines += [f"  fix: {fix or told.fix}"] * bool(fix or told.fix)
    return "\n".join(lines)


def _plain(error: Exception) -> ShapeError:
    """What another library raised, as it stands in a report: its first line, and the path that `compose` noted."""
    told = ShapeError((str(error).splitlines() or [type(error).__name__])[0].strip())
    told.path = path_of(error)
    return told


def _passed(walk: Walk, path: Sequence[str]) -> list[Step]:
    """The steps before a layer: all, where the walk ended there by itself."""
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
    walker: Walker, walk: Walk, shape: tuple[int, ...], told: ShapeError, path: Sequence[str]
) -> tuple[str, str]:
    """The likeliest cause and its fix; empty where the error itself says all there is."""
    if looks_channels_first(shape):
        return f"x {shape} looks like NCHW, the channels must stand last", "jnp.moveaxis(x, 1, -1)"
    cells, channels, batch = shape[1:-1], shape[-1], shape[0]
    if "must fit into the padded input" in told.must and 1 <= len(cells) <= 3 and channels and batch:
        try:
            least = _times(shortest(walker, channels, len(cells), _LARGEST, batch))
        except ShapeError as none:
            return f"this net takes no square input up to {_LARGEST}: {none.must.rpartition(': ')[2]}", ""
        cause = f"{_times(cells)} is too small for this net; its smallest legal input is {least}"
        return cause, told.fix.replace("a larger input", f"an input of {least}")
    if walk.error is not None:
        if isinstance(walk.error, ShapeError) and walk.error.must != told.must:
            return first_line(walk), ""
        near = _nearest(walker, shape)
        if not near:
            return "", ""
        return f"this net takes {near}, but not {_times(cells)}", told.fix or f"an input of {near}"
    if kernel := re.search(r"kernel \((\d+), \d+\)", told.got):
        return _initialized_for(walker, shape, int(kernel[1]), path)
    if wanted := re.match(r"x must have (\d+ channels?)", told.must):
        return f"the net was initialized for another input: here it expects {wanted[1]}", (
            "an input of those channels, or params of net.init(key, x) with this x"
        )
    if not re.search(r"kernel|params|state|init", f"{told.must} {told.got}"):
        return "", ""
    return f"a fresh net takes {shape}: params and state are those of another net or input", (
        "params, state = net.init(key, x) with this x"
    )


def _nearest(walker: Walker, shape: tuple[int, ...]) -> str:
    """The nearest size that a net takes, all axes longer or shorter by the same few cells; empty for none."""
    cells = shape[1:-1]
    for more in range(1, _NEAR + 1) if cells and min(cells) > 0 else ():
        for step in (-more, more):
            near = tuple(n + step for n in cells)
            if 2 * min(near) >= min(cells) and walker.walk((shape[0], *near, shape[-1])).error is None:
                return _times(near)
    return ""


def _initialized_for(walker: Walker, shape: tuple[int, ...], values: int, path: Sequence[str]) -> tuple[str, str]:
    """For which images a dense layer of so many values was initialized, as far as square ones tell."""
    rank, cells, channels = len(shape) - 2, shape[1:-1], shape[-1]
    fix = f"inputs of that size, params of net.init(key, {shape}), or global_avg_pool instead of flatten"

    def width(n: int) -> int:
        """Of what the layer gets from images of n cells an axis; 0 where they do not come so far."""
        steps = walker.walk((shape[0], *(n,) * rank, channels)).steps
        return next((step.x.shape[-1] for step in steps if step.path == tuple(path)), 0)

    least = _least(lambda n: width(n) >= values) if rank > 0 else 0
    if not least or width(least) != values:
        cause = f"the layer was initialized for {values} values, which no square input of {count(channels, 'channel')}"
        return f"{cause} gives", "params, state = net.init(key, x) with this x"
    most = _least(lambda n: width(n) > values) - 1
    either = f"{_times((least,) * rank)}" + (f" to {_times((most,) * rank)}" if most > least else "")
    return f"the net was initialized for inputs of {either}, x is {_times(cells)}", fix


def _least(holds: Any) -> int:
    """The first size for which what holds for all larger ones holds; 0 for none up to the largest."""
    low, high = 0, 1
    while not holds(high):
        if high >= _LARGEST:
            return 0
        low, high = high, min(2 * high, _LARGEST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
