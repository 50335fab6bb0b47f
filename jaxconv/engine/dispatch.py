"""Dispatch of a convolution to its formulation."""

import jax

from jaxconv._base.dtypes import promoted
from jaxconv.engine import tune
from jaxconv.engine.form import Form
from jaxconv.engine.rules import FORMULATIONS, Place, can_run, preferred
from jaxconv.engine.simplify import simplified


def choose(form: Form, place: Place) -> str:
    """The formulation for a form of one member.

    `form.impl` where that is set and can run it, the measured one where it is "tune", else the rules'.
    """
    form = simplified(form).form
    if form.impl == "tune" and tune.possible(place):
        return tune.best(form, place)
    if form.impl not in ("auto", "tune") and can_run(form.impl, form, place):
        return form.impl
    return preferred(form, place)


def run(a: jax.Array, b: jax.Array, form: Form, place: Place) -> jax.Array:
    """The open slot of `form` from its two operands, by the formulation that the rules choose."""
    simple = simplified(form.open(form.slot, members=None))
    one = simple.form
    impl = choose(one, place)
    if not (impl == "lax" and form.slot == "y"):  # the others sum in the operands' type or wider
        wide = promoted(a.dtype, form.dtype)
        a, b = a.astype(wide), b.astype(wide)

    def formulation(a: jax.Array, b: jax.Array) -> jax.Array:
        first, second = one.operands
        y = FORMULATIONS[impl](simple.crop_operand(a, first), simple.crop_operand(b, second), one)
        return simple.pad_result(y, one.slot, getattr(form, form.slot))

    if form.members is None:
        return formulation(a, b)
    if place.platform == "cpu":  # one after the other, each as fast as alone
        return jax.lax.map(lambda pair: formulation(*pair), (a, b))
    return jax.vmap(formulation)(a, b)
