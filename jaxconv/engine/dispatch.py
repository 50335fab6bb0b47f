"""Dispatch of each form to a formulation."""

import jax

from jaxconv._base.dtypes import promoted
from jaxconv.engine import tune
from jaxconv.engine.form import Form
from jaxconv.engine.rules import FORMULATIONS, Place, can_run, preferred
from jaxconv.engine.simplify import simplified
from jaxconv.engine.window import all_static

_LARGE = 1 << 10


def choose(form: Form, place: Place) -> str:
    """The formulation for a form of one member.

    `form.impl` if it names a formulation that can run the form; the fastest measured one if it is "tune" and this place
    can be measured; else the rules' choice.
    """
    form = simplified(_static(form)).form
    if form.impl == "tune" and tune.can_measure(place):
        return tune.fastest(form, place)
    if form.impl not in ("auto", "tune") and can_run(form.impl, form, place):
        return form.impl
    return preferred(form, place)


def _static(form: Form) -> Form:
    """`form` with a large number for each symbolic size of `jax.export`: rules compare sizes."""
    x, k = (tuple(n if all_static([n]) else _LARGE for n in shape) for shape in (form.x, form.k))
    return form.open(form.slot, x=x, k=k)


def run(a: jax.Array, b: jax.Array, form: Form, place: Place) -> jax.Array:
    """Compute the open slot of `form` from its two operands by the chosen formulation."""
    simple = simplified(form.open(form.slot, members=None))
    one = simple.form
    impl = choose(one, place)
    if not (impl == "lax" and form.slot == "y"):  # lax sums in form.dtype; the others in the operands' dtype or wider
        dtype = promoted(a.dtype, form.dtype)
        a, b = a.astype(dtype), b.astype(dtype)

    def formulation(a: jax.Array, b: jax.Array) -> jax.Array:
        first, second = one.operands
        y = FORMULATIONS[impl](simple.crop_operand(a, first), simple.crop_operand(b, second), one)
        return simple.pad_result(y, one.slot, getattr(form, form.slot))

    if form.members is None:
        return formulation(a, b)
    if place.platform == "cpu":  # one at a time, each as fast as without vmap
        return jax.lax.map(lambda pair: formulation(*pair), (a, b))
    return jax.vmap(formulation)(a, b)
