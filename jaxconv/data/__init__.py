"""Data sets as records of arrays, found on this machine or downloaded with their checksums."""

from jaxconv.data.dataset import Dataset
from jaxconv.data.sources import load, names

__all__ = ["Dataset", "load", "names"]
