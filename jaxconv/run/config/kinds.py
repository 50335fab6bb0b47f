"""Kinds of values of a config's keys."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.fields import FieldInfo

from jaxconv._base.limits import LARGEST_INT

__all__ = [
    "STRICT",
    "Arguments",
    "ClassWeights",
    "Count",
    "PathText",
    "Patterns",
    "Positive",
    "PositiveInt32",
    "PositiveNumber",
    "example",
]


def example(value: Any) -> FieldInfo:
    """Annotation of a key: a value that it may have."""
    found: FieldInfo = Field(examples=[value])
    return found


STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
PathText = Annotated[str, Field(pattern=r"^[^\x00]+$")]
Positive = Annotated[int, Field(gt=0)]
PositiveInt32 = Annotated[int, Field(gt=0, le=LARGEST_INT)]
Count = Annotated[int, Field(ge=0)]
PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Patterns = list[str]
Arguments = dict[str, Any]
ClassWeights = list[Annotated[float, Field(ge=0, allow_inf_nan=False)]]
