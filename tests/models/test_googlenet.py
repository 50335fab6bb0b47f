"""GoogLeNet and Inception v3: counts as published, numbers as torch's."""

import jax
import pytest

import jaxconv as jc
from jaxconv import models

pytestmark = pytest.mark.sampled

# GFLOPS are multiplications with their additions in convolutions and dense layers, taps on padding among them:
# `Summary.macs`. Both as torchvision 0.15 documents them; its 27,161,264 parameters of Inception v3 count the side
# classifier, which is no part of ours: 1×1 768 -> 128, 5×5 128 -> 768, dense 768 -> 1000 and two norms.
SIDE = 768 * 128 + 2 * 128 + 25 * 128 * 768 + 2 * 768 + 769 * 1000
PUBLISHED = {"googlenet": (224, 6_624_904, 1.498), "inception_v3": (299, 27_161_264 - SIDE, 5.713)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_parameters_and_multiplications_as_published(name):
    size, parameters, gigas = PUBLISHED[name]
    found = jc.summary(models.registry[name](), (1, size, size, 3))
    assert (found.parameters, round(found.macs / 1e9, 3)) == (parameters, gigas)


@pytest.mark.slow
def test_a_small_googlenet_equals_torch(rng):
    pytest.importorskip("torch")
    from models.parity import check
    from models.torch_nets.googlenet import GoogLeNet

    one, two = (8, 4, 8, 4, 6, 6), (6, 4, 8, 2, 4, 8)
    net = models.googlenet(5, dropout=0.0, stages={"3": {"a": one}, "4": {}, "5": {"a": two}})
    check(net, GoogLeNet({"3": {"a": (192, *one)}, "4": {}, "5": {"a": (28, *two)}}, 26, 5), (2, 66, 75, 3), rng)


WHOLE = {
    "3": {"a": (192, 64, 96, 128, 16, 32, 32), "b": (256, 128, 128, 192, 32, 96, 64)},
    "4": {
        "a": (480, 192, 96, 208, 16, 48, 64), "b": (512, 160, 112, 224, 24, 64, 64),
        "c": (512, 128, 128, 256, 24, 64, 64), "d": (512, 112, 144, 288, 32, 64, 64),
        "e": (528, 256, 160, 320, 32, 128, 128),
    },
    "5": {"a": (832, 256, 160, 320, 32, 128, 128), "b": (832, 384, 192, 384, 48, 128, 128)},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_whole_ones_equal_torch(name, dtype, rng):
    """Values and statistics in float32, gradients in float64: so deep, rounding moves them past float32's tolerance."""
    pytest.importorskip("torch")
    from models import parity
    from models.torch_nets.googlenet import GoogLeNet, InceptionV3

    module = GoogLeNet(WHOLE, 1024, 1000) if name == "googlenet" else InceptionV3(1000)
    size = 96 if name == "googlenet" else 139
    deep = dtype == "float64"
    with jax.enable_x64(deep):
        net = models.registry[name](dropout=0.0)
        parity.check(net, module, (2, size, size, 3), rng, dtype=dtype, slopes=deep, evaluates=not deep)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "shape"),
    [("Conv2d_4a_3x3", (1, 18, 21, 192)), ("Mixed_5b", (1, 8, 10, 256)), ("Mixed_6a", (1, 3, 4, 768))],
)
def test_maps_inside_inception_v3(path, shape):
    net = models.inception_v3(upto=path)
    x = jax.ShapeDtypeStruct((1, 87, 101, 1), "float32")
    params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), x.shape))
    assert jax.eval_shape(net.apply, params, state, x)[0].shape == shape


@pytest.mark.slow
def test_an_image_that_is_too_small_for_inception_v3():
    with pytest.raises(jc.ShapeError) as caught:
        jax.eval_shape(lambda: models.inception_v3().init(jax.random.key(0), (1, 74, 75, 3)))
    assert caught.value.path[0] == "Mixed_7a"
    assert "floor((2 + 0 + 0 - 1*(3 - 1) - 1) / 2) + 1 = 0" in str(caught.value)
