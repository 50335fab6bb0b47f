"""The engine: convolution in the formulation that is right and fast on the device at hand."""

import contextlib
import contextvars
import os
from collections.abc import Iterator
from typing import Any

import jax

from jaxconv._base.errors import ConfigError, did_you_mean
from jaxconv.engine.form import Form
from jaxconv.engine.primitive import bind
from jaxconv.engine.rules import FORMULATIONS

__all__ = ["FORMULATIONS", "Form", "bind", "check_impl", "precision_of", "resolved", "using"]

_chosen: contextvars.ContextVar[str | None] = contextvars.ContextVar("impl", default=None)


def check_impl(impl: str, where: str = "impl") -> str:
    """`impl` if it is "auto", "tune" or a formulation.

    Raises:
      ConfigError: an unknown word, with the place it came from.
    """
    known = ("auto", "tune", *FORMULATIONS)
    if impl not in known:
        raise ConfigError(f"{where} must be one of {', '.join(known)}; got {impl!r}{did_you_mean(impl, known)}")
    return impl


@contextlib.contextmanager
def using(*, impl: str) -> Iterator[None]:
    """Sets the formulation of every convolution traced inside the block that names none itself.

    It is read when a function is traced: a function that `jit` has compiled keeps what it was traced with.
    "auto" takes what the rules say; "tune" measures each convolution once, where it is compiled, and keeps the fastest.

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


def resolved(impl: str | None) -> str:
    """`impl`; where it is None, `using`'s or `$JAXCONV_IMPL`'s or "auto"."""
    word = impl or _chosen.get()
    return check_impl(word) if word else check_impl(os.environ.get("JAXCONV_IMPL") or "auto", "JAXCONV_IMPL")


def precision_of(precision: Any) -> Any:
    """`precision` as something hashable; where it is None, what jax's configuration says now."""
    if precision is None:
        return jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return tuple(precision) if isinstance(precision, list) else precision
