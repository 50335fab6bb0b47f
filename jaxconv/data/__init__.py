"""Data sets as records of images, found on this machine or downloaded with their checksums."""

from jaxconv.data.dataset import Arrays, Batch, Dataset, Source
from jaxconv.data.registry import load, names

__all__ = ["Arrays", "Batch", "Dataset", "Source", "load", "names"]


def __dir__() -> list[str]:
    return sorted(__all__)
