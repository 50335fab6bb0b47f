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

# Old names, for one release: name -> the new one.
_DEPRECATED = {"begin": "pretrained"}


def __getattr__(name: str) -> object:
    if name in _DEPRECATED:
        new = _DEPRECATED[name]
        warnings.warn(f"jaxconv.port.{name} is now jaxconv.port.{new}", DeprecationWarning, stacklevel=2)
        return globals()[new]
    raise AttributeError(f"module 'jaxconv.port' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
