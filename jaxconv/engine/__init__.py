"""Convolution engine: each convolution in the fastest correct formulation for this device.

An operation describes its convolution as a `Form` and calls `bind`, which applies a JAX primitive (primitive.py) whose
derivatives are forms again. When JAX compiles the primitive, dispatch.py brings the form to its canonical shape
(simplify.py), chooses a formulation by rules (rules.py) or by measurement (tune.py), and traces it. A formulation
either computes all three slots of a form, or it computes the forward convolution, and its gradients come from
transposition.py or reductions.py.
"""

import contextlib
import contextvars
import os
from collections.abc import Iterator
from typing import Any

from jaxconv._base.compat import default_precision
from jaxconv._base.errors import ConfigError, did_you_mean
from jaxconv.engine.form import Form
from jaxconv.engine.primitive import bind
from jaxconv.engine.rules import FORMULATIONS

__all__ = ["FORMULATIONS", "Form", "bind", "check_impl", "precision_of", "resolved", "using"]

_chosen: contextvars.ContextVar[str | None] = contextvars.ContextVar("impl", default=None)


def check_impl(impl: str, where: str = "impl") -> str:
    """`impl`, if it is "auto", "tune" or a formulation.

    Raises:
      ConfigError: if it is unknown; the message begins with `where`.
    """
    known = ("auto", "tune", *FORMULATIONS)
    if impl not in known:
        raise ConfigError(f"{where} must be one of {', '.join(known)}; got {impl!r}{did_you_mean(impl, known)}")
    return impl


@contextlib.contextmanager
def using(*, impl: str) -> Iterator[None]:
    """Set the formulation of all convolutions traced in this block without an `impl` argument.

    Takes effect at trace time: a function that `jit` has already compiled is unchanged.

    Args:
      impl: "auto" selects by the rules; "tune" measures each convolution once, when it is compiled, and caches the
        fastest; or the name of a formulation.

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
    """`impl`; if None, that of `using`, of `$JAXCONV_IMPL`, or "auto"."""
    name = impl or _chosen.get()
    return check_impl(name) if name else check_impl(os.environ.get("JAXCONV_IMPL") or "auto", "JAXCONV_IMPL")


def precision_of(precision: Any) -> Any:
    """`precision` as a hashable value; if None, JAX's current default."""
    if precision is None:
        return default_precision()
    return tuple(precision) if isinstance(precision, list) else precision
