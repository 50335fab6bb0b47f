"""A small net of every family, for what all models promise (test_contract.py). One row gets a new one all of it."""

from typing import Any, NamedTuple

import numpy as np

from jaxconv import models


class Family(NamedTuple):
    """`arguments`: of the function in the registry. `shape`: of an input. `part`: one that gives maps on the way;
    empty where the function can leave neither head nor end out. `says`: of what it gives logits ("classes" of an
    image, "pixels", or "regions": pixels, but resized from coarser maps), or that it gives the "image" again. `rate`:
    of Adam, to learn 8 images by heart. `dtype`: in which forms of the same program are compared; norms over one or
    two pixels make much of float32's rounding."""

    arguments: dict[str, Any]
    shape: tuple[int, ...]
    part: str
    says: str = "classes"
    rate: float = 3e-3
    dtype: str = "float32"


ENCODER = {"name": "resnet", "blocks": [1, 1, 1], "width": 8}
SIX = (8, 8, 12, 4, 4, 4)  # an Inception module
FAMILIES = {
    "airbench": Family({"widths": (8, 16, 16)}, (2, 17, 20, 3), "group1"),
    "alexnet": Family({"width": 8, "hidden": 32, "dropout": 0.0}, (2, 63, 71, 3), "features/5", rate=1e-3),
    "autoencoder": Family({"code": 64, "widths": (32, 64)}, (2, 7, 8, 3), "encode2", "image"),
    "conv_pool": Family({"features": (8, 16), "hidden": (32,)}, (2, 20, 23, 3), ""),
    "convnext": Family({"widths": (8, 16), "depths": (1, 1), "drop_path": 0.0}, (2, 33, 40, 3), "features/1"),
    "deeplabv3": Family(
        {"encoder": ENCODER, "width": 16, "rates": (1, 2), "dropout": 0.0}, (2, 33, 40, 3), "backbone/layer1", "regions"
    ),
    "deeplabv3_plus": Family(
        {"encoder": ENCODER, "width": 16, "skip_width": 4, "rates": (1, 2), "dropout": 0.0},
        (2, 33, 40, 3),
        "backbone/layer1",
        "regions",
    ),
    "densenet": Family({"blocks": (2, 2), "growth": 4, "stem": 8}, (2, 33, 40, 3), "features/denseblock1"),
    "efficientnet": Family(
        {"width": 0.5, "stages": ((1, 3, 16, 1, 1), (6, 5, 40, 2, 2)), "dropout": 0.0, "drop_path": 0.0},
        (2, 33, 40, 3),
        "features/1",
    ),
    "encoder_unet": Family({"encoder": ENCODER, "width": 4}, (2, 33, 40, 3), "expand2", "regions", 1e-2),
    "fcn": Family({"encoder": ENCODER, "dropout": 0.0}, (2, 33, 40, 3), "backbone/layer1", "regions"),
    "fpn": Family(
        {"encoder": ENCODER, "width": 16, "head_width": 16, "groups": 4}, (2, 33, 40, 3), "backbone/layer1", "regions"
    ),
    "googlenet": Family({"dropout": 0.0, "stages": {"3": {"a": SIX}, "4": {"a": SIX}}}, (2, 33, 40, 3), "conv3"),
    "inception_v3": Family({"width": 0.1, "dropout": 0.0}, (2, 75, 79, 3), "Mixed_5b", dtype="float64"),
    "lenet5": Family({}, (2, 20, 23, 3), "s2"),
    "lraspp": Family(
        {"encoder": {"name": "mobilenet_v3_small", "width": 0.25}, "width": 16}, (2, 33, 40, 3), "backbone/1", "regions"
    ),
    "mobilenet_v2": Family(
        {"width": 0.5, "stages": ((1, 16, 1, 1), (6, 24, 2, 2)), "dropout": 0.0}, (2, 33, 40, 3), "features/1"
    ),
    "mobilenet_v3_small": Family({"width": 0.25, "dropout": 0.0}, (2, 33, 40, 3), "features/1"),
    "pspnet": Family(
        {"encoder": ENCODER, "width": 16, "sizes": (1, 2), "dropout": 0.0}, (2, 33, 40, 3), "backbone/layer1", "regions"
    ),
    "repvgg": Family({"blocks": (1, 2), "widths": (8, 16)}, (2, 33, 40, 3), "stages/0"),
    "resnet": Family({"blocks": (1, 1), "width": 8}, (2, 33, 40, 3), "layer1"),
    "resnet_cifar": Family({"depth": 8, "width": 8}, (2, 13, 16, 3), "stage2"),
    "small_residual": Family({"stem": 8, "features": (8, 16)}, (2, 17, 20, 3), ""),
    "unet": Family({"width": 8, "depth": 2, "padding": "same"}, (2, 13, 16, 3), "bottom", "pixels"),
    "vgg": Family({"convs": (1, 1), "width": 8, "hidden": 32, "dropout": 0.0}, (2, 17, 20, 3), "features/2"),
    "wide_resnet": Family({"depth": 10, "width": 1}, (2, 13, 16, 3), "stage2"),
}


def small(name, **words):
    """The small net of a family."""
    return models.registry[name](**{**FAMILIES[name].arguments, **words})


def said(name):
    """What a model says: as its own row, or another model of its module."""
    module = models.registry[name].__module__
    rows = (row for other, row in FAMILIES.items() if models.registry[other].__module__ == module)
    return FAMILIES.get(name, next(rows)).says


def to_learn(name):
    """8 random images [8, H, W, C], and what the net shall say of them: a class each, also at each pixel, of each pixel
    whether its first channel is positive, or the images themselves."""
    family, rng = FAMILIES[name], np.random.default_rng(1)
    x = rng.normal(size=(8, *family.shape[1:])).astype(np.float32)
    classes = np.arange(8)
    regions = np.broadcast_to(classes[:, None, None], x.shape[:3])
    return x, {"classes": classes, "regions": regions, "pixels": (x[..., 0] > 0).astype(int), "image": x}[family.says]
