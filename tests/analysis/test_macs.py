"""Multiplications and parameters of whole nets, held to a count by hooks on the same nets in torch."""

import pytest

import jaxconv as jc
from jaxconv import models

pytestmark = pytest.mark.sampled

torch = pytest.importorskip("torch")


def resnet(**words):
    from models.torch_nets.resnet import resnet

    return resnet(**words)


def cifar(name, *args):
    from models.torch_nets import resnet_cifar

    return getattr(resnet_cifar, name)(*args)


def vgg(column, batch_norm):
    from models.torch_nets.vgg import vgg

    return vgg(column, batch_norm=batch_norm)


def alexnet():
    from models.torch_nets.alexnet import alexnet

    return alexnet()


def densenet(*blocks):
    from models.torch_nets.densenet import densenet

    return densenet(blocks=blocks, growth=32, stem=64)


def googlenet():
    from models.test_googlenet import WHOLE
    from models.torch_nets.googlenet import GoogLeNet

    return GoogLeNet(WHOLE, 1024, 1000)


def inception():
    from models.torch_nets.googlenet import InceptionV3

    return InceptionV3(1000)


def mobile(name):
    from models import test_mobilenet as test
    from models.torch_nets import inverted

    if name == "v2":
        return inverted.mobilenet_v2(32, test.V2, 1280, 1000)
    return test.v3(16, *{"large": (test.LARGE, 960, 1280), "small": (test.SMALL, 576, 1024)}[name], 1000)


def efficient():
    from models.test_efficientnet import B0
    from models.torch_nets import inverted

    return inverted.efficientnet(32, B0, 1280, 1000)


def convnext():
    from models.torch_nets.convnext import ConvNeXt

    return ConvNeXt((96, 192, 384, 768), (3, 3, 9, 3), 1000)


def unet():
    from models.torch_nets.small import UNet

    return UNet(3, 2, 64, 4, same=False, norm=False)


BLOCKS = {"50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3)}
NETS = {
    "resnet18": lambda: resnet(blocks=(2, 2, 2, 2), bottleneck=False),
    "resnet34": lambda: resnet(blocks=(3, 4, 6, 3), bottleneck=False),
    "resnet50": lambda: resnet(blocks=BLOCKS["50"], bottleneck=True),
    "resnet101": lambda: resnet(blocks=BLOCKS["101"], bottleneck=True),
    "resnet152": lambda: resnet(blocks=BLOCKS["152"], bottleneck=True),
    "resnext50_32x4d": lambda: resnet(blocks=BLOCKS["50"], bottleneck=True, groups=32, width_per_group=4),
    "wide_resnet50_2": lambda: resnet(blocks=BLOCKS["50"], bottleneck=True, width_per_group=128),
    "resnet20": lambda: cifar("resnet_cifar", 20),
    "resnet56": lambda: cifar("resnet_cifar", 56),
    "wide_resnet16_8": lambda: cifar("wide_resnet", 16, 8),
    "vgg11": lambda: vgg(11, False),
    "vgg16": lambda: vgg(16, False),
    "vgg19_bn": lambda: vgg(19, True),
    "alexnet": alexnet,
    "densenet121": lambda: densenet(6, 12, 24, 16),
    "densenet201": lambda: densenet(6, 12, 48, 32),
    "googlenet": googlenet,
    "inception_v3": inception,
    "mobilenet_v2": lambda: mobile("v2"),
    "mobilenet_v3_large": lambda: mobile("large"),
    "mobilenet_v3_small": lambda: mobile("small"),
    "efficientnet_b0": efficient,
    "convnext_tiny": convnext,
    "unet": unet,
}
LONG = {
    "resnet34", "resnet56", "resnet101", "resnet152", "wide_resnet50_2", "vgg19_bn", "densenet121", "densenet201",
    "googlenet", "inception_v3", "mobilenet_v3_large", "efficientnet_b0",
}  # fmt: skip


def counted(module, shape):
    """Multiplications with their additions by module, on torch's meta device: shapes alone."""
    found = []

    def hook(layer, inputs, y):
        x = inputs[0]
        one = layer.weight[
            0
        ].numel()  # [out, in / groups, *size]; of a transposed convolution [in, out / groups, *size]
        found.append((x if isinstance(layer, torch.nn.ConvTranspose2d) else y).numel() * one)

    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear):
            layer.register_forward_hook(hook)
    module.eval()(torch.empty(shape, device="meta"))
    return sum(found), sum(p.numel() for p in module.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in LONG else []) for n in NETS])
def test_as_many_as_torch_does(name):
    height, width = (204, 220) if name == "unet" else (224, 256) if name != "inception_v3" else (299, 310)
    words = {"num_classes": 2} if name == "unet" else {}
    with torch.device("meta"):
        module = NETS[name]()
    found = jc.summary(models.registry[name](**words), (2, height, width, 3))
    assert (found.macs, found.parameters) == counted(module, (2, 3, height, width))
