"""Checks of numeric arguments."""

import numbers
from collections.abc import Callable

from jaxconv._base.errors import ShapeError


def check_number(value: float, name: str, must: str, holds: Callable[[float], bool]) -> float:
    """`value`, if it is a real number for which `holds` is true.

    Args:
      value: the argument; a bool is not a number.
      name: name of the argument.
      must: the requirement, for the message.
      holds: the requirement.

    Raises:
      ShapeError: if it is not.

    >>> check_number(-1, "eps", "eps must be a number ≥ 0", lambda eps: eps >= 0)
    Traceback (most recent call last):
    jaxconv.ShapeError: eps must be a number ≥ 0
      got: eps=-1
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not holds(value):
        raise ShapeError(must, got=f"{name}={value!r}")
    return value
