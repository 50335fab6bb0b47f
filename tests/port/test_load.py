"""Weights of torch in our layers: kernels, statistics and the rows behind a flatten, by values as torch's."""

import jax
import numpy as np
import pytest
from support.weights import named

import jaxconv as jc
from jaxconv import port

pytestmark = pytest.mark.sampled

torch = pytest.importorskip("torch")
nn = torch.nn
torch.set_num_threads(1)


def last(tensor):
    return np.moveaxis(tensor.detach().numpy(), 1, -1) if tensor.ndim > 2 else tensor.detach().numpy()


def randomized(module, rng):
    """A module in evaluation, with random weights and statistics."""
    with torch.no_grad():
        for tensor in [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]:
            tensor.copy_(torch.tensor(rng.uniform(0.5, 1.5, tuple(tensor.shape)) * rng.choice([1, 1.5])))
        for weight in module.parameters():
            weight.copy_(torch.tensor(rng.normal(size=tuple(weight.shape))))
    return module.eval()


def assert_same(net, module, shape, rng, assert_close, **words):
    """Loads the module's weights by name, and holds what comes out to torch's."""
    x = rng.normal(size=shape).astype(np.float32)
    params, state = port.load(net, module.state_dict(), x=shape, **words)
    want = last(module(torch.tensor(np.moveaxis(x, -1, 1).copy())))
    assert_close(net.apply(params, state, x)[0], want, tolerance=2e-5)


LAYERS = {
    "conv": (jc.Conv(6, (3, 2), stride=2, padding=1), nn.Conv2d(4, 6, (3, 2), 2, 1), (2, 7, 5, 4)),
    "conv 1d": (jc.Conv(6, (3,), bias=False), nn.Conv1d(4, 6, 3, bias=False), (2, 7, 4)),
    "conv 3d": (jc.Conv(3, (1, 2, 3)), nn.Conv3d(2, 3, (1, 2, 3)), (1, 3, 4, 5, 2)),
    "grouped": (jc.Conv(6, 3, groups=2), nn.Conv2d(4, 6, 3, groups=2), (2, 5, 4, 4)),
    "depthwise": (jc.DepthwiseConv(3, multiplier=2), nn.Conv2d(4, 8, 3, groups=4), (2, 5, 4, 4)),
    "transposed": (jc.ConvTranspose(3, 3, stride=2, padding=1), nn.ConvTranspose2d(4, 3, 3, 2, 1), (2, 3, 4, 4)),
    "transposed 1d": (jc.ConvTranspose(6, (4,), groups=2), nn.ConvTranspose1d(4, 6, 4, groups=2), (2, 5, 4)),
    "transposed 3d": (jc.ConvTranspose(3, (2, 1, 3)), nn.ConvTranspose3d(2, 3, (2, 1, 3)), (1, 2, 2, 2, 2)),
    "adjoint": (jc.adjoint(jc.Conv(4, 3, stride=2), (1, 7, 5, 3)), nn.ConvTranspose2d(4, 3, 3, 2), (2, 3, 2, 4)),
    "adjoint of a dense": (jc.adjoint(jc.Dense(4), (1, 3)), nn.Linear(4, 3), (2, 4)),
    "dense": (jc.Dense(3), nn.Linear(4, 3), (5, 4)),
    "batch norm": (jc.BatchNorm(), nn.BatchNorm2d(4), (2, 3, 2, 4)),
    "batch norm without weights": (jc.BatchNorm(scale=False, bias=False), nn.BatchNorm1d(4, affine=False), (5, 4)),
    "group norm": (jc.GroupNorm(2), nn.GroupNorm(2, 4), (2, 3, 2, 4)),
    "layer norm": (jc.LayerNorm(), nn.LayerNorm(4), (5, 4)),
    "instance norm": (jc.InstanceNorm(), nn.InstanceNorm2d(4, affine=True), (2, 3, 2, 4)),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYERS)
def test_layers(case, rng, assert_close):
    layer, module, shape = LAYERS[case]
    assert_same(named(layer), nn.Sequential(randomized(module, rng)), shape, rng, assert_close)
    assert_same(layer, module, shape, rng, assert_close)  # a net that is one layer has no name before its leaves'


@pytest.mark.parametrize("prefix", ["module", "_orig_mod", "module._orig_mod"])
def test_a_source_may_name_the_prefix_that_reading_removes(prefix, rng):
    net, kernel = jc.chain(fc=jc.Dense(3)), rng.normal(size=(3, 4)).astype("float32")
    weights = {f"{prefix}.fc.weight": kernel, f"{prefix}.fc.bias": np.zeros(3, "float32")}
    params, _ = port.load(net, weights, {"": prefix}, x=(1, 4))
    assert np.array_equal(params["fc"]["kernel"], kernel.T)


def test_a_part_may_be_called_module(rng):
    net, kernel = jc.chain(module=jc.Dense(3)), rng.normal(size=(3, 4)).astype("float32")
    params, _ = port.load(net, {"module.weight": kernel, "module.bias": np.zeros(3, "float32")}, x=(1, 4))
    assert np.array_equal(params["module"]["kernel"], kernel.T)


def test_a_head_behind_a_flatten(rng, assert_close):
    ours = named(
        jc.Conv(4, 3), jax.nn.relu, jc.flatten, jc.Dropout(0.5), jc.BatchNorm(), jc.Dense(5), jax.nn.relu, jc.Dense(2)
    )
    theirs = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.BatchNorm1d(48), nn.Linear(48, 5), nn.ReLU(),
        nn.Linear(5, 2),
    )  # fmt: skip
    assert_same(ours, randomized(theirs, rng), (2, 6, 5, 3), rng, assert_close)


def test_what_repeat_stacks(rng, assert_close):
    block = jc.remat(named(jc.Conv(3, 3, padding=1), jc.BatchNorm(), jax.nn.relu))
    theirs = [[nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()) for _ in "ab"] for _ in "abc"]
    twice = nn.Sequential(*(nn.Sequential(*pair) for pair in theirs), nn.Conv2d(3, 2, 1))
    ours = jc.chain(stage=jc.repeat(jc.repeat(block, 2), 3), out=jc.remat(jc.Conv(2, 1)))
    source = {"stage": "", "out": "3"}
    assert_same(ours, randomized(twice, rng), (2, 5, 4, 3), rng, assert_close, source=source)
    params, state = port.load(ours, twice, source, x=(1, 5, 4, 3))
    back = port.state_dict(ours, params, state, source, x=(1, 5, 4, 3), like=twice)
    for name, tensor in twice.state_dict().items():
        assert name.endswith("tracked") or np.array_equal(back[name], tensor.numpy()), name


def test_a_decoder(rng, assert_close):
    ours = named(jc.Dense(24), jax.nn.relu, lambda x: x.reshape(-1, 2, 3, 4), jc.ConvTranspose(2, 3))
    theirs = nn.Sequential(nn.Linear(5, 24), nn.ReLU(), nn.Unflatten(1, (4, 2, 3)), nn.ConvTranspose2d(4, 2, 3))
    assert_same(ours, randomized(theirs, rng), (2, 5), rng, assert_close)


def test_a_dense_layer_is_a_convolution_of_one_cell_and_one_of_all(rng):
    weights = {name: rng.normal(size=shape) for name, shape in [("0.weight", (5, 3, 1, 1)), ("0.bias", (5,))]}
    params, _ = port.load(named(jc.Dense(5)), weights, x=(1, 4, 4, 3))
    np.testing.assert_array_equal(params["0"]["kernel"], weights["0.weight"][:, :, 0, 0].T.astype(np.float32))
    params, _ = port.load(named(jc.Conv(5, 1)), weights | {"0.weight": weights["0.weight"][..., 0, 0]}, x=(1, 4, 4, 3))
    np.testing.assert_array_equal(params["0"]["kernel"][0, 0], weights["0.weight"][:, :, 0, 0].T.astype(np.float32))
    whole = {"1.weight": rng.normal(size=(5, 3, 2, 4)), "1.bias": weights["0.bias"]}
    params, _ = port.load(named(jc.flatten, jc.Dense(5)), whole, x=(1, 2, 4, 3))
    want = np.moveaxis(whole["1.weight"], (0, 1), (-1, -2)).reshape(24, 5)
    np.testing.assert_array_equal(params["1"]["kernel"], want.astype(np.float32))


def test_types_are_the_nets_own(rng):
    weights = {"0.weight": rng.normal(size=(5, 3)), "0.bias": torch.ones(5, dtype=torch.bfloat16)}
    for dtype in ("float32", "bfloat16"):
        params, _ = port.load(named(jc.Dense(5)), weights, x=jax.ShapeDtypeStruct((1, 3), dtype))
        assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {dtype}


def test_what_torch_does_to_its_weights_later_leaves_ours_alone(rng):
    module = nn.Sequential(nn.BatchNorm2d(64))
    trees = port.load(named(jc.BatchNorm()), module.state_dict(), x=(1, 2, 2, 64))
    before = jax.tree.map(lambda leaf: np.array(leaf, copy=True), trees)
    module(torch.tensor(rng.normal(size=(4, 64, 2, 2)), dtype=torch.float32))
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(1)
    jax.tree.map(np.testing.assert_array_equal, trees, before)
