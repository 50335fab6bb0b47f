"""DenseNet: counts as published, numbers as torch's."""

import jax
import pytest

import jaxconv as jc
from jaxconv import models

pytestmark = pytest.mark.sampled

# Parameters and GFLOPS (multiplications with their additions, taps on padding among them: `Summary.macs`) as
# torchvision 0.15 documents them for its weights of these nets.
PUBLISHED = {
    "densenet121": (7_978_856, 2.834),
    "densenet161": (28_681_000, 7.728),
    "densenet169": (14_149_480, 3.360),
    "densenet201": (20_013_928, 4.291),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_multiplications_as_published(name):
    found = jc.summary(models.registry[name](), (1, 224, 224, 3))
    assert (found.parameters, round(found.macs / 1e9, 3)) == PUBLISHED[name]


WHOLE = {"blocks": (6, 12, 24, 16), "growth": 32, "stem": 64}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "shape"),
    [
        ({"blocks": (1, 3), "growth": 4, "stem": 6}, (2, 33, 40, 3)),
        (WHOLE, (2, 64, 64, 3)),
    ],
    ids=["narrow", "whole"],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equals_torch(words, shape, dtype, rng):
    """Values and statistics in float32, gradients in float64: torch's own in float32 is as far from them as ours."""
    pytest.importorskip("torch")
    from models.parity import check
    from models.torch_nets.densenet import densenet

    deep = dtype == "float64"
    with jax.enable_x64(deep):
        net = models.densenet(7, **words)
        check(net, densenet(7, **words), shape, rng, dtype=dtype, slopes=deep, evaluates=not deep)


def test_28_pixels_are_too_few():
    with pytest.raises(jc.ShapeError) as caught:
        models.densenet(blocks=(1, 1, 1, 1), growth=1, stem=1).init(None, (1, 28, 40, 3))
    assert str(caught.value).startswith("at features/transition3/pool: ")
