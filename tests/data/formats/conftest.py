"""Twelve small images, as files and as pixels."""

import numpy as np
import pytest

from jaxconv.data.decode import read_square


@pytest.fixture
def files(photographs):
    """The contents of twelve files."""
    return [path.read_bytes() for path in sorted(photographs({"a": 12}).rglob("*.jpg"))]


@pytest.fixture
def expected(photographs, files):
    """The same images, decoded and resized."""
    return np.stack([read_square(path, 16) for path in sorted(photographs({}).rglob("*.jpg"))])
