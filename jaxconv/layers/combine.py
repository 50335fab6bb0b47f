"""Layers made of layers: in a row, beside a shortcut, side by side."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax.numpy as jnp

from jaxconv._base.errors import ShapeError, did_you_mean
from jaxconv.layers.layer import Call, Layer, Part, compose, lift


def name_parts(layers: Sequence[Part], named: Mapping[str, Part]) -> dict[str, Layer]:
    """Parts by name: conv0, conv1, … for those without one, in order, then the named ones."""
    counts, parts = Counter[str](), dict[str, Layer]()
    for part in map(lift, layers):
        parts[f"{part.name}{counts[part.name]}"] = part
        counts[part.name] += 1
    for name, own in named.items():
        if name in parts:
            raise ValueError(f"a part's name must be its own; {name!r} is the automatic name of another part")
        parts[name] = lift(own)
    return parts


def chain(*layers: Part, **named: Part) -> Layer:
    """One layer after the other.

    Args:
      layers: layers or callables from array to array; named conv0, relu0, conv1, … in order.
      named: more of them with names of your own, after the others.

    Returns:
      A Layer from the first's input to the last's output.

    >>> import jax
    >>> from jaxconv.layers import Conv
    >>> chain(Conv(8, 3), jax.nn.relu, Conv(8, 3), head=jnp.tanh)
    chain
      conv0: conv
      relu0: relu
      conv1: conv
      head: tanh
    """
    parts = name_parts(layers, named)

    def flow(call: Call, x: Any) -> Any:
        for name in parts:
            x = call(name, x)
        return x

    return compose("chain", parts, flow)


def residual(body: Part, shortcut: Part | None = None) -> Layer:
    """body(x) + shortcut(x).

    Args:
      body: a layer or callable.
      shortcut: one too, where the body changes the shape; None adds x itself.

    Returns:
      A Layer with parts `body` and, where given, `shortcut`.

    Raises:
      ShapeError: body and shortcut of different shapes.

    Source: He et al., Deep Residual Learning for Image Recognition, 2015.

    >>> residual(jnp.square).apply({"body": {}}, {"body": {}}, jnp.array([3.0]))[0]
    Array([12.], dtype=float32)
    """
    parts = {"body": body} if shortcut is None else {"body": body, "shortcut": shortcut}

    def flow(call: Call, x: Any) -> Any:
        y = call("body", x)
        short = x if shortcut is None else call("shortcut", x)
        if jnp.shape(y) != jnp.shape(short):
            raise ShapeError(
                "body and shortcut must give the same shape",
                got=f"body {jnp.shape(y)}, shortcut {jnp.shape(short)}",
                fix=_shortcut(jnp.shape(x), jnp.shape(y)) if shortcut is None else "",
                kind="shape",
            )
        return y + short

    return compose("residual", parts, flow)


def _shortcut(x: tuple[int, ...], y: tuple[int, ...]) -> str:
    """The shortcut that leads from x's shape to y's, where a 1×1 convolution does."""
    if len(x) != len(y) or len(x) < 3:
        return ""
    for s in range(1, 9):
        if all(-(-n // s) == m for n, m in zip(x[1:-1], y[1:-1], strict=True)):
            return f"shortcut=Conv({y[-1]}, 1)" if s == 1 else f"shortcut=Conv({y[-1]}, 1, stride={s})"
    also = f", and shortcut=Conv({y[-1]}, 1)" if x[-1] != y[-1] else ""
    return f"padding='same' in the body{also}"


def branch(
    *layers: Part, merge: Literal["concat", "sum"] | Callable[[list[Any]], Any] = "concat", **named: Part
) -> Layer:
    """Every part on the same input, side by side.

    Args:
      layers, named: as in `chain`.
      merge: "concat" (along the channels), "sum", or a function of the list of outputs.

    Returns:
      A Layer whose output is the merged outputs, in the order of the parts.

    Raises:
      ShapeError: outputs whose shapes cannot be merged, or an unknown word.

    >>> twice = branch(jnp.square, jnp.negative)
    >>> empty = {"square0": {}, "negative0": {}}
    >>> twice.apply(empty, empty, jnp.array([[3.0]]))[0]
    Array([[ 9., -3.]], dtype=float32)
    """
    words = ("concat", "sum")
    if not callable(merge) and merge not in words:
        raise ShapeError(
            "merge must be concat, sum or a function of a list of arrays",
            got=f"merge={merge!r}{did_you_mean(merge, words)}",
        )
    parts = name_parts(layers, named)
    if not parts:
        raise ShapeError("branch needs at least one part", got="none")

    def flow(call: Call, x: Any) -> Any:
        outputs = [call(name, x) for name in parts]
        if callable(merge):
            return merge(outputs)
        alike = {y.shape[:-1] if merge == "concat" else y.shape for y in outputs}
        if len(alike) > 1:
            shapes = ", ".join(f"{name} {y.shape}" for name, y in zip(parts, outputs, strict=True))
            but = " but for the channels" if merge == "concat" else ""
            raise ShapeError(
                f"branches must give the same shape{but} to be merged by {merge}", got=shapes, kind="shape"
            )
        return jnp.concatenate(outputs, axis=-1) if merge == "concat" else sum(outputs[1:], start=outputs[0])

    return compose("branch", parts, flow)
