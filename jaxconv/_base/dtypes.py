"""Result and accumulation dtypes, independent of `jax_numpy_dtype_promotion`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def promoted(*dtypes: Any) -> jnp.dtype:
    """The dtype that the given dtypes promote to by JAX's standard rules, even in strict mode.

    >>> import jax.numpy as jnp
    >>> str(promoted(jnp.bfloat16, jnp.float32))
    'float32'
    """
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*map(jnp.dtype, dtypes))


def accum_dtype(dtype: Any) -> jnp.dtype:
    """The accumulation dtype: float32 for half precision, integers and bools; wider dtypes unchanged."""
    return promoted(dtype, jnp.float32)


def upcast(x: jax.Array | np.ndarray[Any, Any]) -> jax.Array:
    """`x` in its accumulation dtype; see `accum_dtype`."""
    return jnp.asarray(x, accum_dtype(x.dtype))


def channelwise(v: jax.Array, y: jax.Array) -> jax.Array:
    """`v`, whose axes are the last of y, with the rank of y, so that it broadcasts even under strict rank promotion."""
    return jnp.expand_dims(v, range(y.ndim - v.ndim))


def cast_back(y: jax.Array, x: jax.Array) -> jax.Array:
    """`y` in the dtype of `x` if that is inexact; results of integer inputs stay in the accumulation dtype."""
    return y.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.inexact) else y
