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


def wide_dtype(dtype: Any) -> jnp.dtype:
    """What values of a dtype are summed in: float32 for halves, integers and bools; wider types as they are."""
    return promoted(dtype, jnp.float32)
