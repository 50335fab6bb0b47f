"""Model zoo: each network is a function that returns a `Layer`."""

import inspect
from collections.abc import Callable

from jaxconv._base.deprecation import renamed_arguments
from jaxconv.layers.layer import Layer
from jaxconv.models._airbench import airbench
from jaxconv.models._airbench import whitening_kernel as whitening_kernel
from jaxconv.models._alexnet import alexnet
from jaxconv.models._autoencoder import autoencoder
from jaxconv.models._conv_pool import conv_pool
from jaxconv.models._convnext import convnext, convnext_base, convnext_small, convnext_tiny
from jaxconv.models._deeplab import (
    deeplabv3,
    deeplabv3_mobilenet_v3_large,
    deeplabv3_plus,
    deeplabv3_resnet50,
    deeplabv3_resnet101,
)
from jaxconv.models._densenet import densenet, densenet121, densenet161, densenet169, densenet201
from jaxconv.models._efficientnet import (
    efficientnet,
    efficientnet_b0,
    efficientnet_b1,
    efficientnet_b2,
    efficientnet_b3,
    efficientnet_b4,
    efficientnet_b5,
    efficientnet_b6,
    efficientnet_b7,
)
from jaxconv.models._fcn import fcn, fcn_resnet50, fcn_resnet101
from jaxconv.models._fpn import fpn
from jaxconv.models._googlenet import googlenet
from jaxconv.models._inception_v3 import inception_v3
from jaxconv.models._lenet import lenet5
from jaxconv.models._lraspp import lraspp, lraspp_mobilenet_v3_large
from jaxconv.models._mobilenet_v2 import mobilenet_v2
from jaxconv.models._mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from jaxconv.models._pspnet import pspnet
from jaxconv.models._repvgg import (
    repvgg,
    repvgg_a0,
    repvgg_a1,
    repvgg_a2,
    repvgg_b0,
    repvgg_b1,
    repvgg_b2,
    repvgg_b3,
)
from jaxconv.models._residual import small_residual
from jaxconv.models._resnet import (
    resnet,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
    resnext101_32x8d,
    wide_resnet50_2,
    wide_resnet101_2,
)
from jaxconv.models._resnet_cifar import (
    resnet20,
    resnet32,
    resnet44,
    resnet56,
    resnet110,
    resnet_cifar,
    wide_resnet,
    wide_resnet16_8,
    wide_resnet28_10,
    wide_resnet40_4,
)
from jaxconv.models._unet import encoder_unet, unet
from jaxconv.models._vgg import vgg, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn

__all__ = [
    "airbench",
    "alexnet",
    "autoencoder",
    "conv_pool",
    "convnext", "convnext_base", "convnext_small", "convnext_tiny",
    "deeplabv3", "deeplabv3_mobilenet_v3_large", "deeplabv3_plus", "deeplabv3_resnet50", "deeplabv3_resnet101",
    "densenet", "densenet121", "densenet161", "densenet169", "densenet201",
    "efficientnet", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4",
    "efficientnet_b5", "efficientnet_b6", "efficientnet_b7",
    "encoder_unet",
    "fcn", "fcn_resnet50", "fcn_resnet101",
    "fpn",
    "googlenet",
    "inception_v3",
    "lenet5",
    "lraspp", "lraspp_mobilenet_v3_large",
    "mobilenet_v2",
    "mobilenet_v3_large", "mobilenet_v3_small",
    "pspnet",
    "registry",
    "repvgg", "repvgg_a0", "repvgg_a1", "repvgg_a2", "repvgg_b0", "repvgg_b1", "repvgg_b2", "repvgg_b3",
    "resnet", "resnet18", "resnet20", "resnet32", "resnet34", "resnet44", "resnet50", "resnet56", "resnet101",
    "resnet110", "resnet152", "resnet_cifar", "resnext50_32x4d", "resnext101_32x8d",
    "small_residual",
    "unet",
    "vgg", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
    "wide_resnet", "wide_resnet16_8", "wide_resnet28_10", "wide_resnet40_4", "wide_resnet50_2", "wide_resnet101_2",
]  # fmt: skip

_RENAMED = {"classes": "num_classes", "size": "kernel_size", "features": "upto", "maps": "widths"}
for _name in __all__:
    if _name != "registry":
        _parameters = inspect.signature(globals()[_name]).parameters
        _old = {old: new for old, new in _RENAMED.items() if new in _parameters and old not in _parameters}
        globals()[_name] = renamed_arguments(**_old)(globals()[_name])

# Values of net.name in a config file: the function names above.
registry: dict[str, Callable[..., Layer]] = {name: globals()[name] for name in __all__ if name != "registry"}


def __dir__() -> list[str]:
    return sorted(__all__)
