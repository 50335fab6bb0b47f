"""Pretrained weights: torch's into our nets, ours into torch's, and layer-by-layer comparison.

params, state = port.load(net, port.download("timm/resnet50.a1_in1k"), "timm")
print(port.compare(net, params, state, torch_module, images))  # the first layer that differs, and why
port.save("mine.safetensors", net, params, state)  # torch reads it with strict names
"""

import warnings

from jaxconv.port.diagnose.compare import compare
from jaxconv.port.diagnose.report import Comparison
from jaxconv.port.weights.hub import download
from jaxconv.port.weights.load import load
from jaxconv.port.weights.match import PortError
from jaxconv.port.weights.pretrained import pretrained
from jaxconv.port.weights.save import save, state_dict

__all__ = ["Comparison", "PortError", "compare", "download", "load", "pretrained", "save", "state_dict"]


def __getattr__(name: str) -> object:
    if name == "begin":  # the old name, for one release
        warnings.warn("jaxconv.port.begin is now jaxconv.port.pretrained", DeprecationWarning, stacklevel=2)
        return pretrained
    raise AttributeError(f"module 'jaxconv.port' has no attribute {name!r}")
