"""The inverse of `accelerate`: the engine's primitives in a JAX function as operations of `lax`."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax

from jaxconv._accelerate.inner import run_inner, scope
from jaxconv._accelerate.staging import evaluated
from jaxconv._base.compat import ClosedJaxpr, Jaxpr, JaxprEqn, Primitive
from jaxconv._base.jaxpr import interpret, opened
from jaxconv.engine import norm, norm_primitive, pool, resample, select
from jaxconv.engine.dispatch import run
from jaxconv.engine.form import Form
from jaxconv.engine.primitive import conv_p, select_p
from jaxconv.engine.rules import Place

P = ParamSpec("P")
R = TypeVar("R")


def plain(fn: Callable[P, R]) -> Callable[P, R]:
    """Run a JAX function without the engine: its jaxpr has operations of `lax` alone.

    For tools that read jaxprs and do not know our primitives, such as quantizers and exporters. Convolutions and their
    gradients become `lax.conv_general_dilated`, all else its formula. Results are equal up to rounding; on a CPU they
    take longer.

    Args:
      fn: any function that JAX can trace, as for `accelerate`.

    Returns:
      A function of the same arguments and results. It traces `fn` at each call, so use it inside `jax.jit`; and around
      `jax.grad`, since derivatives of it may have our primitives again.

    >>> import jax.numpy as jnp, jaxconv as jc
    >>> net = jc.chain(jc.Conv(8, 3), jc.MaxPool(2), jc.BatchNorm())
    >>> params, state = net.init(jax.random.key(0), (1, 8, 8, 3))
    >>> infer = plain(lambda x: net.apply(params, state, x)[0])
    >>> print(sorted({eqn.primitive.name for eqn in jax.make_jaxpr(infer)(jnp.zeros((1, 8, 8, 3))).eqns})[:3])
    ['add', 'broadcast_in_dim', 'conv_general_dilated']
    """

    return evaluated(fn, _evaluate)


def _evaluate(program: ClosedJaxpr | Jaxpr, loop: bool, /, *args: Any) -> list[Any]:
    """Run a jaxpr with the engine's primitives replaced."""
    jaxpr, consts = opened(program)

    def step(eqn: JaxprEqn, values: list[Any]) -> list[Any]:
        with scope(eqn):
            formula = FORMULAS.get(eqn.primitive)
            if formula is None:
                return run_inner(eqn, values, _evaluate, loop)
            outs = formula(*values, **eqn.params)
            return list(outs) if eqn.primitive.multiple_results else [outs]

    return interpret(jaxpr, (*consts, *args), step, lambda literal: literal.val)


def _conv(a: jax.Array, b: jax.Array, *, form: Form) -> jax.Array:
    return run(a, b, form.open(form.slot, impl="lax"), Place("any"))


FORMULAS: dict[Primitive, Callable[..., Any]] = {
    conv_p: _conv,
    select_p: select.apply_choice,
    pool.first_maximum_p: pool.maxima,
    pool.window_sum_p: lambda x, *, choice, mean: [pool.window_sums(x, choice, mean)],
    norm_primitive.normalize_p: norm.normalize,
    norm_primitive.tangent_p: norm.tangent,
    norm_primitive.gradient_p: norm.gradient,
    resample.resample_p: resample.apply_taps,
}
"""Each primitive as a function of its operands and parameters."""
