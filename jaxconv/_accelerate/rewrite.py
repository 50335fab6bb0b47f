"""Replace every convolution, pool, norm and large dense layer of a JAX function by the engine's.

The function is traced to a jaxpr, whose norms are replaced (norms.py), and evaluated operation by operation:
convolutions, window reductions and products of dense layers of `lax` go to the engine, operations with inner jaxprs
(jit, scan, cond, …) are rebuilt with rewritten ones, and all others are bound unchanged.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

import jax

from jaxconv._accelerate.inner import run_inner, scope
from jaxconv._accelerate.norms import Step, replace_norms
from jaxconv._accelerate.report import Found, FoundNorm, Report, xla_alone
from jaxconv._accelerate.staging import ARRAYS, evaluated, lifted, stage
from jaxconv._base.compat import ClosedJaxpr, Jaxpr, JaxprEqn, ShapedArray, Tracer
from jaxconv._base.jaxpr import interpret, opened
from jaxconv.engine.dispatch import choose
from jaxconv.engine.form import EXACT_IN_F32, Form
from jaxconv.engine.general import conv_general_dilated, windows_of
from jaxconv.engine.matmul import dot_general
from jaxconv.engine.placement import on_explicit_mesh, resharded
from jaxconv.engine.pool import first_maximum, window_sum
from jaxconv.engine.primitive import conv_p, select
from jaxconv.engine.rules import Place
from jaxconv.engine.select import Choice
from jaxconv.engine.window import all_static
from jaxconv.ops._pool import lowest, window_max

P = ParamSpec("P")
R = TypeVar("R")

POOLED = {"float64", *EXACT_IN_F32}
"""Dtypes of pools that are replaced: those with an infinity, and sums as wide as XLA's."""


def report(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Report:
    """Report every convolution that `fn(*args, **kwargs)` runs: its scope, shapes, and how XLA and the engine run it.

    Its `norms` are those of the program, and why one is left to XLA. Nothing is computed; arguments may be
    `jax.ShapeDtypeStruct`s.

    >>> import jax.numpy as jnp
    >>> k = jnp.ones((3, 3, 1, 8))
    >>> conv = lambda x: jax.lax.conv_general_dilated(
    ...     x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=8)
    >>> print(report(conv, jnp.ones((1, 9, 9, 8)))[0].lax)
    8 groups, one small contraction each
    """
    found: list[Found | FoundNorm] = []

    def shapes(fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        staged = stage(fn, args, kwargs, (*ARRAYS, jax.ShapeDtypeStruct))
        evaluate = functools.partial(_evaluate, found, staged.jaxpr, False)
        return staged.result(jax.eval_shape(evaluate, *staged.values))

    lifted(shapes, fn, args, kwargs, spare=True)
    return Report(found)


class Accelerate(Protocol):
    """The type of `accelerate`."""

    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]: ...
    def report(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Report: ...


def _with_report(function: Any) -> Accelerate:
    function.report = report
    return function


@_with_report
def accelerate(fn: Callable[P, R]) -> Callable[P, R]:
    """Run every convolution, pool, norm and large dense layer of `fn`, forward and gradient, on the engine.

    On a CPU, norms with sums in float32 are found by what they compute, whichever library or formula they are from.
    Also inside jit, scan, while, cond, remat, custom_jvp, custom_vjp and shard_map, and in the results of vmap and grad
    inside `fn`. The result composes with `jax.jit` (also with donated and static arguments), `jax.grad` and `jax.vmap`,
    Flax's `nnx.jit` and Equinox's `filter_jit`, outside and inside. All other operations keep their results bit for
    bit.

    Args:
      fn: any function that JAX can trace, including a complete train step with gradients and optimizer. NumPy and JAX
        arrays in its arguments are traced; all other values (numbers, strings, functions) are passed unchanged. It may
        update Flax NNX objects, dicts, lists, dataclasses and pytrees among its arguments in place.

    Returns:
      A function of the same arguments and results, including those other than arrays. It traces `fn` at each call, so
      use it inside `jax.jit`.

    Raises:
      TypeError: when called, if `fn` stores computed arrays in an object of another kind.

    >>> import jax.numpy as jnp
    >>> def step(x, k):
    ...     return jax.lax.conv(x, k, (1, 1), "SAME").sum()
    >>> fast = jax.jit(accelerate(jax.grad(step, 1)))
    >>> fast(jnp.ones((1, 2, 4, 4)), jnp.ones((3, 2, 3, 3))).shape
    (3, 2, 3, 3)
    """

    return evaluated(fn, functools.partial(_evaluate, None))


def _evaluate(found: list[Found | FoundNorm] | None, program: ClosedJaxpr | Jaxpr, loop: bool, *args: Any) -> list[Any]:
    """Run a jaxpr with its convolutions, norms and pools replaced."""
    evaluate = functools.partial(_evaluate, found)
    jaxpr, consts = opened(program)
    eqns: list[Any] = list(jaxpr.eqns)
    if any(isinstance(v, Tracer) for v in args):  # else a jit is compiled as it is
        jaxpr, eqns, norms = replace_norms(jaxpr)
        if found is not None:
            found += norms
    codes: dict[Any, jax.Array] = {}
    chosen_later = {_choice_key(eqn, 1) for eqn in jaxpr.eqns if eqn.primitive.name == "select_and_scatter_add"}

    def step(eqn: Any, values: list[Any]) -> list[Any]:
        if isinstance(eqn, Step):
            with scope(eqn.eqn):
                return eqn.run(*values)
        with scope(eqn):
            outs = _pool(eqn, values, codes, chosen_later)
            if outs is None and eqn.primitive.name == "conv_general_dilated":
                if found is not None:
                    found.append(_describe(eqn, loop))
                outs = _conv(eqn, *values)
            if outs is None and eqn.primitive.name == "dot_general":
                outs = _product(eqn, *values)
            return run_inner(eqn, values, evaluate, loop) if outs is None else outs

    return interpret(jaxpr, (*consts, *args), step, lambda literal: literal.val, eqns)


# ---------------------------------------------------------------- replacements


def _conv(eqn: JaxprEqn, lhs: jax.Array, rhs: jax.Array) -> list[Any] | None:
    """A convolution on the engine; None if its padding is symbolic."""
    p = eqn.params
    if not all_static(n for pair in p["padding"] for n in pair):
        return None
    y = conv_general_dilated(
        lhs, rhs, p["window_strides"], p["padding"], p["lhs_dilation"], p["rhs_dilation"], p["dimension_numbers"],
        p["feature_group_count"], p["batch_group_count"], p["precision"], p["preferred_element_type"],
    )  # fmt: skip
    out = _array(eqn.outvars[0])
    return [resharded(y.astype(out.dtype), out)]


def _product(eqn: JaxprEqn, a: jax.Array, b: jax.Array) -> list[Any] | None:
    """A dense layer, or a gradient of one, on the engine; None for other products, and on an explicit mesh."""
    p, out = eqn.params, _array(eqn.outvars[0])
    known = p["precision"] is None or isinstance(p["precision"], tuple | jax.lax.Precision)
    if not known or on_explicit_mesh(out):
        return None
    y = dot_general(a, b, p["dimension_numbers"], p["precision"], out.dtype)
    return None if y is None else [y]


def _pool(eqn: JaxprEqn, values: list[Any], codes: dict[Any, jax.Array], chosen_later: set[Any]) -> list[Any] | None:
    """A window reduction by slices; None for other operations, and for windows that `windows_of` cannot represent."""
    name, p = eqn.primitive.name, eqn.params
    if name not in ("reduce_window_max", "reduce_window_sum", "select_and_scatter_add"):
        return None
    array = _array(eqn.invars[-1])
    if set(p.get("base_dilation", ())) - {1} or str(array.dtype) not in POOLED:
        return None
    if name == "select_and_scatter_add" and p["select_prim"].name != "ge":
        return None
    window, strides, dilation = p["window_dimensions"], p["window_strides"], p.get("window_dilation")
    held = windows_of(array.shape, window, strides, p["padding"], dilation)
    if held is None or max(held[1].kernel_size) > 32:
        return None
    flat, win = held
    if flat != array.shape and any(array.sharding.spec):  # of an explicit mesh: axes that are cut up stay apart
        return None
    shape = _array(eqn.outvars[0]).shape
    x = values[-1].reshape(flat)
    if name == "reduce_window_sum":
        wide = x if x.dtype == "float64" else x.astype("float32")
        return [window_sum(wide, win).astype(x.dtype).reshape(shape)]
    key = _choice_key(eqn, len(values) - 1)
    if name == "reduce_window_max":
        if key not in chosen_later:
            return [window_max(x, win, lowest(x.dtype)).reshape(shape)]
        y, codes[key] = first_maximum(x, win, lowest(x.dtype))
        return [y.reshape(shape)]
    if key not in codes:
        _, codes[key] = first_maximum(x, win, lowest(x.dtype))
    g = values[0].reshape(flat[0], *win.out, flat[-1])
    return [select(g, codes[key], Choice("x", flat[1:-1], win)).reshape(shape)]


def _array(atom: Any) -> ShapedArray:
    """The shape and the dtype of an operand or a result."""
    return atom.aval


def _choice_key(eqn: JaxprEqn, operand: int) -> Any:
    """A key that a max-pool and its gradient share: the array and the windows."""
    p, rank = eqn.params, len(eqn.params["padding"])
    pads = tuple(map(tuple, p["padding"]))
    dilations = (tuple(p.get(name, (1,) * rank)) for name in ("base_dilation", "window_dilation"))
    return id(eqn.invars[operand]), tuple(p["window_dimensions"]), tuple(p["window_strides"]), pads, *dilations


# ---------------------------------------------------------------- the report


def _describe(eqn: JaxprEqn, loop: bool) -> Found:
    lhs, rhs = map(_array, eqn.invars)
    replaced = jax.make_jaxpr(lambda a, b: _conv(eqn, a, b))(
        *(jax.ShapeDtypeStruct(v.shape, v.dtype) for v in (lhs, rhs))
    )
    forms: list[Form] = [e.params["form"] for e in replaced.jaxpr.eqns if e.primitive is conv_p]
    platform = jax.default_backend()
    where, out = str(eqn.source_info.name_stack), _array(eqn.outvars[0]).shape
    engine = choose(forms[0].open(forms[0].slot, members=None), Place(platform)) if forms else "lax"
    slot = forms[0].slot if forms else "y"
    return Found(where, lhs.shape, rhs.shape, out, xla_alone(eqn.params, lhs, rhs, loop, platform), slot, engine)
