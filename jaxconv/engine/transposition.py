"""Gradients of a formulation by JAX's transposition of its forward code."""

import jax
import jax.numpy as jnp

from jaxconv.engine.form import Form, Formulation


def by_transposition(forward: Formulation) -> Formulation:
    """A formulation for all three slots from a forward convolution `forward(x, k, form)` that JAX can transpose."""

    def formulation(a: jax.Array, b: jax.Array, form: Form) -> jax.Array:
        if 0 in (*a.shape, *b.shape, *form.shape(form.slot)):
            return jnp.zeros(form.shape(form.slot), form.dtype)
        if form.slot == "y":
            return forward(a, b, form).astype(form.dtype)
        like = jax.ShapeDtypeStruct(getattr(form, form.slot), a.dtype)
        if form.slot == "x":
            (gradient,) = jax.linear_transpose(lambda x: forward(x, a, form), like)(b)
        else:
            (gradient,) = jax.linear_transpose(lambda k: forward(a, k, form), like)(b)
        return gradient.astype(form.dtype)

    formulation.__doc__ = forward.__doc__
    return formulation
