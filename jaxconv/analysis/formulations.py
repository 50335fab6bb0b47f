"""Formulations that the engine chooses for the convolutions, norms and pools of a program."""

from __future__ import annotations

from collections.abc import Iterator

import jax

from jaxconv._base.compat import ClosedJaxpr, Jaxpr, JaxprEqn
from jaxconv._base.jaxpr import map_jaxprs, opened
from jaxconv.engine import native
from jaxconv.engine.dispatch import choose
from jaxconv.engine.norm_primitive import gradient_p, normalize_p
from jaxconv.engine.pool import first_maximum_p, window_sum_p
from jaxconv.engine.primitive import conv_p
from jaxconv.engine.rules import Place

__all__ = ["formulations"]

_NORMS = {normalize_p: ("y", 0, 1), gradient_p: ("x", 3, 7)}  # slot, and where x and the scale are


def formulations(program: ClosedJaxpr | Jaxpr) -> dict[str, str]:
    """The formulations of a layer's program on this device, from its jaxpr.

    Args:
      program: of one layer, forward or with gradients.

    Returns:
      {slot: formulation}, as `jaxconv.engine.rules` names them, of the first operation for each slot: "y" forward, "x"
      the input's gradient, "k" the kernel's. What the engine has no kernels for, and XLA runs, is left out.

    >>> from jaxconv import conv
    >>> import jax.numpy as jnp
    >>> step = jax.grad(lambda k: (conv(jnp.ones((1, 9, 9, 2)), k) ** 2).sum())
    >>> sorted(formulations(jax.make_jaxpr(step)(jnp.ones((3, 3, 2, 4)))))
    ['k', 'y']
    """
    found: dict[str, str] = {}
    place = Place(jax.default_backend())
    for eqn in _equations(program):
        if eqn.primitive is conv_p:
            form = eqn.params["form"]
            found.setdefault(form.slot, choose(form.open(form.slot, members=None), place))
        elif eqn.primitive in _NORMS:
            slot, *operands = _NORMS[eqn.primitive]
            x, scale = (eqn.invars[i].aval for i in operands)
            if place.platform == "cpu" and native.norm_sizes(x, scale, eqn.params["norm"]):
                found.setdefault(slot, "native")
        elif eqn.primitive in (first_maximum_p, window_sum_p) and place.platform == "cpu":
            found.setdefault("y", "native")
    return found


def _equations(program: ClosedJaxpr | Jaxpr) -> Iterator[JaxprEqn]:
    """All equations, also those of inner jaxprs."""
    for eqn in opened(program)[0].eqns:
        yield eqn
        inner: list[ClosedJaxpr | Jaxpr] = []
        for param in eqn.params.values():
            map_jaxprs(param, inner.append)
        for each in inner:
            yield from _equations(each)
