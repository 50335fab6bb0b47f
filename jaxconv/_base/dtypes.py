"""Result and accumulation dtypes, whatever `jax_numpy_dtype_promotion` is set to."""

from typing import Any

import jax
import jax.numpy as jnp


def promoted(*dtypes: Any) -> jnp.dtype:
    """The dtype that the given ones promote to by JAX's standard rules, in strict mode too.

    >>> import jax.numpy as jnp
    >>> str(promoted(jnp.bfloat16, jnp.float32))
    'float32'
    """
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*map(jnp.dtype, dtypes))


def accum_dtype(dtype: Any) -> jnp.dtype:
    """What values of a dtype are summed in: float32 for halves, integers and bools; wider types as they are."""
    return promoted(dtype, jnp.float32)


def upcast(x: jax.Array) -> jax.Array:
    """`x` in the type that sums are taken in: f32 for halves and integers, else its own."""
    return x.astype(accum_dtype(x.dtype))


def channelwise(v: jax.Array, y: jax.Array) -> jax.Array:
    """`v`, whose axes are y's last, with as many axes as y: it then broadcasts under every setting of JAX."""
    return jnp.expand_dims(v, range(y.ndim - v.ndim))


def cast_back(y: jax.Array, x: jax.Array) -> jax.Array:
    """`y` back in x's type, where that can hold it: integers stay wide."""
    return y.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.inexact) else y
