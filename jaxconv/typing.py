"""Types of the public functions, for annotations; running a network needs none of them.

def evaluate(net: jc.Layer, params: jc.typing.Params, state: jc.typing.State, images: jax.Array) -> jax.Array:
    return net.apply(params, state, images)[0].argmax(-1)
"""

from jaxconv._base.types import (
    Apply,
    Array,
    ArrayLike,
    ArraySpec,
    Init,
    Input,
    InputSpec,
    Ints,
    Padding,
    PaddingMode,
    Params,
    ParamsLike,
    State,
)
from jaxconv.layers.layer import Call, Flow, Part

__all__ = [
    "Apply", "Array", "ArrayLike", "ArraySpec", "Call", "Flow", "Init", "Input", "InputSpec", "Ints", "Padding",
    "PaddingMode", "Params", "ParamsLike", "Part", "State",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
