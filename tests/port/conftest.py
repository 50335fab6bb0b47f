"""Images, and a net compared with a torch module that has its weights."""

import numpy as np
import pytest

from jaxconv import port


@pytest.fixture
def images(rng):
    return rng.normal(size=(2, 8, 8, 3)).astype(np.float32)


@pytest.fixture
def weights(rng):
    return {
        "conv.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "conv.bias": np.arange(4, dtype=np.float32),
    }


@pytest.fixture
def tensors(weights):
    import torch

    return {name: torch.tensor(array) for name, array in weights.items()}


@pytest.fixture
def run(rng, images):
    """`run(net, module)`: compared with the module's own weights, drawn anew with its statistics."""

    import torch

    def run(net, module, x=images, change=lambda params, state: (params, state), **words):
        with torch.no_grad():
            for weight in module.parameters():
                fan_in = weight[0].numel() if weight.ndim > 1 else 1
                weight.copy_(torch.tensor(rng.normal(size=tuple(weight.shape)) / fan_in**0.5))
            for name, statistic in module.named_buffers():
                if not name.endswith("num_batches_tracked"):
                    statistic.copy_(torch.tensor(rng.uniform(0.05, 0.15, tuple(statistic.shape))))
        params, state = port.load(net, module, x=x.shape)
        return port.compare(net, *change(params, state), module, x, **words)

    return run
