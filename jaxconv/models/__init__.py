"""Whole nets, each one function that returns a `Layer`."""

from collections.abc import Callable

from jaxconv.layer import Layer
from jaxconv.models.nielsen import conv_pool
from jaxconv.models.residual import small_residual

__all__ = ["conv_pool", "registry", "small_residual"]

# What a config file may name as net.name.
registry: dict[str, Callable[..., Layer]] = {"conv_pool": conv_pool, "small_residual": small_residual}
