"""Our weights in torch's modules, read by torch itself."""

import jax
import numpy as np
import pytest

import jaxconv as jc
from jaxconv import port
from jaxconv._base.errors import ConfigError

torch = pytest.importorskip("torch")
nn = torch.nn
torch.set_num_threads(1)

SHAPE = (2, 6, 5, 3)


def named(*layers):
    return jc.chain(**{str(i): layer for i, layer in enumerate(layers)})


def ours():
    return named(
        jc.Conv(4, 3, padding=1), jc.BatchNorm(), jax.nn.relu, jc.DepthwiseConv(3), jc.ConvTranspose(4, 2, stride=2),
        jc.flatten, jc.Dense(5),
    )  # fmt: skip


def theirs():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4),
        nn.ConvTranspose2d(4, 4, 2, 2), nn.Flatten(), nn.Linear(4 * 8 * 6, 5),
    )  # fmt: skip


@pytest.fixture
def born(rng):
    params, state = ours().init(jax.random.key(0), SHAPE)
    return jax.tree.map(lambda leaf: rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32), (params, state))


def test_torch_reads_it_and_computes_the_same(tmp_path, born, rng, assert_close):
    from safetensors.torch import load_file

    port.save(tmp_path / "a.safetensors", ours(), *born, x=SHAPE)
    module = theirs()
    module.load_state_dict(load_file(tmp_path / "a.safetensors"), strict=True)
    x = rng.normal(size=SHAPE).astype(np.float32)
    want = module.eval()(torch.tensor(np.moveaxis(x, -1, 1).copy())).detach().numpy()
    assert_close(ours().apply(*born, x)[0], want)


@pytest.mark.parametrize("name", ["torchvision", {"": "net", "6": "fc"}], ids=["same", "mapped"])
def test_there_and_back(tmp_path, born, name):
    port.save(tmp_path / "a.safetensors", ours(), *born, name, x=SHAPE)
    back = port.load(ours(), tmp_path / "a.safetensors", name, x=SHAPE)
    jax.tree.map(np.testing.assert_array_equal, back, born)


def test_what_a_module_asks_for(born):
    """A dense layer as the convolution that torch's module has in its place."""
    net = named(jc.Dense(5), jc.flatten, jc.Dense(2))
    params, state = net.init(jax.random.key(0), (1, 2, 2, 3))
    module = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Identity(), nn.Conv2d(5, 2, 2))
    found = port.state_dict(net, params, state, x=(1, 2, 2, 3), like=module)
    assert {name: array.shape for name, array in found.items()} == {
        name: tuple(tensor.shape) for name, tensor in module.state_dict().items()
    }
    x = np.arange(12.0, dtype=np.float32).reshape(1, 2, 2, 3)
    module.load_state_dict({name: torch.tensor(array) for name, array in found.items()})
    want = module(torch.tensor(np.moveaxis(x, -1, 1).copy())).detach().numpy()[:, :, 0, 0]
    np.testing.assert_allclose(net.apply(params, state, x)[0], want, rtol=1e-5)


def test_the_count_of_batches_is_left_out_where_like_has_none(born):
    like = {name: tensor for name, tensor in theirs().state_dict().items() if "num_batches" not in name}
    found = port.state_dict(ours(), *born, x=SHAPE, like=like)
    assert found.keys() == like.keys()
    assert "1.num_batches_tracked" in port.state_dict(ours(), *born, x=SHAPE)


def test_a_module_that_it_does_not_fit(born):
    module = nn.Sequential(*list(theirs())[:-1], nn.Linear(4 * 8 * 6, 7), nn.Linear(7, 1, bias=False))
    with pytest.raises(port.PortError) as caught:
        port.state_dict(ours(), *born, x=SHAPE, like=module)
    assert (
        str(caught.value)
        == """\
this net's weights are not those of like: 3 differ
  + 7.weight  [1, 7] of like is not in this net
  ! 6.bias  [5] here, [7] in like
  ! 6.weight  [5, 192] here, [7, 192] in like"""
    )


def test_params_of_another_net(tmp_path, born):
    params, state = born
    file = tmp_path / "a.safetensors"
    file.write_text("as it was")
    with pytest.raises(ConfigError) as caught:
        port.save(file, ours(), params, {}, x=SHAPE)
    assert str(caught.value) == ("params and state must be those of this net\n  fix: params, state = net.init(key, x)")
    with pytest.raises(ConfigError) as caught:
        port.save(file, ours(), params, state, x=(1, 8, 8, 3))
    assert str(caught.value) == (
        "params and state must be those of this net for this x: 6/kernel must be [576, 5], got [192, 5]\n"
        "  fix: x= the shape that they were initialized for"
    )
    assert file.read_text() == "as it was"
