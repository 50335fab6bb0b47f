"""VGG: counts as published, numbers as torch's."""

import pytest

import jaxconv as jc
from jaxconv import models

pytestmark = pytest.mark.sampled

# Parameters and GFLOPS (multiplications with their additions, taps on padding among them: `Summary.macs`) as
# torchvision 0.15 documents them for its weights of these nets.
PUBLISHED = {
    "vgg11": (132_863_336, 7.609),
    "vgg13": (133_047_848, 11.308),
    "vgg16": (138_357_544, 15.470),
    "vgg19": (143_667_240, 19.632),
    "vgg11_bn": (132_868_840, 7.609),
    "vgg13_bn": (133_053_736, 11.308),
    "vgg16_bn": (138_365_992, 15.470),
    "vgg19_bn": (143_678_248, 19.632),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_multiplications_as_published(name):
    found = jc.summary(models.registry[name](), (1, 224, 224, 3))
    assert (found.parameters, round(found.macs / 1e9, 3)) == PUBLISHED[name]


CONVS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
# 33×48 comes to maps of 1×1, which the average brings to 7×7; 300×230 to 9×7.
NARROW = [
    (11, False, (2, 33, 48, 3)),
    (11, True, (2, 64, 48, 3)),
    (13, True, (2, 64, 64, 1)),
    (16, False, (1, 300, 230, 3)),
    (19, True, (2, 64, 64, 3)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("column", "batch_norm", "shape"), NARROW)
def test_narrow_ones_equal_torch(column, batch_norm, shape, rng):
    pytest.importorskip("torch")
    from models.parity import check
    from models.torch_nets.vgg import vgg

    words = {"batch_norm": batch_norm, "hidden": 20}
    ours = models.vgg(7, convs=CONVS[column], width=4, dropout=0.0, **words)
    check(ours, vgg(column, 7, narrow=16, channels=shape[-1], **words), shape, rng)


def test_an_image_that_is_too_small_is_refused_where_a_pool_finds_nothing():
    with pytest.raises(jc.ShapeError) as caught:
        models.vgg11().init(None, (1, 31, 40, 3))
    assert str(caught.value).startswith("at features/20: ")


def test_the_last_hidden_units_are_features():
    net = models.vgg(num_classes=10, convs=(1,), width=2, hidden=6, upto="classifier/4")
    assert list(net.parts["classifier"].parts) == ["0", "1", "2", "3", "4"]
