"""Convolution by XLA's own operation, with JAX's gradients and with ours."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.engine.form import Form
from jaxconv.engine.reductions import by_reduction
from jaxconv.engine.transposition import by_transposition
from jaxconv.engine.window import zeros_around
from jaxconv.geometry import span


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
    """`lax.conv_general_dilated` and JAX's gradients of it, kept from the arguments that XLA gets wrong.

    Padding wider than d(k-1) becomes a negative low padding in the input gradient, which XLA's CPU
    code reads out of bounds (openxla/xla#48713): such an input is padded first.
    """
    reach = (span(n, d) - 1 for n, d in zip(form.kernel_size, form.dilation, strict=True))
    if any(max(pair) > r for pair, r in zip(form.padding, reach, strict=True)):
        x, form = zeros_around(x, form.padding), form.open("y", padding=((0, 0),) * form.rank)
    return _general(x, k, (-2, -1), form)


@by_reduction
def conv_canonical(x: jax.Array, k: jax.Array, order: tuple[int, int], form: Form) -> Any:
    """`lax.conv_general_dilated` forward alone, in the one layout that XLA's CPU code runs fast anywhere."""
    return _general(x, jnp.moveaxis(k, order, (-2, -1)), (-2, -1), form)
