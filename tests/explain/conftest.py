"""A small ResNet of ours and torch's with the same weights, carried from either to the other."""

from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import jaxconv as jc
from jaxconv import models, port

SMALL = {"blocks": (1, 1), "bottleneck": False, "width": 4}
SHAPE = (3, 21, 26, 3)
CLASSES = 5


class Pair(NamedTuple):
    """`net` with its weights, `f`: x -> logits, and `module` in evaluation mode, whose `layer2` is the net's."""

    net: jc.Layer
    params: Any
    state: Any
    f: Any
    module: Any
    x: np.ndarray

    @property
    def images(self):
        """x as torch has it, [N, C, H, W]."""
        import torch

        return torch.tensor(np.moveaxis(self.x, -1, 1).copy())

    def probe(self, layer="layer2"):
        return jc.explain.at_layer(self.net, self.params, self.state, layer)


@pytest.fixture(scope="module", params=["from torch", pytest.param("to torch", marks=pytest.mark.slow)])
def pair(request, tmp_path_factory):
    torch = pytest.importorskip("torch")
    from models.parity import randomize
    from models.torch_nets.resnet import resnet

    torch.set_num_threads(1)
    rng = np.random.default_rng(3)
    net, module = models.resnet(CLASSES, **SMALL), resnet(CLASSES, **SMALL).eval()
    randomize(module, rng)
    if request.param == "from torch":
        params, state = port.load(net, module, x=SHAPE)
    else:
        from safetensors.torch import load_file

        params, state = jax.jit(lambda: net.init(jax.random.key(0), SHAPE))()
        file = tmp_path_factory.mktemp("ported") / "resnet.safetensors"
        port.save(file, net, params, state, x=SHAPE)
        module.load_state_dict(load_file(file))
    x = rng.normal(size=SHAPE).astype(np.float32)
    return Pair(net, params, state, lambda x: net.apply(params, state, x)[0], module, x)


@pytest.fixture(scope="session")
def ours():
    """A tensor [N, C, *spatial] as an array [N, *spatial, C]."""
    return lambda tensor: np.moveaxis(tensor.detach().numpy(), 1, -1)
