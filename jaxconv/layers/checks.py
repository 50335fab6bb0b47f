"""Checks and dtypes that layers share."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._base.errors import ShapeError, count
from jaxconv.geometry import looks_channels_first
from jaxconv.layers.composition import is_net_input


def param_dtype(x: jax.ShapeDtypeStruct) -> Any:
    """The dtype of parameters: that of the input if it is floating, else float32 (raw pixels)."""
    return x.dtype if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.dtype(jnp.float32)


def check_groups(groups: int, channels: int, features: int) -> None:
    """Raises ShapeError unless groups divide channels and features, and there is at least one channel."""
    if channels < 1:
        raise ShapeError("x must have at least one channel on its last axis", got="0 channels", kind="channels")
    if channels % groups or features % groups:
        raise ShapeError(
            "groups must divide channels and features",
            got=f"{groups=}, {count(channels, 'channel')}, {features=}",
            kind="channels",
        )


def check_kernel(layer: str, came: Sequence[int], expected: Sequence[int]) -> None:
    """Raises ShapeError if the kernel belongs to another layer."""
    if tuple(came) != tuple(expected):
        raise ShapeError(
            f"this {layer}'s kernel must be {tuple(expected)}",
            got=f"kernel {tuple(came)}",
            fix="params initialized by this layer",
            kind="params",
        )


def refuse_nchw(shape: Sequence[int], rank: int, layer: str) -> None:
    """Raises ShapeError if the input of a net looks like NCHW; `rank` is the number of spatial axes.

    Feature maps inside a net may have any shape, so only the shape that the net itself was given is checked.
    """
    if rank == 2 and is_net_input(shape) and looks_channels_first(shape) and not _channels_last.get():
        raise ShapeError(
            f"{layer} needs its input as [N, H, W, C]",
            got=f"{tuple(shape)}, which looks like NCHW",
            fix=f"jnp.moveaxis(x, 1, -1); init within jc.assume_channels_last() if it has {shape[3]} channels",
            kind="layout",
            shape=tuple(shape),
        )


_channels_last: contextvars.ContextVar[bool] = contextvars.ContextVar("channels_last", default=False)


@contextlib.contextmanager
def assume_channels_last() -> Iterator[None]:
    """Within the block `init` takes an image batch as [N, H, W, C] even if it looks like [N, C, H, W].

    An image batch looks like NCHW if it has 1 or 3 rows, and as many columns as channels.

    >>> from jaxconv.layers import Conv
    >>> with assume_channels_last():
    ...     params, state = Conv(4, 1).init(jax.random.key(0), (1, 3, 32, 32))
    >>> params["kernel"].shape
    (1, 1, 32, 4)
    """
    token = _channels_last.set(True)
    try:
        yield
    finally:
        _channels_last.reset(token)
