"""Dense layers as forms: on a CPU the engine has faster products of matrices than XLA for more than two axes."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv.engine.form import EXACT_IN_F32, Form
from jaxconv.engine.placement import on_explicit_mesh
from jaxconv.engine.primitive import bind
from jaxconv.engine.window import all_static

MIN_PRODUCTS = 1 << 20
"""Products of two numbers in a form that are worth it."""


def product_form(x: tuple[int, ...], kernel: tuple[int, ...], dtype: Any, precision: Any) -> Form | None:
    """The form of x [..., C] times a kernel [C, O]; None where XLA's own product is left as it is.

    Its x has one to three axes between the first and the last.
    """
    if jax.default_backend() != "cpu" or str(dtype) not in EXACT_IN_F32 or not all_static(x) or len(kernel) != 2:
        return None
    if not 2 <= len(x) <= 5 or math.prod(x) * kernel[-1] < MIN_PRODUCTS:
        return None
    cells = x[1:-1] or (1,)
    ones = (1,) * len(cells)
    shapes = (x[0], *cells, x[-1]), (*ones, *kernel)
    return Form("y", *shapes, ones, ((0, 0),) * len(ones), ones, dtype=str(dtype), precision=precision)


def matmul(x: jax.Array, kernel: jax.Array, precision: Any, out_sharding: Any = None) -> jax.Array:
    """x [..., C] @ kernel [C, O], on an explicit mesh with the sharding of the result."""
    form = None
    if x.dtype == kernel.dtype and not any(map(on_explicit_mesh, map(jax.typeof, (x, kernel)))):
        form = product_form(x.shape, kernel.shape, x.dtype, precision)
    if form is None:
        return jnp.matmul(x, kernel, precision=precision, out_sharding=out_sharding)
    return _run(form, x, kernel, (*x.shape[:-1], kernel.shape[-1]))


def dot_general(a: jax.Array, b: jax.Array, dimension_numbers: Any, precision: Any, dtype: Any) -> jax.Array | None:
    """`lax.dot_general` where it is a product with a matrix, or the gradient of one; else None."""
    (summed, contracted), batch = dimension_numbers
    rows = tuple(range(a.ndim - 1))
    if any(batch) or not a.dtype == b.dtype == dtype or 0 in (a.ndim, b.ndim):
        return None
    if (summed, contracted) == (rows, rows):  # of y and x, as JAX differentiates
        form = product_form(b.shape, (b.shape[-1], a.shape[-1]), dtype, precision)
        return None if form is None else _run(form.open("k"), b, a, form.k[-2:]).T
    if b.ndim != 2 or summed != (a.ndim - 1,):
        return None
    if contracted == (0,):
        form = product_form(a.shape, b.shape, dtype, precision)
        return None if form is None else _run(form, a, b, (*a.shape[:-1], b.shape[1]))
    form = product_form((*a.shape[:-1], b.shape[0]), b.shape, dtype, precision)
    return None if form is None else _run(form.open("x"), b, a, (*a.shape[:-1], b.shape[0]))


def _run(form: Form, a: jax.Array, b: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    first, second = form.operands
    return bind(a.reshape(form.shape(first)), b.reshape(form.shape(second)), form).reshape(shape)
