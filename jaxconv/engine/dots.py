"""Convolution as one matrix product per kernel tap."""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.engine.einsum import dot_dtype, tap_slice
from jaxconv.engine.form import Form
from jaxconv.engine.transposition import by_transposition
from jaxconv.engine.window import all_static, zeros_around


def conv_dots(a: jax.Array, b: jax.Array, form: Form) -> jax.Array:
    """One product where the form is one; else `by_taps`. Half precision is summed in f32."""
    empty = 0 in (*a.shape, *b.shape, *form.shape(form.slot))
    return product(a, b, form) if form.product and not empty else by_taps(a, b, form)


def product(a: jax.Array, b: jax.Array, form: Form) -> jax.Array:
    """y = x · K, x = y · Kᵀ or K = xᵀ · y, each of two matrices: of more axes XLA's CPU backend takes longer.

    It also transposes the first operand of a sum over rows, so the one with fewer channels comes first. A barrier keeps
    that order, or the transpose of the result would become a change of it.
    """
    dot = functools.partial(lax.dot_general, precision=form.precision, preferred_element_type=dot_dtype(a.dtype))
    first, second = (v.reshape(-1, v.shape[-1]) for v in (a, b))
    if form.slot == "y":
        v = dot(first, second, (((1,), (0,)), ((), ())))
    elif form.slot == "x":
        v = dot(second, first, (((1,), (1,)), ((), ())))
    else:
        v = dot(second, first, (((0,), (0,)), ((), ())))
        v = (lax.optimization_barrier(v) if all_static(form.k) and form.k[-1] < form.k[-2] else v).T
    return v.reshape(getattr(form, form.slot)).astype(form.dtype)


@by_transposition
def by_taps(x: jax.Array, k: jax.Array, form: Form) -> jax.Array:
    """y = Σ_m x[i*s + m*d] · K[m]: per tap, a strided slice and a matrix product, batched over groups.

    Needs no im2col copy of x. Half precision is summed in f32.
    """
    x, dtype = zeros_around(x, form.padding), dot_dtype(x.dtype)
    dot = functools.partial(lax.dot_general, precision=form.precision, preferred_element_type=dtype)

    def product(tap: tuple[int, ...]) -> jax.Array:
        cells = tap_slice(tap, x, form.kernel_size, form.stride, form.dilation).reshape(-1, form.groups, form.k[-2])
        weights = k[tap].reshape(form.k[-2], form.groups, -1)
        if form.groups == 1:
            return dot(cells[:, 0], weights[:, 0], (((1,), (0,)), ((), ())))
        return jnp.moveaxis(dot(cells, weights, (((2,), (0,)), ((1,), (1,)))), 0, 1)

    y = functools.reduce(jnp.add, map(product, itertools.product(*map(range, form.kernel_size))))
    return y.reshape(form.y).astype(x.dtype)
