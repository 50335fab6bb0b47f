"""Convolution as one matrix product per kernel tap."""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.engine.einsum import dot_dtype, tap_slice
from jaxconv.engine.form import Form
from jaxconv.engine.transposition import by_transposition
from jaxconv.engine.window import zeros_around


@by_transposition
def conv_dots(x: jax.Array, k: jax.Array, form: Form) -> jax.Array:
    """y = Σ_m x[i*s + m*d] · K[m]: per tap, a strided slice and a matrix product, batched over groups.

    Needs no im2col copy of x. A 1×1 convolution is one product. Half precision is summed in f32.
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
