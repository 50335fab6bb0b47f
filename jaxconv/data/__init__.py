"""Datasets of images, read from local files or downloaded and verified by checksum."""

from jaxconv.data.dataset import Arrays, Batch, Dataset, Source
from jaxconv.data.registry import load, names

__all__ = ["Arrays", "Batch", "Dataset", "Source", "load", "names"]


def __dir__() -> list[str]:
    return sorted(__all__)
