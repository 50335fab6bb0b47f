"""Nets of torchvision and timm themselves: every name and shape, their values, and files back and forth."""

import numpy as np
import pytest
from models.parity import check
from port.originals import build

from jaxconv import models, port
from jaxconv.port.weights.leaves import leaves_of
from jaxconv.port.weights.match import match
from jaxconv.port.weights.names import name_leaves

pytestmark = pytest.mark.sampled

torch = pytest.importorskip("torch")

# One of each kind and depth, but for those whose values are compared, too. Every other of theirs differs from one of
# these in how often a block stands in a stage.
SAME = (
    "resnet18", "resnet50", "resnet152", "resnext101_32x8d", "vgg11", "vgg19_bn", "densenet161", "convnext_base",
    "efficientnet_b5", "inception_v3",
)  # fmt: skip
SMALL = {"mobilenet_v3_small": "mobilenetv3_small_100"}
TIMM = {name: name for name in SAME} | SMALL
TORCHVISION = {name: name for name in (*SAME, *SMALL, "alexnet")}
QUICK = {"alexnet", "mobilenet_v3_small", "vgg11"}
# Theirs, and what ours is given.
VALUES = {
    ("torchvision", "densenet121"): ("densenet121", {}),
    ("torchvision", "efficientnet_b0"): ("efficientnet_b0", {}),
    ("torchvision", "googlenet"): ("googlenet", {}),
    ("timm", "convnext_tiny"): ("convnext_tiny", {}),
    ("timm", "mobilenet_v2"): ("mobilenetv2_100", {}),
    ("timm", "repvgg_a0"): ("repvgg_a0", {}),
    ("timm", "mobilenet_v3_large"): ("mobilenetv3_large_100", {"eps": 1e-5}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in TORCHVISION])
def test_every_tensor_has_its_place_and_its_shape(name):
    leaves = leaves_of(models.registry[name](1000), (1, 224, 224, 3))
    for source, names in {"torchvision": TORCHVISION, "timm": TIMM}.items():
        if name not in names:
            continue
        with torch.device("meta"):
            module = build(source, names[name])
        shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
        found = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items() if "AuxLogits" not in key}
        fit = match(leaves, name_leaves(leaves, source, found), found)
        assert (fit.missing, fit.unexpected, fit.misshapen) == ([], [], [])
        assert len(fit.arrays) == len(leaves)


@pytest.mark.slow
@pytest.mark.parametrize(("source", "name"), VALUES, ids=map("-".join, VALUES))
def test_values_are_theirs(source, name, rng):
    theirs, words = VALUES[source, name]
    net, module = models.registry[name](1000, **words), build(source, theirs)
    check(net, module, (2, 64, 67, 3), rng, train=False, source=source)


@pytest.mark.slow
def test_torchvision_reads_what_is_saved(rng, tmp_path):
    from safetensors.torch import load_file

    module, other = build("torchvision", "resnet18"), build("torchvision", "resnet18")
    net = models.resnet18(1000)
    params, state = port.load(net, module, x=(1, 64, 64, 3))
    port.save(tmp_path / "resnet18.safetensors", net, params, state, x=(1, 64, 64, 3))
    missing = other.load_state_dict(load_file(tmp_path / "resnet18.safetensors"), strict=False)
    assert not missing.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys)
    image = torch.tensor(rng.normal(size=(1, 3, 64, 64)), dtype=torch.float32)
    with torch.no_grad():
        np.testing.assert_array_equal(other.eval()(image), module.eval()(image))


@pytest.mark.slow
def test_the_eps_that_timm_trained_with_is_named(rng):
    module, net = build("timm", "mobilenetv3_small_100"), models.mobilenet_v3_small(1000)
    params, state = port.load(net, module, "timm", x=(1, 64, 64, 3))
    x = rng.normal(size=(2, 64, 64, 3)).astype("float32")
    found = port.compare(net, params, state, module, x, source="timm")
    assert (found.first.path, found.cause.fix) == ("features/0/1", "eps=1e-05")
    assert port.compare(models.mobilenet_v3_small(1000, eps=1e-5), params, state, module, x, source="timm").agrees
