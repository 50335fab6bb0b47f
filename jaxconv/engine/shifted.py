"""Depthwise convolution as multiply-adds of shifted inputs."""

import functools
import itertools

import jax
import jax.numpy as jnp

from jaxconv._base.dtypes import channelwise
from jaxconv.engine.einsum import dot_dtype, tap_slice
from jaxconv.engine.form import Form
from jaxconv.engine.transposition import by_transposition
from jaxconv.engine.window import zeros_around


@by_transposition
def conv_shifted(x: jax.Array, k: jax.Array, form: Form) -> jax.Array:
    """y = Σ_m x[i*s + m*d] * K[m] per channel: one fused loop over strided slices.

    Other grouped convolutions need one such sum per input channel of a group.
    """
    c_in, maps = form.k[-2], form.k[-1] // form.groups
    x, weights = zeros_around(x, form.padding).astype(dot_dtype(x.dtype)), k.astype(dot_dtype(x.dtype))
    weights = weights.reshape(*form.kernel_size, c_in, form.groups, maps)

    def product(tap: tuple[int, ...]) -> jax.Array:
        cells = tap_slice(tap, x, form.kernel_size, form.stride, form.dilation)
        cells = cells.reshape(*cells.shape[:-1], form.groups, c_in, 1)
        channels = (cells[..., c, :] for c in range(c_in))
        return functools.reduce(
            jnp.add, (channel * channelwise(weights[tap][c], channel) for c, channel in enumerate(channels))
        )

    y = functools.reduce(jnp.add, map(product, itertools.product(*map(range, form.kernel_size))))
    return y.reshape(form.y).astype(k.dtype)
