"""Convolution as one matrix product for each tap of the kernel."""

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
    """y = Σ_m x[i*s + m*d] · K[m]: k strided slices and matrix products, batched over groups; no k-fold copy of x.

    A 1×1 convolution is one product. Each result is summed in f32 or wider.
    """
    x, wide = zeros_around(x, form.padding), dot_dtype(x.dtype)
    dot = functools.partial(lax.dot_general, precision=form.precision, preferred_element_type=wide)

    def product(tap: tuple[int, ...]) -> jax.Array:
        seen = tap_slice(tap, x, form.kernel_size, form.stride, form.dilation).reshape(-1, form.groups, form.k[-2])
        weights = k[tap].reshape(form.k[-2], form.groups, -1)
        if form.groups == 1:
            return dot(seen[:, 0], weights[:, 0], (((1,), (0,)), ((), ())))
        return jnp.moveaxis(dot(seen, weights, (((2,), (0,)), ((1,), (1,)))), 0, 1)

    y = functools.reduce(jnp.add, map(product, itertools.product(*map(range, form.kernel_size))))
    return y.reshape(form.y).astype(x.dtype)
