"""Weights of our own models to every source's names and back, bit by bit."""

import jax
import numpy as np
import pytest

from jaxconv import models, port
from jaxconv.port.weights.leaves import leaves_of

pytestmark = pytest.mark.slow

SHAPE = (1, 64, 64, 3)
NETS = {
    "convnext": {"widths": (4, 8, 12, 16), "depths": (1, 2, 3, 1)},
    "densenet": {"blocks": (1, 2, 1, 1), "growth": 4, "stem": 8},
    "efficientnet": {"width": 0.25, "depth": 0.3},
    "mobilenet_v2": {"width": 0.25},
    "mobilenet_v3_small": {"width": 0.25},
    "resnet": {"blocks": (1, 2, 1, 1), "width": 8},
    "vgg": {"convs": (1, 2, 1, 1, 1), "width": 8, "hidden": 16},
}
CASES = [
    *((name, "torchvision") for name in ("convnext", "vgg")),
    *((name, "timm") for name in NETS),
    *((name, "transformers") for name in ("convnext", "efficientnet", "mobilenet_v2", "resnet")),
]


def born(name, draw):
    """A net of the registry, its leaves, and random params and state."""
    if name not in models.registry:
        pytest.skip(f"there is no {name}")
    net = models.registry[name](5, **NETS[name])
    leaves = leaves_of(net, SHAPE)
    return net, leaves, leaves.join([draw(size=leaf.shape).astype(np.float32) for leaf in leaves])


@pytest.mark.parametrize(("name", "source"), CASES)
def test_there_and_back(name, source, rng):
    net, _, trees = born(name, rng.normal)
    weights = port.state_dict(net, *trees, source, x=SHAPE)
    jax.tree.map(np.testing.assert_array_equal, port.load(net, weights, source, x=SHAPE), trees)


@pytest.mark.parametrize(("name", "source"), [("convnext", "timm"), ("efficientnet", "transformers")])
def test_the_source_is_found_out(name, source, rng):
    net, leaves, trees = born(name, rng.normal)
    with pytest.raises(port.PortError) as caught:
        port.load(net, port.state_dict(net, *trees, source, x=SHAPE), x=SHAPE)
    line = str(caught.value).splitlines()[1]
    assert line == f"  fix: source={source!r}: {len(leaves)} of the net's {len(leaves)} names match"
