"""Rows of the tables of invalid calls, their check, and arrays for the calls.

If a message has a fix, `fixed` is the call with that fix, and it must succeed.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
import pytest

import jaxconv as jc


class Row(NamedTuple):
    """`call` must raise exactly `error` with exactly `message`; `fixed`, if given, must not raise."""

    title: str
    call: Callable[[], Any]
    message: str
    error: type[Exception] = jc.ShapeError
    fixed: Callable[[], Any] | None = None


def each(table: list[Row]) -> Any:
    """Parametrize a test's argument `row` by the rows of a table; their titles are the ids."""
    titles = [row.title for row in table]
    assert len(titles) == len(set(titles)), "duplicate title"
    return pytest.mark.parametrize("row", table, ids=[title.replace(" ", "_") for title in titles])


def check(row: Row) -> None:
    """Check the complete message of an invalid call, and that the fixed call succeeds."""
    with pytest.raises(row.error) as caught:
        trace(row.call)
    assert type(caught.value) is row.error
    assert str(caught.value) == row.message
    assert row.message.count("\n") < 6
    if row.fixed is not None:
        trace(row.fixed)


def zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def init(layer: jc.Layer, *shape: int) -> Any:
    return layer.init(jax.random.key(0), shape)


def init_channels_last(layer: jc.Layer, *shape: int) -> Any:
    with jc.assume_channels_last():
        return init(layer, *shape)


def trace(call: Callable[[], Any]) -> None:
    """Trace the call without compiling or computing anything; drop its result."""

    def nothing() -> None:
        call()

    jax.eval_shape(nothing)


def from_environment(impl: str) -> jax.Array:
    with mock.patch.dict(os.environ, JAXCONV_IMPL=impl):
        return jc.conv(X, K)


def inside_using(impl: str) -> jax.Array:
    with jc.using(impl=impl):
        return jc.conv(X, K)


def ring(dilation: int, padding_mode: str) -> jax.Array:
    return jc.conv(zeros(1, 4, 4, 3), K, dilation=dilation, padding="same", padding_mode=padding_mode)


def deep_drop(key: Any) -> Any:
    net = jc.chain(a=jc.chain(drop=jc.DropPath(0.5)))
    return net.apply({"a": {"drop": {}}}, {"a": {"drop": {}}}, X, key=key, train=True)


def headed(flat: Callable[[Any], Any], size: int) -> Any:
    net = jc.chain(flat=flat, head=jc.Dense(3, bias=False))
    return net.apply({"flat": {}, "head": {"kernel": zeros(size, 3)}}, {"flat": {}, "head": {}}, Y)


def tiny() -> jc.Layer:
    return jc.chain(stem=jc.chain(jc.Conv(4, 3), jax.nn.relu), pool=jc.MaxPool(2), head=jc.Dense(3))


X = zeros(1, 8, 8, 3)  # an image
K = zeros(3, 3, 3, 4)  # a kernel for it
Y = zeros(1, 4, 4, 4)  # a possible output of a convolution with K
INDICES = zeros(1, 4, 4, 3, dtype=np.int32)
CONV = {"kernel": K, "bias": zeros(4)}
BACK = {"kernel": K, "bias": zeros(3)}
STATS = {"mean": zeros(3), "var": zeros(3)}
NORM = {"scale": zeros(3), "bias": zeros(3)}
WEIGHTS = {"stem": {"conv0": {"kernel": K, "bias": zeros(4)}}, "head": {"kernel": zeros(4, 3)}}
NAN = float("nan")
