"""MobileNetV2 and V3: counts as published, numbers as torch's."""

import jax
import pytest

import jaxconv as jc
from jaxconv import models
from jaxconv.models._mobilenet_v3 import mobilenet_v3

pytestmark = pytest.mark.sampled

# Parameters and GFLOPS (multiplications with their additions in convolutions and dense layers, taps on padding among
# them: `Summary.macs`) at 224×224 as torchvision 0.15 documents them for its weights of these nets.
PUBLISHED = {
    "mobilenet_v2": (3_504_872, 0.301),
    "mobilenet_v3_large": (5_483_032, 0.217),
    "mobilenet_v3_small": (2_542_856, 0.057),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_multiplications_as_published(name):
    found = jc.summary(models.registry[name](), (1, 224, 224, 3))
    assert (found.parameters, round(found.macs / 1e9, 3)) == PUBLISHED[name]


# (c_in, hidden, c_out, stride) of MobileNetV2's blocks.
V2 = [
    (32, 32, 16, 1), (16, 96, 24, 2), (24, 144, 24, 1), (24, 144, 32, 2), (32, 192, 32, 1), (32, 192, 32, 1),
    (32, 192, 64, 2), (64, 384, 64, 1), (64, 384, 64, 1), (64, 384, 64, 1), (64, 384, 96, 1), (96, 576, 96, 1),
    (96, 576, 96, 1), (96, 576, 160, 2), (160, 960, 160, 1), (160, 960, 160, 1), (160, 960, 320, 1),
]  # fmt: skip

# (c_in, kernel, hidden, c_out, squeezed, hard swish?, stride) of MobileNetV3's.
LARGE = [
    (16, 3, 16, 16, 0, False, 1), (16, 3, 64, 24, 0, False, 2), (24, 3, 72, 24, 0, False, 1),
    (24, 5, 72, 40, 24, False, 2), (40, 5, 120, 40, 32, False, 1), (40, 5, 120, 40, 32, False, 1),
    (40, 3, 240, 80, 0, True, 2), (80, 3, 200, 80, 0, True, 1), (80, 3, 184, 80, 0, True, 1),
    (80, 3, 184, 80, 0, True, 1), (80, 3, 480, 112, 120, True, 1), (112, 3, 672, 112, 168, True, 1),
    (112, 5, 672, 160, 168, True, 2), (160, 5, 960, 160, 240, True, 1), (160, 5, 960, 160, 240, True, 1),
]  # fmt: skip
SMALL = [
    (16, 3, 16, 16, 8, False, 2), (16, 3, 72, 24, 0, False, 2), (24, 3, 88, 24, 0, False, 1),
    (24, 5, 96, 40, 24, True, 2), (40, 5, 240, 40, 64, True, 1), (40, 5, 240, 40, 64, True, 1),
    (40, 5, 120, 48, 32, True, 1), (48, 5, 144, 48, 40, True, 1), (48, 5, 288, 96, 72, True, 2),
    (96, 5, 576, 96, 144, True, 1), (96, 5, 576, 96, 144, True, 1),
]  # fmt: skip


def v3(stem, blocks, wide, last, classes):
    from models.torch_nets import inverted
    from torch import nn

    acts = {False: nn.ReLU(), True: inverted.HardSwish()}
    return inverted.mobilenet_v3(stem, [(*b[:5], acts[b[5]], b[6]) for b in blocks], wide, last, classes)


@pytest.mark.slow
def test_a_small_v2_equals_torch(rng):
    pytest.importorskip("torch")
    from models.parity import check
    from models.torch_nets import inverted

    net = models.mobilenet_v2(5, width=0.25, dropout=0.0, stages=((1, 16, 1, 1), (6, 24, 2, 2)))
    blocks = [(8, 8, 8, 1), (8, 48, 8, 2), (8, 48, 8, 1)]
    check(net, inverted.mobilenet_v2(8, blocks, 1280, 5), (2, 33, 40, 3), rng)


@pytest.mark.slow
def test_a_small_v3_equals_torch(rng):
    pytest.importorskip("torch")
    from models.parity import check

    rows = ((3, 16, 16, False, "relu", 1), (5, 40, 24, True, "hard_swish", 2), (3, 40, 24, True, "relu", 1))
    blocks = [(16, 3, 16, 16, 0, False, 1), (16, 5, 40, 24, 16, True, 2), (24, 3, 40, 24, 16, False, 1)]
    check(mobilenet_v3(rows, 32, 5, dropout=0.0), v3(16, blocks, 144, 32, 5), (2, 33, 40, 3), rng)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("mobilenet_v2", "float32"), ("mobilenet_v2", "float64"), ("mobilenet_v3_large", "float32"),
        ("mobilenet_v3_small", "float32"), ("mobilenet_v3_small", "float64"),
    ],
)  # fmt: skip
def test_whole_ones_equal_torch(name, dtype, rng):
    """Values and statistics in float32, gradients in float64: so deep, rounding moves them past float32's tolerance."""
    pytest.importorskip("torch")
    from models.parity import check
    from models.torch_nets import inverted

    theirs = {
        "mobilenet_v2": lambda: inverted.mobilenet_v2(32, V2, 1280, 1000),
        "mobilenet_v3_large": lambda: v3(16, LARGE, 960, 1280, 1000),
        "mobilenet_v3_small": lambda: v3(16, SMALL, 576, 1024, 1000),
    }[name]()
    deep = dtype == "float64"
    with jax.enable_x64(deep):
        net = models.registry[name](dropout=0.0)
        check(net, theirs, (2, 64, 64, 3), rng, dtype=dtype, slopes=deep, evaluates=not deep)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "weights", "macs"), [(1.4, 6.06, 582), pytest.param(0.5, 1.95, 97, marks=pytest.mark.slow)]
)
def test_other_widths_have_the_counts_that_keras_documents(width, weights, macs):
    """In millions, as `keras.applications.mobilenet_v2` lists its authors' nets; the norms' weights not among them."""
    net = models.mobilenet_v2(width=width)
    params, _ = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 224, 224, 3)))
    kernels = sum(leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim > 1)
    assert (round(kernels / 1e6, 2), round(jc.summary(net, (1, 224, 224, 3)).macs / 1e6)) == (weights, macs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "path", "shape"),
    [
        ("mobilenet_v2", "features/13", (1, 6, 5, 96)),
        ("mobilenet_v3_large", "features/12", (1, 6, 5, 112)),
        ("mobilenet_v3_small", "features/8", (1, 6, 5, 48)),
    ],
)
def test_backbones_at_stride_16(name, path, shape):
    net = models.registry[name](upto=path)
    params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 85, 66, 1)))
    assert jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 85, 66, 1), "float32"))[0].shape == shape


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v3_small"])
def test_dilated_ones_equal_torchvisions(name, rng):
    pytest.importorskip("torch")
    from models.parity import check
    from port.originals import original

    theirs = getattr(original("torchvision").models, name)(dilated=True)
    check(models.registry[name](output_stride=16), theirs, (2, 64, 67, 3), rng, train=False)


@pytest.mark.slow
def test_dilated_backbones_have_their_output_stride():
    for stride, size in ((32, (3, 3)), (16, (6, 5)), (8, (11, 9)), (4, (22, 17))):
        net = models.mobilenet_v3_large(width=0.25, output_stride=stride, upto="features/16")
        params, state = jax.eval_shape(lambda net=net: net.init(jax.random.key(0), (1, 85, 66, 3)))
        y = jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 85, 66, 3), "float32"))[0]
        assert y.shape[1:3] == size
