"""U-Net: the paper's figure by hand, numbers as torch's, sizes of both paddings."""

import jax
import pytest

import jaxconv as jc
from jaxconv import models

pytestmark = pytest.mark.sampled

# Figure 1 of the paper: height of the maps after each 3×3 convolution, the channels that it gets and gives.
DOWN = [
    (570, 1, 64), (568, 64, 64), (282, 64, 128), (280, 128, 128), (138, 128, 256), (136, 256, 256),
    (66, 256, 512), (64, 512, 512), (30, 512, 1024), (28, 1024, 1024),
]  # fmt: skip
UP = [
    (54, 1024, 512), (52, 512, 512), (102, 512, 256), (100, 256, 256), (198, 256, 128), (196, 128, 128),
    (390, 128, 64), (388, 64, 64),
]  # fmt: skip
# The 2×2 convolutions on the way up: height of the maps that come, channels.
UPWARD = [(28, 1024, 512), (52, 512, 256), (100, 256, 128), (196, 128, 64)]


def test_the_papers_figure_by_hand():
    found = jc.summary(models.unet(), (1, 572, 572, 1))
    weights = sum(9 * a * b + b for _, a, b in DOWN + UP) + sum(4 * a * b + b for _, a, b in UPWARD) + 64 * 2 + 2
    macs = sum(n * n * 9 * a * b for n, a, b in DOWN + UP) + sum(n * n * 4 * a * b for n, a, b in UPWARD)
    assert weights == 31_030_658
    assert (found.parameters, found.macs) == (weights, macs + 388 * 388 * 64 * 2)
    heights = {row.path: row.output[1] for row in found.rows if row.path.rpartition("/")[2] in ("conv0", "conv1")}
    assert list(heights.values()) == [n for n, _, _ in DOWN + UP]
    assert found.rows[-1].output == (1, 388, 388, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "shape"),
    [
        ({"padding": "valid"}, (2, 45, 54, 3)),
        ({"padding": "same", "batch_norm": True}, (2, 21, 30, 3)),
    ],
    ids=["valid", "same, norms"],
)
def test_a_small_one_equals_torch(words, shape, rng):
    pytest.importorskip("torch")
    from models.parity import check
    from models.torch_nets.small import UNet

    net = models.unet(3, width=4, depth=2, **words)
    module = UNet(3, 3, 4, 2, same=words["padding"] == "same", norm="batch_norm" in words)
    check(net, module, shape, rng)


@pytest.mark.slow
def test_same_gives_a_logit_for_every_pixel_of_any_image():
    net = models.unet(5, width=2, depth=3, padding="same")
    for shape in ((1, 8, 8, 1), (2, 9, 31, 3), (1, 5, 11, 2), (1, 10, 32, 3)):
        params, state = jax.eval_shape(lambda shape=shape: net.init(jax.random.key(0), shape))
        y, _ = jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct(shape, "float32"))
        assert y.shape == (*shape[:3], 5)


def test_the_end_that_is_asked_for():
    shapes = {"bottom": (1, 4, 4, 16), "expand2": (1, 4, 4, 8), None: (1, 4, 4, 4)}
    for path, shape in shapes.items():
        net = models.unet(0, width=4, depth=2, upto=path)
        params, state = jax.eval_shape(lambda net=net: net.init(jax.random.key(0), (1, 44, 44, 1)))
        y, _ = jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 44, 44, 1), "float32"))
        assert (path, y.shape) == (path, shape)


def test_dropout_is_at_the_end_of_the_contracting_path():
    net = models.unet(dropout=0.5, width=2, depth=1, padding="same")
    assert list(net.parts["bottom"].parts)[-1] == "dropout0"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: models.unet(padding="full"),
            'padding of a U-Net must be "valid" or "same"\n  got: padding=\'full\'',
        ),
        (lambda: models.unet(depth=0), "depth must be ≥ 1\n  got: depth=0"),
        (
            lambda: jax.eval_shape(lambda: models.unet().init(jax.random.key(0), (1, 139, 139, 1))),
            "at bottom/conv1: conv: a kernel of 3 must fit into the padded input of 2 + 0 + 0 cells on spatial axis 0\n"
            "  got: spatial shape (2, 2); out = floor((2 + 0 + 0 - 1*(3 - 1) - 1) / 1) + 1 = 0\n"
            "  fix: a larger input, a kernel of at most 2, or padding='same'",
        ),
    ],
)
def test_messages(call, message):
    with pytest.raises(jc.ShapeError) as caught:
        call()
    assert str(caught.value) == message
