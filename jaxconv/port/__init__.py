"""Weights that exist already: torch's into our nets, ours into torch's, and why the two differ."""

from jaxconv.port.begin import begin
from jaxconv.port.compare import compare
from jaxconv.port.hub import download
from jaxconv.port.load import load
from jaxconv.port.match import PortError
from jaxconv.port.report import Comparison
from jaxconv.port.save import save, state_dict

__all__ = ["Comparison", "PortError", "begin", "compare", "download", "load", "save", "state_dict"]
