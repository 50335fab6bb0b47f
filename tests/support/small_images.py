"""Datasets of small images, from any of the formats that `images` reads, and the messages of those that are refused."""

import pytest

from jaxconv import data
from jaxconv._base.errors import DataError


def load(root, **arguments):
    return data.load("images", root, **{"size": 16, "in_memory": False} | arguments)


def error(root, kind=DataError, **arguments):
    with pytest.raises(kind) as caught:
        load(root, **arguments)
    return str(caught.value)
