"""ReLUs of a JAX function with the gradient of guided backpropagation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._accelerate.inner import run_inner, scope
from jaxconv._accelerate.staging import evaluated
from jaxconv._base.compat import ClosedJaxpr, Jaxpr, JaxprEqn, Literal
from jaxconv._base.errors import ShapeError
from jaxconv._base.jaxpr import inlined, interpret, opened

__all__ = ["guided"]


def guided(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function with guided gradients at its ReLUs: g·[x > 0]·[g > 0] instead of g·[x > 0]; values are the same.

    Raises:
      ShapeError: when called, if f has no ReLU.

    >>> jax.grad(guided(lambda x: -2 * jax.nn.relu(x)))(jax.numpy.float32(3))
    Array(0., dtype=float32)
    """

    def run(*args: Any) -> Any:
        found: list[JaxprEqn] = []
        y = evaluated(f, functools.partial(_evaluate, found))(*args)
        if not found:
            raise ShapeError(
                "guided backpropagation needs a function with ReLUs: jax.nn.relu or jnp.maximum(x, 0)",
                got="none",
                fix="saliency, smooth_grad or integrated_gradients, which need none",
            )
        return y

    return run


def _evaluate(found: list[JaxprEqn], program: ClosedJaxpr | Jaxpr, loop: bool, /, *args: Any) -> list[Any]:
    jaxpr, consts = opened(program)

    evaluate = functools.partial(_evaluate, found)

    def step(eqn: JaxprEqn, values: list[Any]) -> list[Any]:
        with scope(eqn):
            body = _clipped(eqn)
            if body is not None:
                return evaluate(body, loop, *values)
            if not _rectified(eqn):
                return run_inner(eqn, values, evaluate, loop)
            found.append(eqn)
            [x] = [value for value, atom in zip(values, eqn.invars, strict=True) if not isinstance(atom, Literal)]
            return [_relu(x)]

    return interpret(jaxpr, (*consts, *args), step, lambda literal: literal.val)


def _rectified(eqn: JaxprEqn) -> bool:
    """Whether an equation computes max(x, 0)."""
    numbers = [atom.val for atom in eqn.invars if isinstance(atom, Literal)]
    return eqn.primitive.name == "max" and len(numbers) == 1 and bool(np.all(np.equal(numbers[0], 0)))


def _clipped(eqn: JaxprEqn) -> Jaxpr | None:
    """The jaxpr of a function with a derivative of its own that is made of max and min, as `jax.nn.relu6`."""
    if eqn.primitive.name != "custom_jvp_call":
        return None
    body = inlined(opened(eqn.params["call_jaxpr"])[0])
    return body if body.eqns and all(inner.primitive.name in ("max", "min") for inner in body.eqns) else None


@jax.custom_vjp
def _relu(x: jax.Array) -> jax.Array:
    return jnp.maximum(x, 0)


def _forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _relu(x), x > 0


def _backward(positive: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    return (jnp.where(positive, jnp.maximum(g, 0), 0),)


_relu.defvjp(_forward, _backward)
