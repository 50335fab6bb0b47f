"""Weights that exist already: torch's into our nets, ours into torch's, and why the two differ.

params, state = port.load(net, port.download("timm/resnet50.a1_in1k"), "timm")
print(port.compare(net, params, state, torch_module, images))  # the first layer that differs, and why
port.save("mine.safetensors", net, params, state)  # torch reads it with strict names
"""

from jaxconv.port.diagnose.compare import compare
from jaxconv.port.diagnose.report import Comparison
from jaxconv.port.weights.hub import download
from jaxconv.port.weights.load import load
from jaxconv.port.weights.match import PortError
from jaxconv.port.weights.pretrained import begin
from jaxconv.port.weights.save import save, state_dict

__all__ = ["Comparison", "PortError", "begin", "compare", "download", "load", "save", "state_dict"]
