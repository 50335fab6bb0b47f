"""What is wrong with arguments, by the signature of the function that they are for."""

from typing import Any, Literal

import numpy as np
import pytest

from jaxconv.training.optim import argument_problems


def made(
    learning_rate: float,
    decay_rate: float,
    b1: float = 0.9,
    momentum: float | None = None,
    nesterov: bool = False,
    mu_dtype: Any = None,
    kind: Literal["plain", "spectral"] = "plain",
    betas: tuple[float, float] = (0.9, 0.99),
    key: Any = None,
    mask: Any = None,
) -> None:
    """Has a parameter of each kind that optax's functions have."""


TAKES = "made takes decay_rate, b1, momentum, nesterov, mu_dtype, kind, betas, key, weight_decay"


@pytest.mark.parametrize(
    ("key", "value", "wrong"),
    [
        ("momentun", 0.9, f"{TAKES}; did you mean 'momentum'?"),
        ("mask", "head", TAKES),
        ("learning_rate", 0.1, "is set by optim.learning_rate; leave it out here"),
        ("b1", "x", "must be a number, got 'x'"),
        ("b1", True, "must be a number, got True"),
        ("decay_rate", None, "must be a number, got None"),
        ("momentum", [0.9], "must be a number, got [0.9]"),
        ("weight_decay", "x", "must be a number, got 'x'"),
        ("nesterov", 1, "must be true or false, got 1"),
        ("mu_dtype", "f77", "must be a floating-point dtype, as 'bfloat16', got 'f77'"),
        ("mu_dtype", "int32", "must be a floating-point dtype, as 'bfloat16', got 'int32'"),
        ("kind", "other", "must be one of plain, spectral, got 'other'"),
        ("kind", ["plain"], "must be one of plain, spectral, got ['plain']"),
        ("betas", 0.9, "must be 2 numbers, got 0.9"),
        ("betas", [0.9], "must be 2 numbers, got [0.9]"),
        ("betas", [0.9, "x"], "must be 2 numbers, got [0.9, 'x']"),
        ("key", 0.5, "must be a whole number, got 0.5"),
        ("key", True, "must be a whole number, got True"),
    ],
)
def test_what_is_wrong(key, value, wrong):
    assert argument_problems("optim", made, {key: value}, ("learning_rate",), ("weight_decay",)) == [
        f"optim.{key}: {wrong}"
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("b1", 1),
        ("momentum", None),
        ("momentum", 0.5),
        ("nesterov", True),
        ("mu_dtype", "bfloat16"),
        ("mu_dtype", np.float32),
        ("mu_dtype", None),
        ("kind", "spectral"),
        ("betas", [0.5, 1]),
        ("betas", (0.5, 0.6)),
        ("key", 3),
        ("weight_decay", 0.1),
    ],
)
def test_what_is_right(key, value):
    assert argument_problems("optim", made, {key: value}, ("learning_rate",), ("weight_decay",)) == []


def test_a_function_without_arguments():
    assert argument_problems("optim", lambda: None, {"b1": 1}) == ["optim.b1: <lambda> takes no arguments"]
