"""Weights of our own models to every source's names and back, bit by bit."""

import jax
import numpy as np
import pytest

from jaxconv import models, port
from jaxconv.port.leaves import leaves_of

pytestmark = pytest.mark.slow

SHAPE = (1, 64, 64, 3)
NETS = {
    "alexnet": {},
    "convnext": {"widths": (4, 8, 12, 16), "depths": (1, 2, 3, 1)},
    "densenet121": {},
    "efficientnet": {"width": 0.25, "depth": 0.5},
    "googlenet": {},
    "mobilenet_v2": {"width": 0.25},
    "mobilenet_v3_large": {"width": 0.25},
    "mobilenet_v3_small": {"width": 0.25},
    "resnet": {"blocks": (1, 2, 1, 1), "width": 8},
    "unet": {},
    "vgg": {"convs": (1, 2, 1, 1, 1), "width": 8, "hidden": 16},
}
FAMILIES = {
    "timm": ("convnext", "densenet121", "efficientnet", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small",
             "resnet", "vgg"),
    "transformers": ("convnext", "efficientnet", "mobilenet_v2", "resnet"),
}  # fmt: skip
CASES = [(name, "torchvision") for name in NETS] + [(n, source) for source, names in FAMILIES.items() for n in names]


@pytest.mark.parametrize(("name", "source"), CASES)
def test_there_and_back(name, source, rng):
    if name not in models.registry:
        pytest.skip(f"there is no {name}")
    net = models.registry[name](**NETS[name])
    born = leaves_of(net, SHAPE).join(
        [rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves_of(net, SHAPE)]
    )
    weights = port.state_dict(net, *born, source, x=SHAPE)
    jax.tree.map(np.testing.assert_array_equal, port.load(net, weights, source, x=SHAPE), born)


@pytest.mark.parametrize("source", FAMILIES)
def test_the_source_is_found_out(source, rng):
    """Another source's names are told from torchvision's by the names alone."""
    for name in FAMILIES[source]:
        if name not in models.registry or (name in ("resnet", "densenet121") and source == "timm"):
            continue  # timm has torchvision's own names
        net = models.registry[name](**NETS[name])
        leaves = leaves_of(net, SHAPE)
        born = leaves.join([np.zeros(leaf.shape, np.float32) for leaf in leaves])
        with pytest.raises(port.PortError) as caught:
            port.load(net, port.state_dict(net, *born, source, x=SHAPE), x=SHAPE)
        line = str(caught.value).splitlines()[1]
        assert line == f"  fix: source={source!r}: {len(leaves)} of the net's {len(leaves)} names are there"
