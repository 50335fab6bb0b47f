"""A layer between two convolutions, ours and torch's: it is not the first, and its input is not the images."""

import pytest
from support.weights import named

import jaxconv as jc

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


def around(layer):
    return named(jc.Conv(4, 3), layer, jc.Conv(2, 1))


def around_torch(module, channels=4):
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), module, torch.nn.Conv2d(channels, 2, 1))
