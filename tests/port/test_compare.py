"""Pairs of nets that differ in one convention each, and what compare says of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv import port
from jaxconv.errors import ShapeError

torch = pytest.importorskip("torch")
nn = torch.nn
torch.set_num_threads(1)

SHAPE = (2, 8, 8, 3)


def named(*layers):
    return jc.chain(**{str(i): layer for i, layer in enumerate(layers)})


def around(layer):
    """A layer between others, so that it is not the first and its input is not the images."""
    return named(jc.Conv(4, 3), layer, jc.Conv(2, 1))


def around_torch(module, channels=4):
    return nn.Sequential(nn.Conv2d(3, 4, 3), module, nn.Conv2d(channels, 2, 1))


@pytest.fixture
def images(rng):
    return rng.normal(size=SHAPE).astype(np.float32)


@pytest.fixture
def run(rng, images):
    """`run(net, module)`: compared with the module's own weights, drawn anew with its statistics."""

    def run(net, module, x=images, change=lambda params, state: (params, state), **words):
        with torch.no_grad():
            for weight in module.parameters():
                fan_in = weight[0].numel() if weight.ndim > 1 else 1
                weight.copy_(torch.tensor(rng.normal(size=tuple(weight.shape)) / fan_in**0.5))
            for name, statistic in module.named_buffers():
                if not name.endswith("num_batches_tracked"):
                    statistic.copy_(torch.tensor(rng.uniform(0.05, 0.15, tuple(statistic.shape))))
        params, state = port.load(net, module, x=x.shape)
        return port.compare(net, *change(params, state), module, x, **words)

    return run


def rounded(bits):
    """An array with so many bits of mantissa left."""
    return lambda a: jax.lax.reduce_precision(a, 8, bits)


def cut(a):
    """An array without its last 13 bits."""
    bits = jax.lax.bitcast_convert_type(a, jnp.uint32) & jnp.uint32(0xFFFFE000)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def coarse(factor):
    """A convolution whose factors are rounded, as some devices do it."""
    conv = jc.Conv(4, 3, transform=factor)

    def apply(params, state, x, *, key=None, train=False):
        return conv.apply(params, state, factor(jnp.asarray(x)))

    return jc.Layer("conv", conv.init, apply)


def divided(size, alpha):
    return jc.LocalResponseNorm(size, alpha=alpha, beta=0.75, k=1.0)


# What ours is, what torch's is, and the cause and fix that must be named.
CONVENTIONS = {
    "same": (
        jc.Conv(4, 3, stride=2, padding="same"), nn.Conv2d(4, 4, 3, 2, 1),
        "padding: ours is 'same' (the odd cell on the high side), torch's symmetric 1", "padding=1",
    ),
    "same_lower": (
        jc.Conv(4, 2, padding="same_lower"), nn.Conv2d(4, 4, 2, padding=1),
        "padding: ours is 'same_lower' (the odd cell on the low side), torch's symmetric 1", "padding=1",
    ),
    "valid": (
        jc.Conv(4, 3), nn.Conv2d(4, 4, 3, padding=1), "padding: ours is 'valid', torch's symmetric 1", "padding=1",
    ),
    "symmetric": (
        jc.Conv(4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=2), "padding: ours is 1, torch's symmetric 2", "padding=2",
    ),
    "mode": (
        jc.Conv(4, 3, padding=1, pad_mode="reflect"), nn.Conv2d(4, 4, 3, padding=1),
        "padding mode: ours is 'reflect', torch's 'zeros'", "pad_mode='zeros'",
    ),
    "depthwise": (
        jc.DepthwiseConv(3, stride=2, padding="same"), nn.Conv2d(4, 4, 3, 2, 1, groups=4),
        "padding: ours is 'same' (the odd cell on the high side), torch's symmetric 1", "padding=1",
    ),
    "max pool": (
        jc.MaxPool(3, stride=2, padding="same"), nn.MaxPool2d(3, 2, 1),
        "padding: ours is 'same' (the odd cell on the high side), torch's symmetric 1", "padding=1",
    ),
    "divisor": (
        jc.AvgPool(3, stride=1, padding=1), nn.AvgPool2d(3, 1, 1),
        "average divisor: ours counts the input's cells alone, torch's cells of padding, too (count_include_pad=True)",
        "count_padding=True",
    ),
    "other divisor": (
        jc.AvgPool(3, stride=1, padding=1, count_padding=True), nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        "average divisor: ours counts cells of padding, too, torch's the input's cells alone (count_include_pad=False)",
        "count_padding=False",
    ),
    "floor": (
        jc.MaxPool(3, stride=2), nn.MaxPool2d(3, 2, ceil_mode=True),
        "ceil mode: ours does not count a last partial window, torch's does (ceil_mode=True)", "ceil=True",
    ),
    "ceil": (
        jc.AvgPool(4, stride=3, ceil=True), nn.AvgPool2d(4, 3),
        "ceil mode: ours counts a last partial window, torch's does not (ceil_mode=False)", "ceil=False",
    ),
    "eps": (jc.BatchNorm(eps=1e-3), nn.BatchNorm2d(4), "eps: ours is 0.001, torch's 1e-05", "eps=1e-05"),
    "eps of a group norm": (
        jc.GroupNorm(2), nn.GroupNorm(2, 4, eps=0.1), "eps: ours is 1e-05, torch's 0.1", "eps=0.1",
    ),
    "gelu": (
        functools.partial(jax.nn.gelu, approximate=True), nn.GELU(),
        "GELU: ours is by tanh, torch's by erf (approximate='none')",
        "functools.partial(jax.nn.gelu, approximate=False)",
    ),
    "other gelu": (
        functools.partial(jax.nn.gelu, approximate=False), nn.GELU("tanh"),
        "GELU: ours is by erf, torch's by tanh (approximate='tanh')",
        "functools.partial(jax.nn.gelu, approximate=True)",
    ),
    "alpha": (
        divided(3, 0.1), nn.LocalResponseNorm(3, alpha=0.1),
        "alpha: ours is 0.1 for each map, torch divides its 0.1 by size=3", "alpha=0.0333333",
    ),
    "tf32": (
        coarse(rounded(10)), nn.Conv2d(4, 4, 3),
        "TF32 (or float16): factors of 10 bits in ours, float32 in torch's",
        "precision='highest', or jax.default_matmul_precision('highest')",
    ),
    "tf32, cut": (
        coarse(cut), nn.Conv2d(4, 4, 3),
        "TF32 (or float16): factors of 10 bits in ours, float32 in torch's",
        "precision='highest', or jax.default_matmul_precision('highest')",
    ),
    "bfloat16": (
        coarse(rounded(7)), nn.Conv2d(4, 4, 3), "bfloat16: factors of 7 bits in ours, float32 in torch's",
        "precision='highest', or no cast",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONVENTIONS)
def test_a_convention_is_named(case, run):
    ours, theirs, words, fix = CONVENTIONS[case]
    found = run(around(ours), around_torch(theirs))
    assert not found.agrees
    assert found.first.path == "1"
    assert found.first.error_in < 1e-5
    assert (found.cause.words, found.cause.fix) == (words, fix)


EQUAL = {
    "conv": (jc.Conv(4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 3, 2, 1)),
    "norm": (jc.BatchNorm(), nn.BatchNorm2d(4)),
    "max pool": (jc.MaxPool(3, stride=2, padding=1, ceil=True), nn.MaxPool2d(3, 2, 1, ceil_mode=True)),
    "average": (jc.AvgPool(3, stride=1, padding=1, count_padding=True), nn.AvgPool2d(3, 1, 1)),
    "gelu": (functools.partial(jax.nn.gelu, approximate=False), nn.GELU()),
    "alpha": (divided(3, 0.1 / 3), nn.LocalResponseNorm(3, alpha=0.1)),
    "in place": (jax.nn.relu, nn.ReLU(inplace=True)),
}


@pytest.mark.parametrize("case", EQUAL)
def test_an_equal_pair_agrees(case, run):
    ours, theirs = EQUAL[case]
    found = run(around(ours), around_torch(theirs))
    assert found.agrees, str(found)
    assert (found.first, found.cause, found.ours, found.theirs) == (None, None, (), ())
    assert [pair.path for pair in found.pairs] == ["0", "1", "2", ""]
    assert str(found).startswith("4 pairs of layers agree; the worst is ")


def test_torch_rounds(run):
    class Coarse(nn.Conv2d):
        def forward(self, x):
            x, kernel = (torch.tensor(np.asarray(rounded(10)(v.numpy()))) for v in (x, self.weight))
            return nn.functional.conv2d(x, kernel, self.bias)

    found = run(around(jc.Conv(4, 3)), around_torch(Coarse(4, 4, 3)))
    assert found.cause.words == "TF32 (or float16): factors of 10 bits in torch's, float32 in ours"


# ---------------------------------------------------------------- training


def test_a_biased_variance_is_noted(run):
    found = run(around(jc.BatchNorm()), around_torch(nn.BatchNorm2d(4)), train=True)
    assert found.agrees, str(found)
    assert found.notes == ("variance: ours keeps the biased one (divided by n), torch the unbiased (by n - 1)",)


def test_momentum(run):
    found = run(around(jc.BatchNorm(momentum=0.1)), around_torch(nn.BatchNorm2d(4)), train=True)
    assert found.first.path == "1"
    assert found.cause.words == (
        "momentum: ours keeps 0.1 of the old statistics, torch's 0.9 (its momentum=0.1 is the share of the new ones)"
    )
    assert found.cause.fix == "momentum=0.9"


def test_a_module_is_left_as_it_was(run):
    module = around_torch(nn.BatchNorm2d(4)).eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    run(around(jc.BatchNorm()), module, train=True)
    assert not module.training
    assert not module[1]._forward_hooks
    assert int(module[1].num_batches_tracked) == int(before["1.num_batches_tracked"])


# ---------------------------------------------------------------- weights in another layout


def swap(*keys, by):
    """A change of one leaf."""

    def change(params, state):
        inner = functools.reduce(dict.__getitem__, keys[:-1], {"params": params, "state": state})
        inner[keys[-1]] = by(inner[keys[-1]])
        return params, state

    return change


def test_rows_in_the_order_of_channels_first(run, images):
    net = named(jc.Conv(4, 3), jc.flatten, jax.nn.relu, jc.Dense(5))
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.ReLU(), nn.Linear(144, 5))
    assert run(net, module).agrees
    plain = swap("params", "3", "kernel", by=lambda kernel: jnp.asarray(module[3].weight.detach().numpy().T))
    found = run(net, module, change=plain)
    assert found.first.path == "3"
    assert found.cause.words == "layout: its rows are in the order of a flattened [C, H, W], ours are [H, W, C]"
    assert found.cause.fix == "params, state = port.load(net, torch_module)"


def test_values_unfolded_by_hand(run, rng):
    def unfold(x):
        return x.reshape(-1, 2, 3, 4)

    net = named(jc.Dense(24), jax.nn.relu, unfold, jc.ConvTranspose(2, 3), lambda x: x.reshape(len(x), -1), jc.Dense(5))
    module = nn.Sequential(
        nn.Linear(6, 24),
        nn.ReLU(),
        nn.Unflatten(1, (4, 2, 3)),
        nn.ConvTranspose2d(4, 2, 3),
        nn.Flatten(),
        nn.Linear(40, 5),
    )
    found = run(net, module, x=rng.normal(size=(2, 6)))
    assert found.agrees, str(found)


@pytest.mark.parametrize(
    ("by", "words"),
    [
        (lambda k: jnp.swapaxes(k, 0, 1), "layout: its kernel is torch's weight with the axes WHIO"),
        (lambda k: jnp.swapaxes(k, 2, 3), "layout: its kernel is torch's weight with the axes HWOI"),
        (lambda k: k[::-1, ::-1], "layout: its kernel is torch's weight, flipped"),
        (lambda k: 2 * k, "weights: its kernel is not torch's weight, by 1.0e+00"),
    ],
)
def test_a_kernel_in_another_order(run, by, words):
    found = run(around(jc.Conv(4, 3)), around_torch(nn.Conv2d(4, 4, 3)), change=swap("params", "1", "kernel", by=by))
    assert found.first.path == "1"
    assert found.cause.words == words


def test_a_variance_that_was_corrected(run):
    change = swap("state", "1", "var", by=lambda var: var * 19 / 20)
    found = run(around(jc.BatchNorm()), around_torch(nn.BatchNorm2d(4)), change=change)
    assert found.cause.words == "variance: ours is torch's running_var times 0.95, as of 20 biased and unbiased"


# ---------------------------------------------------------------- where it stands


class Functional(nn.Module):
    """A block whose activation is no module."""

    def __init__(self, approximate="none", after=None):
        super().__init__()
        self.conv, self.norm, self.approximate, self.after = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), approximate, after

    def forward(self, x):
        y = self.norm(nn.functional.gelu(self.conv(x), approximate=self.approximate))
        return y if self.after is None else self.after(y)


def block(flow=None):
    parts = {"conv": jc.Conv(4, 3), "gelu": functools.partial(jax.nn.gelu, approximate=False), "norm": jc.BatchNorm()}
    return jc.chain(**parts) if flow is None else jc.wire("block", parts, flow)


def test_what_is_no_module(run):
    found = run(block(), Functional("tanh"))
    assert found.first.path == "norm"
    assert found.first.error_in > 1e-4
    assert found.alone < 1e-5
    assert found.cause.words == "gelu before it, which is no module of torch's: GELU: ours is by erf, torch's by tanh"
    assert found.ours == ("gelu",)
    assert run(block(), Functional()).agrees


def test_what_a_block_does_between_its_parts(run):
    found = run(block(), Functional(after=torch.relu))
    assert found.first.path == ""
    assert found.cause.words == "all its parts agree: what it does between them is not what torch's forward does"


def test_the_text(run):
    found = run(around(jc.AvgPool(3, stride=1, padding=1)), around_torch(nn.AvgPool2d(3, 1, 1)))
    lines = str(found).splitlines()
    error, largest, at = found.first.error, found.first.largest, found.first.at
    assert lines == [
        "1 pairs of layers agree, then 1 (avg_pool) differs from torch's 1 (AvgPool2d)",
        f"  by: {error:.1e} of torch's norm; at most {largest:.3g}, at {at}",
        f"  its input: agrees, {found.first.error_in:.1e}",
        f"  on torch's own input: {found.alone:.1e}",
        f"  cause: {CONVENTIONS['divisor'][2]}",
        "  fix: count_padding=True",
    ]
    assert error > 0.01


def test_shapes_that_differ_later_stop_ours_and_not_the_report(run):
    net = named(jc.Conv(4, 3), jc.MaxPool(4, stride=3), jc.flatten, jc.Dense(2))
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(4, 3, ceil_mode=True), nn.Flatten(), nn.Linear(16, 2))
    params, state = net.init(jax.random.key(0), SHAPE)
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    params["0"] = port.load(named(jc.Conv(4, 3)), module[:1], x=SHAPE)[0]["0"]
    lines = str(port.compare(net, params, state, module, x)).splitlines()
    assert lines[:2] == [
        "1 pairs of layers agree, then 1 (max_pool) differs from torch's 1 (MaxPool2d)",
        "  by: shape (2, 1, 1, 4), torch's (2, 2, 2, 4)",
    ]
    assert "  cause: ceil mode: ours does not count a last partial window, torch's does (ceil_mode=True)" in lines


def test_nothing_in_common(images):
    net = jc.chain(jc.Conv(2, 1))
    params, state = net.init(jax.random.key(0), SHAPE)
    found = port.compare(net, params, state, nn.ModuleDict({"a": nn.Conv2d(3, 2, 1)})["a"], images)
    assert [pair.path for pair in found.pairs] == [""]
    assert found.ours == ("conv0",)


def test_images_as_torch_has_them():
    net = jc.chain(jc.Conv(2, 1))
    with pytest.raises(ShapeError) as caught:
        port.compare(net, {}, {}, nn.Conv2d(3, 2, 1), np.zeros((2, 3, 8, 8)))
    assert str(caught.value) == (
        "compare needs images [N, *spatial, C], for both sides\n"
        "  got: (2, 3, 8, 8), which looks like NCHW\n"
        "  fix: np.moveaxis(x, 1, -1)"
    )
