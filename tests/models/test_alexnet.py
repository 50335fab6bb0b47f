"""AlexNet: counts as published, numbers as torch's."""

import pytest

import jaxconv as jc
from jaxconv import models

pytestmark = pytest.mark.sampled


def test_parameters_and_multiplications_as_published():
    """As torchvision 0.15 documents them; GFLOPS are multiplications with their additions (`Summary.macs`)."""
    found = jc.summary(models.alexnet(), (1, 224, 224, 3))
    assert (found.parameters, round(found.macs / 1e9, 3)) == (61_100_840, 0.714)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "hidden", "shape"),
    [(4, 20, (2, 63, 95, 3)), (64, 256, (2, 224, 224, 3))],
    ids=["narrow", "whole"],
)
def test_equals_torch(width, hidden, shape, rng):
    pytest.importorskip("torch")
    from models.parity import check
    from models.torch_nets.alexnet import alexnet

    ours = models.alexnet(7, width=width, hidden=hidden, dropout=0.0)
    check(ours, alexnet(7, width=width, hidden=hidden), shape, rng)


def test_62_pixels_are_too_few():
    with pytest.raises(jc.ShapeError) as caught:
        models.alexnet().init(None, (1, 62, 80, 3))
    assert str(caught.value).startswith("at features/12: ")
