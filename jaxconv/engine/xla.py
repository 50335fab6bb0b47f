"""Convolution by XLA's own operation, with JAX's gradients or as forward convolutions only."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.engine.form import Form
from jaxconv.engine.reductions import by_reduction
from jaxconv.engine.transposition import by_transposition
from jaxconv.engine.window import pad_wide


def _general(x: jax.Array, k: jax.Array, order: tuple[int, int], form: Form) -> jax.Array:
    spatial = "DHW"[-form.rank :]
    rest = iter(spatial)
    letters = {k.ndim + a: letter for a, letter in zip(order, "IO", strict=True)}
    kernel = "".join(letters.get(a) or next(rest) for a in range(k.ndim))
    return lax.conv_general_dilated(
        x,
        k,
        window_strides=form.stride,
        padding=form.padding,
        rhs_dilation=form.dilation,
        dimension_numbers=(f"N{spatial}C", kernel, f"N{spatial}C"),
        feature_group_count=form.groups,
        precision=form.precision,
        preferred_element_type=None if x.dtype == form.dtype else jnp.dtype(form.dtype),
    )


@by_transposition
def conv_lax(x: jax.Array, k: jax.Array, form: Form) -> jax.Array:
    """`lax.conv_general_dilated` and JAX's gradients of it, without the padding that XLA gets wrong (`pad_wide`)."""
    x, padding = pad_wide(x, form.padding, form.kernel_size, form.dilation)
    return _general(x, k, (-2, -1), form.open("y", padding=padding))


@by_reduction
def conv_canonical(x: jax.Array, k: jax.Array, order: tuple[int, int], form: Form) -> Any:
    """`lax.conv_general_dilated`, forward only, in the one layout that XLA's CPU backend runs fast anywhere."""
    return _general(x, jnp.moveaxis(k, order, (-2, -1)), (-2, -1), form)
