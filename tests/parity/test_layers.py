"""Layers, small nets and initializers that torch has too: values and gradients in float64."""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.layers import initializers

torch = pytest.importorskip("torch")
nn = torch.nn
from support.sides import compare, first, last, random_like, torch_params, weight  # noqa: E402  (it needs torch)

pytestmark = [pytest.mark.usefixtures("x64"), pytest.mark.sampled]


# ---------------------------------------------------------------- layers


class Row(NamedTuple):
    """A layer, torch's module for it, and our input's shape. `rank`: spatial axes; 0 where both want channels last."""

    ours: Callable[[], jc.Layer]
    theirs: Callable[[], Any]
    shape: tuple[int, ...] = (2, 7, 5, 4)
    rank: int = 2


def same(**words):
    return {"padding": "same", **words}


LAYERS = {
    "Conv": Row(lambda: jc.Conv(3, 3), lambda: nn.Conv2d(4, 3, 3)),
    "Conv no bias": Row(
        lambda: jc.Conv(6, (3, 2), stride=(2, 1), padding=((1, 1), (0, 0)), groups=2, bias=False),
        lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2, bias=False),
    ),
    "Conv 1d wrap": Row(
        lambda: jc.Conv(3, (5,), padding_mode="wrap", dilation=2, padding=3),
        lambda: nn.Conv1d(4, 3, 5, padding_mode="circular", dilation=2, padding=3),
        (2, 9, 4), 1,
    ),
    "Conv same reflect": Row(
        lambda: jc.Conv(3, (4, 3), padding_mode="reflect", padding="same", dilation=(1, 2)),
        lambda: nn.Conv2d(4, 3, (4, 3), padding_mode="reflect", padding="same", dilation=(1, 2)),
    ),
    "Conv 3d same edge": Row(
        lambda: jc.Conv(3, (2, 3, 4), padding_mode="edge", padding="same"),
        lambda: nn.Conv3d(4, 3, (2, 3, 4), padding_mode="replicate", padding="same"),
        (2, 3, 4, 5, 4), 3,
    ),
    "Conv 3d same wrap": Row(
        lambda: jc.Conv(4, 2, padding_mode="wrap", padding="same", groups=4),
        lambda: nn.Conv3d(4, 4, 2, padding_mode="circular", padding="same", groups=4),
        (2, 3, 4, 3, 4), 3,
    ),
    "ConvTranspose": Row(
        lambda: jc.ConvTranspose(6, 3, stride=2, padding=1, output_padding=1, groups=2),
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
    ),
    "ConvTranspose 1d": Row(
        lambda: jc.ConvTranspose(3, (4,), stride=3, dilation=2, bias=False),
        lambda: nn.ConvTranspose1d(4, 3, 4, stride=3, dilation=2, bias=False),
        (2, 4, 4), 1,
    ),
    "ConvTranspose 3d": Row(
        lambda: jc.ConvTranspose(3, (2, 3, 1), stride=2), lambda: nn.ConvTranspose3d(4, 3, (2, 3, 1), stride=2),
        (2, 2, 3, 2, 4), 3,
    ),
    "adjoint": Row(  # of Conv2d(3, 4, 3, stride 2, padding 1) on 8×5: output_padding tells 8 from 7
        lambda: jc.adjoint(jc.Conv(4, 3, stride=2, padding=1), (1, 8, 5, 3)),
        lambda: nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=(1, 0)),
        (2, 4, 3, 4),
    ),
    "DepthwiseConv": Row(lambda: jc.DepthwiseConv(3, **same()), lambda: nn.Conv2d(4, 4, 3, groups=4, **same())),
    "DepthwiseConv x3": Row(
        lambda: jc.DepthwiseConv((3,), multiplier=3, stride=2), lambda: nn.Conv1d(4, 12, 3, groups=4, stride=2),
        (2, 9, 4), 1,
    ),
    "SeparableConv": Row(
        lambda: jc.SeparableConv(5, 3, multiplier=2, stride=2, padding=1),
        lambda: named(
            depthwise=nn.Conv2d(4, 8, 3, groups=4, stride=2, padding=1, bias=False), pointwise=nn.Conv2d(8, 5, 1)
        ),
    ),
    "SeparableConv middle": Row(
        lambda: jc.SeparableConv(5, 3, middle=jc.chain(norm=jc.GroupNorm(2), act=jax.nn.relu)),
        lambda: named(
            depthwise=nn.Conv2d(4, 4, 3, groups=4, bias=False),
            middle=named(norm=nn.GroupNorm(2, 4), act=nn.ReLU()),
            pointwise=nn.Conv2d(4, 5, 1),
        ),
    ),
    "SpatiallySeparableConv": Row(
        lambda: jc.SpatiallySeparableConv(3, (3, 2), stride=(2, 1), padding=((1, 1), (0, 0))),
        lambda: named(
            axis0=nn.Conv2d(4, 3, (3, 1), stride=(2, 1), padding=(1, 0), bias=False), axis1=nn.Conv2d(3, 3, (1, 2))
        ),
    ),
    "Dense": Row(lambda: jc.Dense(7), lambda: nn.Linear(5, 7), (3, 5), 0),
    "Dense on maps": Row(lambda: jc.Dense(3, bias=False), lambda: nn.Linear(4, 3, bias=False), rank=0),
    "GroupNorm": Row(lambda: jc.GroupNorm(2), lambda: nn.GroupNorm(2, 4)),
    "GroupNorm of one": Row(lambda: jc.GroupNorm(1, eps=0.1, bias=False), lambda: nn.GroupNorm(1, 4, 0.1, bias=False)),
    "LayerNorm": Row(lambda: jc.LayerNorm(), lambda: nn.LayerNorm(4), rank=0),
    "LayerNorm no bias": Row(lambda: jc.LayerNorm(bias=False), lambda: nn.LayerNorm(4, bias=False), rank=0),
    "InstanceNorm": Row(lambda: jc.InstanceNorm(), lambda: nn.InstanceNorm2d(4, affine=True)),
    "InstanceNorm plain": Row(
        lambda: jc.InstanceNorm(scale=False, bias=False), lambda: nn.InstanceNorm1d(4), (2, 7, 4), 1
    ),
    "RMSNorm": Row(lambda: jc.RMSNorm(), lambda: nn.RMSNorm(4, eps=1e-6), rank=0),
    "LocalResponseNorm": Row(lambda: jc.LocalResponseNorm(3, alpha=0.2), lambda: nn.LocalResponseNorm(3, 0.6, k=2.0)),
    "MaxPool": Row(lambda: jc.MaxPool(3, stride=2, padding=1), lambda: nn.MaxPool2d(3, stride=2, padding=1)),
    "MaxPool ceil": Row(lambda: jc.MaxPool(2, ceil_mode=True), lambda: nn.MaxPool2d(2, ceil_mode=True)),
    "AvgPool": Row(  # torch counts the padding unless told not to, we the cells
        lambda: jc.AvgPool(3, stride=2, padding=1),
        lambda: nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False),
    ),
    "AvgPool padded": Row(
        lambda: jc.AvgPool(3, stride=2, padding=1, ceil_mode=True, count_include_pad=True),
        lambda: nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True),
    ),
    "LpPool": Row(lambda: jc.LpPool(2, p=4, stride=1), lambda: nn.LPPool2d(4, 2, stride=1)),
    "L2Pool": Row(lambda: jc.L2Pool(2, stride=(1, 2)), lambda: nn.LPPool2d(2, 2, stride=(1, 2))),
    "AdaptiveAvgPool": Row(lambda: jc.AdaptiveAvgPool((3, 8)), lambda: nn.AdaptiveAvgPool2d((3, 8))),
    "AdaptiveMaxPool": Row(lambda: jc.AdaptiveMaxPool(3), lambda: nn.AdaptiveMaxPool2d(3)),
}  # fmt: skip


def named(**modules):
    return nn.Sequential(OrderedDict(modules))


def check(row, rng, assert_close, train=False):
    layer, module = row.ours(), row.theirs().double().train(train)
    x = jax.ShapeDtypeStruct(row.shape, "float64")
    shapes, running = jax.eval_shape(lambda key: layer.init(key, x), jax.random.key(0))
    params, state = random_like(shapes, rng), jax.tree.map(np.square, random_like(running, rng))
    expected = {name: tuple(p.shape) for name, p in module.named_parameters()}
    assert {name: p.shape for name, p in torch_params(jax.tree.map(torch.tensor, params)).items()} == expected

    def theirs(params, x):
        values = {**torch_params(params), **torch_params(jax.tree.map(torch.tensor, state))}
        y = torch.func.functional_call(module, values, first(x, row.rank))
        return last(y, row.rank) if y.ndim > 2 else y

    args = (params, rng.normal(size=row.shape))
    compare(lambda params, x: layer.apply(params, state, x, train=train)[0], theirs, args, rng, assert_close)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", LAYERS)
def test_layer(name, rng, assert_close):
    check(LAYERS[name], rng, assert_close)


# ---------------------------------------------------------------- small nets


class ChannelsLast(nn.Module):
    """What torch needs before it flattens as we do: pixel by pixel."""

    def forward(self, x):
        return x.movedim(1, -1)


class Block(nn.Module):
    """body(x) + shortcut(x), and two branches on the same channels."""

    def __init__(self):
        super().__init__()
        self.body = named(
            reduce=nn.Conv2d(4, 2, 1, bias=False), norm=nn.BatchNorm2d(2), act=nn.ReLU(),
            expand=nn.Conv2d(2, 6, 3, stride=2, padding=1),
        )  # fmt: skip
        self.shortcut = nn.ModuleDict({"wide": nn.Conv2d(4, 4, 1, stride=2), "deep": nn.Conv2d(4, 2, 1, stride=2)})

    def forward(self, x):
        return self.body(x) + torch.cat([part(x) for part in self.shortcut.values()], 1)


NETS = {
    "LeNet": Row(
        lambda: jc.chain(
            conv=jc.Conv(3, (3, 2), bias=False), norm=jc.BatchNorm(), tanh=jnp.tanh, pool=jc.MaxPool(2),
            flat=jc.flatten, head=jc.Dense(5),
        ),
        lambda: named(
            conv=nn.Conv2d(4, 3, (3, 2), bias=False), norm=nn.BatchNorm2d(3), tanh=nn.Tanh(), pool=nn.MaxPool2d(2),
            turn=ChannelsLast(), flat=nn.Flatten(), head=nn.Linear(12, 5),
        ),
    ),
    "residual": Row(
        lambda: jc.residual(
            jc.chain(
                reduce=jc.Conv(2, 1, bias=False), norm=jc.BatchNorm(), act=jax.nn.relu,
                expand=jc.Conv(6, 3, stride=2, padding=1),
            ),
            shortcut=jc.branch(wide=jc.Conv(4, 1, stride=2), deep=jc.Conv(2, 1, stride=2)),
        ),
        Block,
    ),
}  # fmt: skip


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_net(name, train, rng, assert_close):
    check(NETS[name], rng, assert_close, train)


# ---------------------------------------------------------------- initializers


@pytest.mark.parametrize("shape", [(5, 3, 2), (3, 5, 2, 4), (1, 3, 3, 3, 3)], ids=str)
def test_dirac(shape):
    theirs = nn.init.dirac_(weight(torch.empty(shape))).movedim((0, 1), (-1, -2))
    np.testing.assert_array_equal(initializers.dirac(None, shape), theirs)


@pytest.mark.parametrize("shape", [(3, 3, 2, 4), (2, 1, 2, 11)], ids=str)
def test_orthogonal(shape):
    """Maps that are orthogonal and of length `gain`, or weights where there are fewer of them, as torch's."""
    gain = nn.init.calculate_gain("relu")
    ours = np.asarray(initializers.Orthogonal(gain)(jax.random.key(1), shape, jnp.float64))
    theirs = nn.init.orthogonal_(weight(torch.empty(shape, dtype=torch.float64)).contiguous(), gain).numpy()
    rows, columns = ours.reshape(-1, shape[-1]), theirs.reshape(shape[-1], -1).T
    assert rows.shape == columns.shape
    for matrix in (rows, columns):
        wide = matrix.shape[0] < matrix.shape[1]
        gram = matrix @ matrix.T if wide else matrix.T @ matrix
        np.testing.assert_allclose(gram, gain**2 * np.eye(len(gram)), atol=1e-12)


@pytest.mark.parametrize("shape", [(600, 200), (5, 64, 400), (5, 3, 100, 64), (3, 2, 3, 96, 64)], ids=str)
@pytest.mark.parametrize("name", ["he", "lecun", "glorot"])
def test_standard_deviation(name, shape):
    """gain / √fan, by torch's fan of the turned kernel. The deviation of n numbers is off by less than 1 / √(2n)."""
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight(torch.empty(shape)))
    gain = nn.init.calculate_gain("relu" if name == "he" else "linear")
    want = gain / math.sqrt((fan_in + fan_out) / 2 if name == "glorot" else fan_in)
    for kind in ("normal", "uniform"):
        drawn = np.asarray(getattr(initializers, f"{name}_{kind}")(jax.random.key(2), shape))
        assert abs(drawn.mean()) < 5 * want / math.sqrt(drawn.size)
        assert drawn.std() == pytest.approx(want, rel=4 / math.sqrt(2 * drawn.size))
        edge = math.sqrt(3) * want if kind == "uniform" else 2 * want / 0.87962566
        assert 0.99 * edge < abs(drawn).max() <= edge * (1 + 1e-6)
