"""Combinators: sequential, residual and parallel layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax.numpy as jnp

from jaxconv._base.errors import ShapeError, did_you_mean
from jaxconv.engine.placement import check_sharding
from jaxconv.layers.composition import compose
from jaxconv.layers.layer import Call, Layer, Part, lift


def name_parts(layers: Sequence[Part], named: Mapping[str, Part]) -> dict[str, Layer]:
    """Parts by name: unnamed ones as conv0, conv1, … in order, then the named ones."""
    counts, parts = Counter[str](), dict[str, Layer]()
    for part in map(lift, layers):
        parts[f"{part.name}{counts[part.name]}"] = part
        counts[part.name] += 1
    for name, own in named.items():
        if name in parts:
            raise ValueError(f"names of parts must be unique; {name!r} is the automatic name of another part")
        parts[name] = lift(own)
    return parts


def chain(*layers: Part, **named: Part) -> Layer:
    """Layers in sequence.

    Args:
      layers: layers or callables from array to array; named conv0, relu0, conv1, … in order.
      named: further layers with custom names, after the others.

    Returns:
      A Layer from the input of the first to the output of the last.

    >>> import jax
    >>> from jaxconv.layers import Conv
    >>> chain(Conv(8, 3), jax.nn.relu, Conv(8, 3), head=jnp.tanh)
    chain
      conv0: Conv(8, 3)
      relu0: relu
      conv1: Conv(8, 3)
      head: tanh
    """
    parts = name_parts(layers, named)

    def flow(call: Call, x: Any) -> Any:
        for name in parts:
            x = call(name, x)
        return x

    return compose("chain", parts, flow)


def numbered(*layers: Part) -> Layer:
    """A chain of parts named "0", "1", … as in torch's Sequential, so that weights load by name.

    Args:
      layers: layers, or callables from array to array.

    Returns:
      A Layer.

    >>> import jax
    >>> from jaxconv.layers import Conv
    >>> numbered(Conv(8, 3), jax.nn.relu)
    chain
      0: Conv(8, 3)
      1: relu
    """
    return chain(**{str(number): layer for number, layer in enumerate(layers)})


def residual(body: Part, shortcut: Part | None = None) -> Layer:
    """body(x) + shortcut(x).

    Args:
      body: a layer or callable.
      shortcut: a layer or callable, needed if the body changes the shape; None adds x itself.

    Returns:
      A Layer with parts `body` and, if given, `shortcut`.

    Raises:
      ShapeError: if the outputs of body and shortcut differ in shape.

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
                "body and shortcut must have the same output shape",
                got=f"body {jnp.shape(y)}, shortcut {jnp.shape(short)}",
                fix=_shortcut(jnp.shape(x), jnp.shape(y)) if shortcut is None else "",
                kind="shape",
            )
        return y + short

    return compose("residual", parts, flow)


def _shortcut(x: tuple[int, ...], y: tuple[int, ...]) -> str:
    """A 1×1 convolution from the shape of x to that of y, as code, if there is one."""
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
    """Layers in parallel, on the same input.

    Args:
      layers, named: as in `chain`.
      merge: "concat" (along the channels), "sum", or a function of the list of outputs.

    Returns:
      A Layer whose output is the merged outputs, in the order of the parts.

    Raises:
      ShapeError: if the outputs cannot be merged, or `merge` is unknown.

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
            but = ", except for the channels," if merge == "concat" else ""
            raise ShapeError(
                f"branches must have the same output shape{but} to be merged by {merge}", got=shapes, kind="shape"
            )
        if merge == "sum":
            return sum(outputs[1:], start=outputs[0])
        check_sharding("branches must be sharded alike to be merged by concat", outputs)
        return jnp.concatenate(outputs, axis=-1)

    return compose("branch", parts, flow)
