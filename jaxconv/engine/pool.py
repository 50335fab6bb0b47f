"""Primitives of pools: the first maximum of each window with its code, and the sum of each window.

On one CPU device they are native kernels where these fit, elsewhere the formulas, which XLA partitions.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._base.compat import Primitive, ad, batching, mlir, register_taylor_rule, taylor_series_of
from jaxconv.engine import native
from jaxconv.engine import select as formulas
from jaxconv.engine.placement import local_lowering, on_explicit_mesh, one_device, result_sharding, run_compiled
from jaxconv.engine.primitive import select
from jaxconv.engine.select import Choice
from jaxconv.engine.window import Window, slices

first_maximum_p = Primitive("jaxconv_first_maximum")
window_sum_p = Primitive("jaxconv_window_sum")


def first_maximum(x: jax.Array, win: Window, fill: float | int) -> tuple[jax.Array, jax.Array]:
    """`engine.select.first_maximum`."""
    choice = Choice("y", x.shape[1:-1], win)
    if not _native(x, choice):
        return formulas.first_maximum(x, win, fill)
    y, code = first_maximum_p.bind(x, choice=choice)
    return y, code


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def window_sum(x: jax.Array, win: Window, mean: bool = False) -> jax.Array:
    """Sum over each window of x [N, *spatial, C], zeros around it; or the mean of the cells of x that it has."""
    choice = Choice("y", x.shape[1:-1], win)
    if not _overlap(win) or not _native(x, choice):
        return window_sums(x, choice, mean)
    (y,) = window_sum_p.bind(x, choice=choice, mean=mean)
    return y


@window_sum.defjvp
def _window_sum_jvp(win: Window, mean: bool, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """The same sum of the tangent; for adjacent windows by a reshape: its transpose is a broadcast, not a padding."""
    tangent = win.padded(tangents[0], 0)
    for axis in win.axes:
        out, k, s, d = (v[axis - 1] for v in (win.out, win.kernel_size, win.stride, win.dilation))
        if k == s and d == 1:
            cells = jax.lax.slice_in_dim(tangent, 0, out * k, axis=axis)
            tangent = cells.reshape(*tangent.shape[:axis], out, k, *tangent.shape[axis + 1 :]).sum(axis + 1)
        else:
            tangent = functools.reduce(jnp.add, slices(tangent, win, axis))
    return window_sum(primals[0], win, mean), tangent / window_count(primals[0], win) if mean else tangent


def window_count(x: jax.Array, win: Window, padded: bool = False) -> jax.Array:
    """Number of cells of x, or of x and its padding, in each window, for any image and channel."""
    taps = (win.taps_on_input(x.shape[axis], axis, padded) for axis in win.axes)
    return functools.reduce(operator.mul, (inside.sum(axis=0).astype(x.dtype) for inside in taps))


def _overlap(win: Window) -> bool:
    return any(k > s for k, s in zip(win.kernel_size, win.stride, strict=True))


def _native(x: Any, choice: Choice) -> bool:
    """Whether the primitives are for a pool of x: not on an explicit mesh."""
    plain = jax.default_backend() == "cpu" and not on_explicit_mesh(jax.typeof(x))
    return plain and native.fits_pool(x, choice)


def maxima(x: jax.Array, choice: Choice) -> tuple[jax.Array, jax.Array]:
    return formulas.first_maximum(x, choice.win, -jnp.inf)


def window_sums(x: jax.Array, choice: Choice, mean: bool) -> jax.Array:
    """Adds strided slices, axis by axis."""
    y = choice.win.padded(x, 0)
    for axis in choice.win.axes:
        y = functools.reduce(jnp.add, slices(y, choice.win, axis))
    return y / window_count(x, choice.win) if mean else y


def _several(fun: Callable[..., jax.Array]) -> Callable[..., list[jax.Array]]:
    return lambda x, **params: [fun(x, **params)]


# ---------------------------------------------------------------- rules of the primitives


def _declare(primitive: Primitive, dtypes: list[Any], formula: Callable[..., Any], kernel: Callable[..., Any]) -> None:
    """Types, evaluation, batching and lowering; `dtypes`: of the results, None for x's."""
    primitive.multiple_results = True

    def abstract(x: Any, *, choice: Choice, **_: Any) -> list[Any]:
        axes = ("n", *(None,) * len(choice.n), "c")
        sharding = result_sharding(x, axes, [(x, axes)])
        shape = choice.shape(x.shape)
        return [x.update(shape=shape, dtype=dtype or x.dtype, weak_type=False, sharding=sharding) for dtype in dtypes]

    def batch(arrays: Any, axes: Any, **params: Any) -> tuple[list[jax.Array], list[int]]:
        """Merge the new axis into the batch, inside of the images."""
        x = jnp.moveaxis(arrays[0], axes[0], 1)
        n, count = x.shape[:2]
        found = primitive.bind(x.reshape(n * count, *x.shape[2:]), **params)
        return [v.reshape(n, count, *v.shape[1:]) for v in found], [1] * len(found)

    def lower(ctx: Any, x: Any, **params: Any) -> Any:
        way = kernel if one_device(ctx.module_context) else formula
        return local_lowering(way)(ctx, x, **params)

    primitive.def_abstract_eval(abstract)
    run_compiled(primitive, "choice", "mean")
    batching.primitive_batchers[primitive] = batch
    register_taylor_rule(primitive, taylor_series_of(formula))
    mlir.register_lowering(primitive, local_lowering(formula))
    mlir.register_lowering(primitive, lower, platform="cpu")


_declare(first_maximum_p, [None, jnp.dtype("int8")], maxima, native.first_maximum_native)
_declare(window_sum_p, [None], _several(window_sums), _several(native.window_sum_native))


def _first_maximum_jvp(primals: Any, tangents: Any, *, choice: Choice) -> tuple[Any, Any]:
    y, code = first_maximum_p.bind(*primals, choice=choice)
    still = ad.Zero(jax.typeof(code).to_tangent_aval())
    return [y, code], [select(ad.instantiate_zeros(tangents[0]), code, choice), still]


ad.primitive_jvps[first_maximum_p] = _first_maximum_jvp
