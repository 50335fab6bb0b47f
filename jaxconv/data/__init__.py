"""Datasets of images, read from local files or downloaded and verified by checksum."""

from jaxconv.data.balance import balanced_order, balanced_weights
from jaxconv.data.dataset import Arrays, Batch, Dataset, Source
from jaxconv.data.registry import load, names
from jaxconv.data.spatial import Boxes, Mask

__all__ = [
    "Arrays",
    "Batch",
    "Boxes",
    "Dataset",
    "Mask",
    "Source",
    "balanced_order",
    "balanced_weights",
    "load",
    "names",
]


def __dir__() -> list[str]:
    return sorted(__all__)
