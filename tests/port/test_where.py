"""Where a net and a torch module part: statistics, weights in another order, blocks, shapes, and the text of it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.sequences import around, around_torch
from support.weights import named

import jaxconv as jc
from jaxconv import port
from jaxconv._base.errors import ShapeError
from jaxconv.port.diagnose.conventions import Case, find_cause

torch = pytest.importorskip("torch")
nn = torch.nn

SHAPE = (2, 8, 8, 3)


def test_a_biased_variance_is_noted(run):
    found = run(around(jc.BatchNorm()), around_torch(nn.BatchNorm2d(4)), train=True)
    assert found.agrees, str(found)
    assert found.notes == ("variance: ours is the biased one (divided by n), torch's the unbiased (by n - 1)",)


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
    return jc.chain(**parts) if flow is None else jc.compose("block", parts, flow)


@pytest.mark.slow
def test_what_is_no_module(run):
    found = run(block(), Functional("tanh"))
    assert found.first.path == "norm"
    assert found.first.error_in > 1e-4
    assert found.alone < 1e-5
    assert found.cause.words == "gelu before it, which has no pair: GELU: ours is by erf, torch's by tanh"
    assert found.ours == ("gelu",)
    assert run(block(), Functional()).agrees


def test_what_a_block_does_between_its_parts(run):
    found = run(block(), Functional(after=torch.relu))
    assert found.first.path == ""
    assert found.cause.words == "all submodules match; the difference is in forward()"


def test_the_text(run):
    found = run(around(jc.AvgPool(3, stride=1, padding=1)), around_torch(nn.AvgPool2d(3, 1, 1)))
    lines = str(found).splitlines()
    error, largest, at = found.first.error, found.first.largest, found.first.at
    assert lines == [
        "1 pairs of layers agree, then 1 (avg_pool) differs from torch's 1 (AvgPool2d)",
        f"  by: {error:.1e} of torch's norm; at most {largest:.3g}, at {at}",
        f"  its input: agrees, {found.first.error_in:.1e}",
        f"  on torch's own input: {found.alone:.1e}",
        "  cause: average divisor: ours counts the input's cells alone, torch's cells of padding, too "
        "(count_include_pad=True)",
        "  fix: count_include_pad=True",
    ]
    assert error > 0.01


@pytest.mark.slow
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


def test_a_run_of_ours_that_ends_early(run):
    net = named(jc.Conv(4, 3), jc.Dropout(0.5), jc.Conv(2, 1))
    found = run(net, nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.0), nn.Conv2d(4, 2, 1)), train=True)
    assert not found.agrees
    lines = str(found).splitlines()
    assert lines[0] == "1 pairs of layers agree, then ours stops"
    assert lines[1].startswith("  ours stopped: at 1: ")
    assert "key" in lines[1]


def test_rounding_that_grows(run):
    class Steep(nn.Module):
        def forward(self, x):
            return torch.sin(1e4 * x)

    found = run(
        named(jc.Conv(4, 3, impl="einsum"), lambda x: jnp.sin(1e4 * x)), nn.Sequential(nn.Conv2d(3, 4, 3), Steep())
    )
    assert found.first.path == "1"
    assert found.first.error_in < 1e-6 < found.tolerance < found.first.error
    assert found.alone < 1e-5
    assert found.cause.words.startswith("rounding: the inputs agree, and so does the layer on torch's own input")


def test_what_is_not_as_its_module_says(rng):
    """Noise on torch's side: every eps near the right one gives ours, and none of them is the reason."""
    x = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)
    state = {"mean": np.zeros(3), "var": np.ones(3)}
    ours = np.asarray(jc.batch_norm(x, **state, eps=1e-5))
    theirs = ours + 0.01 * rng.normal(size=ours.shape)
    case = Case("batch_norm", nn.BatchNorm2d(3), x, theirs, ours, {}, state, 1e-4)
    assert find_cause(case) is None
    other = np.asarray(jc.batch_norm(x, **state, eps=1e-3))
    cause = find_cause(dataclasses.replace(case, theirs=ours, ours=other))
    assert cause.words == "eps: ours is 0.001, torch's 1e-05"


def test_a_module_in_double_precision(run):
    assert run(around(jc.BatchNorm()), around_torch(nn.BatchNorm2d(4)).double()).agrees


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
