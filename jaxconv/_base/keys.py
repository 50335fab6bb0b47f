"""Checks of random keys."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._base.compat import default_prng, prng_key
from jaxconv._base.errors import ShapeError


def check_key(key: Any) -> jax.Array:
    """`key` if it is one jax.random key, typed or raw; raises ShapeError otherwise."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    typed = dtype is not None and jnp.issubdtype(dtype, prng_key)
    if not ((typed and shape == ()) or (dtype == jnp.uint32 and shape in ((2,), (4,)))):
        came = f"keys of shape {shape}" if typed else repr(key) if shape is None else f"{dtype} of shape {shape}"
        raise ShapeError("key must be one jax.random key", got=came, fix="jax.random.key(0)", kind="key")
    size = 4 if "rbg" in default_prng() else 2
    if not typed and shape != (size,):
        raise ShapeError(
            f"a raw key must be uint32 of shape {(size,)}, as JAX reads it by its default, {default_prng()}",
            got=f"{dtype} of shape {shape}",
            fix=f"jax.random.wrap_key_data(key, impl={'rbg' if size == 2 else 'threefry2x32'!r})",
            kind="key",
        )
    return key
