"""The residual nets of CIFAR-10 and the wide ones: counts as published, numbers as torch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import quick

import jaxconv as jc
from jaxconv import models

pytestmark = pytest.mark.sampled

IMAGE = (1, 32, 32, 3)
# Parameters in millions: He et al. 2015, table 6.
MILLIONS = {"resnet20": 0.27, "resnet32": 0.46, "resnet44": 0.66, "resnet56": 0.85, "resnet110": 1.7}
# Multiplications in hundred millions: Li et al., Pruning Filters for Efficient ConvNets, 2017, table 1.
PRUNED = {"resnet56": 1.25, "resnet110": 2.53}
LONG = {"resnet44", "resnet56", "resnet110", "wide_resnet40_4"}


def named(names):
    return [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in names]


def by_hand(depth, made, wider, shortcut):
    """Multiplications of (depth - wider) / 6 blocks a stage: each block two 3×3, a 1×1 where the shape changes."""
    blocks, seen = (depth - wider) // 6, 16
    total = 32 * 32 * 9 * 3 * 16
    for features, side in zip(made, (32, 16, 8), strict=True):
        project = shortcut and features != seen
        total += side**2 * (9 * seen * features + (2 * blocks - 1) * 9 * features**2 + project * seen * features)
        seen = features
    return total + 10 * seen


@pytest.mark.parametrize("name", named(MILLIONS))
def test_counts_of_the_papers_nets(name):
    found, depth = jc.summary(models.registry[name](), IMAGE), int(name.removeprefix("resnet"))
    assert round(found.parameters / 1e6, 1 if depth == 110 else 2) == MILLIONS[name]
    assert found.macs == by_hand(depth, (16, 32, 64), 2, False)
    if name in PRUNED:
        assert round(found.macs / 1e8, 2) == PRUNED[name]


def test_option_b_has_a_convolution_in_each_shortcut():
    """272,474 parameters in all, as the ResNet-20s of the public zoos that use it say."""
    found = jc.summary(models.resnet_cifar(20, shortcut="B"), IMAGE)
    assert (found.parameters, found.macs) == (272_474, by_hand(20, (16, 32, 64), 2, True))


# Zagoruyko and Komodakis 2016, table 4: parameters in millions.
WIDE = {"wide_resnet28_10": 36.5, "wide_resnet40_4": 8.9, "wide_resnet16_8": 11.0}


@pytest.mark.parametrize("name", named(WIDE))
def test_counts_of_wide_nets(name):
    found = jc.summary(models.registry[name](), IMAGE)
    depth, width = map(int, name.removeprefix("wide_resnet").split("_"))
    assert round(found.parameters / 1e6, 1) == WIDE[name]
    assert found.macs == by_hand(depth, [16 * width, 32 * width, 64 * width], 4, True)


def test_option_a_takes_every_second_pixel_and_adds_zeros(rng):
    x = rng.normal(size=(2, 5, 6, 3)).astype(np.float32)
    y = np.asarray(models.resnet_cifar(8, width=3).parts["stage2"].parts["0"].parts["downsample"].apply({}, {}, x)[0])
    assert y.shape == (2, 3, 3, 6)
    for n, i, j, c in np.ndindex(2, 3, 3, 3):
        assert y[n, i, j, c] == x[n, 2 * i, 2 * j, c]
        assert y[n, i, j, 3 + c] == 0


def parity(ours, name, words, shape, rng, **how):
    pytest.importorskip("torch")
    from models import parity
    from models.torch_nets import resnet_cifar

    parity.check(ours, getattr(resnet_cifar, name)(**words), shape, rng, **how)


@pytest.mark.slow
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_small_ones_equal_torch(shortcut, rng):
    words = {"depth": 8, "width": 4, "shortcut": shortcut}
    parity(models.resnet_cifar(num_classes=7, **words), "resnet_cifar", words | {"classes": 7}, (2, 13, 16, 3), rng)


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "width"), [(10, 2), (16, 1)])
def test_small_wide_ones_equal_torch(depth, width, rng):
    """Of width 1 the first stage has no shortcut of its own."""
    words = {"depth": depth, "width": width}
    parity(models.wide_resnet(num_classes=7, **words), "wide_resnet", words | {"classes": 7}, (2, 11, 12, 3), rng)


@pytest.mark.slow
def test_whole_ones_equal_torch(rng):
    """Their gradients are compared in float64 below."""
    parity(models.resnet56(), "resnet_cifar", {"depth": 56}, (2, 32, 32, 3), rng, slopes=False)
    parity(models.wide_resnet16_8(), "wide_resnet", {"depth": 16, "width": 8}, (2, 16, 16, 3), rng, slopes=False)


@pytest.mark.slow
def test_whole_ones_equal_torch_in_float64(rng, x64):
    parity(models.resnet56(), "resnet_cifar", {"depth": 56}, (2, 32, 32, 3), rng, dtype="float64")
    words = {"depth": 16, "width": 8}
    parity(models.wide_resnet16_8(), "wide_resnet", words, (2, 16, 16, 3), rng, dtype="float64")


def test_dropout_stands_between_the_convolutions_of_a_wide_block(rng):
    net = models.wide_resnet(10, 1, dropout=0.5, upto="stage1")
    assert list(net.parts["stage1"].parts["0"].parts) == ["bn1", "relu", "conv1", "bn2", "dropout", "conv2"]
    x = rng.normal(size=(2, 5, 5, 3)).astype(np.float32)
    params, state = net.init(jax.random.key(0), x)

    def run(seed):
        return net.apply(params, state, x, key=jax.random.key(seed), train=True)[0]

    one, two = jax.jit(jax.vmap(run), compiler_options=quick.QUICK)(jnp.arange(2))
    assert np.abs(one - two).max() > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.resnet_cifar(18), "depth must be 6n + 2 for n blocks in each stage\n  got: depth=18\n"
         "  fix: 14 or 20"),
        (lambda: models.wide_resnet(4, 2), "depth must be 6n + 4 for n blocks in each stage\n  got: depth=4\n"
         "  fix: 10"),
        (lambda: models.wide_resnet(28, 0), "width must be ≥ 1\n  got: width=0"),
        (lambda: models.resnet_cifar(20, shortcut="C"), 'shortcut must be "A" or "B"\n  got: shortcut=\'C\''),
    ],
)  # fmt: skip
def test_messages(call, message):
    with pytest.raises(jc.ShapeError) as caught:
        call()
    assert str(caught.value) == message
