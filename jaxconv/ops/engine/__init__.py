"""The formulations of convolution and the choice among them.

Every formulation is one function of one signature:

    (x, kernel, *, stride, padding, dilation, groups, precision) -> y

with x [N, *spatial, C_in], kernel [*k, C_in/groups, C_out] of the same dtype, and every argument
written out for each spatial axis.
"""

import contextlib
import contextvars
import os
from collections.abc import Callable, Iterator

import jax

from jaxconv.errors import ConfigError, did_you_mean
from jaxconv.ops.engine.einsum import conv_einsum
from jaxconv.ops.engine.lax import conv_lax

FORMULATIONS: dict[str, Callable[..., jax.Array]] = {"lax": conv_lax, "einsum": conv_einsum}
_chosen: contextvars.ContextVar[str | None] = contextvars.ContextVar("impl", default=None)


def check_impl(impl: str, where: str = "impl") -> str:
    """`impl` if it is "auto" or a formulation.

    Raises:
      ConfigError: an unknown word, with the place it came from.
    """
    known = ("auto", *FORMULATIONS)
    if impl not in known:
        raise ConfigError(f"{where} must be one of {', '.join(known)}; got {impl!r}{did_you_mean(impl, known)}")
    return impl


@contextlib.contextmanager
def using(*, impl: str) -> Iterator[None]:
    """Sets the formulation of every convolution traced inside the block that names none itself.

    It is read when a function is traced: a function that `jit` has compiled keeps what it was traced with.

    >>> import jaxconv as jc, jax.numpy as jnp
    >>> with jc.using(impl="einsum"):
    ...     jc.conv(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 2))).shape
    (1, 2, 2, 2)
    """
    token = _chosen.set(check_impl(impl))
    try:
        yield
    finally:
        _chosen.reset(token)


def formulation(impl: str | None) -> Callable[..., jax.Array]:
    """The formulation that `impl` names; where it is None, `using`'s or `$JAXCONV_IMPL`'s or "auto"."""
    word = impl or _chosen.get()
    word = check_impl(word) if word else check_impl(os.environ.get("JAXCONV_IMPL") or "auto", "JAXCONV_IMPL")
    return FORMULATIONS["lax" if word == "auto" else word]
