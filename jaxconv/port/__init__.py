"""Weights that exist already: torch's into our nets, ours into torch's, and why the two differ."""

from jaxconv.port.load import load
from jaxconv.port.match import PortError

__all__ = ["PortError", "load"]
