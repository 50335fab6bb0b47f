"""ResNet, ResNeXt and wide ResNet: counts as published, numbers as torch's."""

import jax
import numpy as np
import pytest

import jaxconv as jc
from jaxconv import models

pytestmark = pytest.mark.sampled

# Parameters and GFLOPS (which are multiplications with their additions in convolutions and dense layers, taps on
# padding among them: `Summary.macs`) as torchvision 0.15 documents them for its weights of these nets.
PUBLISHED = {
    "resnet18": (11_689_512, 1.814),
    "resnet34": (21_797_672, 3.664),
    "resnet50": (25_557_032, 4.089),
    "resnet101": (44_549_160, 7.801),
    "resnet152": (60_192_808, 11.514),
    "resnext50_32x4d": (25_028_904, 4.230),
    "resnext101_32x8d": (88_791_336, 16.414),
    "wide_resnet50_2": (68_883_240, 11.398),
    "wide_resnet101_2": (126_886_696, 22.753),
}
LONG = {"resnet34", "resnet101", "resnet152", "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in LONG else []) for n in PUBLISHED])
def test_parameters_and_multiplications_as_published(name):
    found = jc.summary(models.registry[name](), (1, 224, 224, 3))
    assert (found.parameters, round(found.macs / 1e9, 3)) == PUBLISHED[name]


def parity(shape, rng, words, **how):
    pytest.importorskip("torch")
    from models.parity import check
    from models.torch_nets.resnet import resnet

    check(models.resnet(7, **words), resnet(7, **words), shape, rng, **how)


SMALL = {
    "basic": {"blocks": (1, 1, 2), "bottleneck": False, "width": 4},
    "bottleneck": {"blocks": (1, 2), "bottleneck": True, "width": 4},
    "grouped": {"blocks": (1, 1), "bottleneck": True, "width": 8, "groups": 4, "width_per_group": 16},
    "wide": {"blocks": (2, 1), "bottleneck": True, "width": 4, "width_per_group": 128},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == "basic" else pytest.mark.slow) for n in SMALL])
def test_small_ones_equal_torch(name, rng):
    parity((2, 33, 40, 3), rng, SMALL[name])


WHOLE = {
    "resnet18": {"blocks": (2, 2, 2, 2), "bottleneck": False},
    "resnet50": {"blocks": (3, 4, 6, 3), "bottleneck": True},
    "resnext50_32x4d": {"blocks": (3, 4, 6, 3), "bottleneck": True, "groups": 32, "width_per_group": 4},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_whole_ones_equal_torch(name, rng):
    """50 layers' gradients are compared in float64 below."""
    parity((2, 64, 64, 3), rng, WHOLE[name], slopes=name == "resnet18")


@pytest.mark.slow
def test_whole_resnet50_equals_torch_in_float64(rng, x64):
    parity((2, 64, 64, 3), rng, WHOLE["resnet50"], dtype="float64", evaluates=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.resnet(bottleneck=False, groups=32),
         "groups and width_per_group need bottleneck blocks\n"
         "  got: bottleneck=False, groups=32, width_per_group=64\n  fix: bottleneck=True"),
        (lambda: models.resnet(blocks=(2, 0)), "blocks must be ≥ 1\n  got: blocks=0"),
        (lambda: models.resnet50(-1), "num_classes must be ≥ 0\n  got: num_classes=-1"),
        (lambda: models.resnet50(10.0), "num_classes must be an int\n  got: num_classes=10.0\n  fix: num_classes=10"),
        (lambda: models.resnet50(upto="layer5"),
         "chain has conv1, bn1, relu, maxpool, layer1, layer2, layer3, layer4, avgpool, fc\n"
         "  got: path 'layer5'; did you mean 'layer4'?"),
    ],
)  # fmt: skip
def test_messages(call, message):
    with pytest.raises(jc.ShapeError) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.slow
@pytest.mark.parametrize("bottleneck", [False, True])
def test_dilated_maps_have_the_strided_ones_at_every_second_and_fourth_pixel(bottleneck, rng):
    """Chen et al., DeepLab: convolutions with holes compute the same at more places."""
    words = {"blocks": (1, 2, 2, 2), "bottleneck": bottleneck, "width": 4, "upto": "layer4"}
    x = rng.normal(size=(1, 75, 90, 3)).astype(np.float32)
    nets = {stride: models.resnet(output_stride=stride, **words) for stride in (None, 32, 16, 8, 4)}
    params, state = nets[None].init(jax.random.key(0), x)
    maps = {stride: np.asarray(net.apply(params, state, x)[0]) for stride, net in nets.items()}
    assert maps[8].shape == (1, 10, 12, 128 if bottleneck else 32)
    for stride in (32, 16, 8, 4):
        step = 32 // stride
        np.testing.assert_allclose(maps[stride][:, ::step, ::step], maps[None], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [2, 12, 0, -8])
def test_an_output_stride_is_a_power_of_2(stride):
    with pytest.raises(jc.ShapeError) as caught:
        models.resnet18(output_stride=stride)
    assert str(caught.value) == f"output_stride must be a power of 2, at least 4\n  got: output_stride={stride}"
