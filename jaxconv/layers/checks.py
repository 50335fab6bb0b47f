"""Checks and dtypes that layers share."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._base.errors import ShapeError, count


def param_dtype(x: jax.ShapeDtypeStruct) -> Any:
    """Parameters take the input's floating type; float32 where it is an integer (raw pixels)."""
    return x.dtype if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.dtype(jnp.float32)


def check_groups(groups: int, channels: int, features: int) -> None:
    """Raises ShapeError unless groups divide both sides, and there are channels at all."""
    if channels < 1:
        raise ShapeError("x must have at least one channel on its last axis", got="0 channels", kind="channels")
    if channels % groups or features % groups:
        raise ShapeError(
            "groups must divide channels and features",
            got=f"{groups=}, {count(channels, 'channel')}, {features=}",
            kind="channels",
        )


def check_kernel(layer: str, came: Sequence[int], expected: Sequence[int]) -> None:
    """Raises ShapeError for a kernel of another layer."""
    if tuple(came) != tuple(expected):
        raise ShapeError(
            f"this {layer}'s kernel must be {tuple(expected)}",
            got=f"kernel {tuple(came)}",
            fix="params of this very layer",
            kind="params",
        )


def refuse_nchw(shape: Sequence[int], kernel_size: Any, layer: str) -> None:
    """Raises ShapeError for what can hardly be NHWC: 1 or 3 rows of pixels as wide as they have channels."""
    if not isinstance(kernel_size, Sequence) and len(shape) == 4 and shape[1] in (1, 3) and shape[2] == shape[3] > 4:
        raise ShapeError(
            f"{layer} needs its input as [N, H, W, C]",
            got=f"{tuple(shape)}, which looks like NCHW",
            fix=f"jnp.moveaxis(x, 1, -1); if it really is NHWC of {shape[3]} channels, give size as a tuple",
            kind="layout",
            shape=tuple(shape),
        )
