"""A small net of every family, for what all models promise (test_contract.py). One row gets a new one all of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxconv import models


class Family(NamedTuple):
    """`arguments`: of the function in the registry. `shape`: of an input. `part`: one that gives maps on
    the way; empty where the function can leave neither head nor end out."""

    arguments: dict[str, Any]
    shape: tuple[int, ...]
    part: str
    rate: float = 3e-3  # of Adam, to learn 8 images by heart
    classes: int = 8
    batch: Callable[[Any], tuple[Any, Any]] | None = None  # generator -> images, labels, where a label is no class


FAMILIES = {
    "alexnet": Family({"width": 8, "hidden": 32, "dropout": 0.0}, (2, 63, 71, 3), "features/5", 1e-3),
    "conv_pool": Family({"features": (8, 16), "hidden": (32,)}, (2, 20, 23, 3), ""),
    "densenet": Family({"blocks": (2, 2), "growth": 4, "stem": 8}, (2, 33, 40, 3), "features/denseblock1"),
    "lenet5": Family({}, (2, 20, 23, 3), "s2"),
    "resnet": Family({"blocks": (1, 1), "width": 8}, (2, 33, 40, 3), "layer1"),
    "resnet_cifar": Family({"depth": 8, "width": 8}, (2, 13, 16, 3), "stage2"),
    "small_residual": Family({"stem": 8, "features": (8, 16)}, (2, 17, 20, 3), ""),
    "vgg": Family({"convs": (1, 1), "width": 8, "hidden": 32, "dropout": 0.0}, (2, 17, 20, 3), "features/2"),
    "wide_resnet": Family({"depth": 10, "width": 1}, (2, 13, 16, 3), "stage2"),
}


def small(name, **words):
    """The small net of a family."""
    return models.registry[name](**{**FAMILIES[name].arguments, **words})


def to_learn(name):
    """8 random images [8, H, W, C] and what the net shall say of each."""
    family, rng = FAMILIES[name], np.random.default_rng(1)
    if family.batch:
        return family.batch(rng)
    return rng.normal(size=(8, *family.shape[1:])).astype(np.float32), np.arange(8) % family.classes
