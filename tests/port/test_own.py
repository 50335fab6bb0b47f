"""Weights of a run of jaxconv, loaded by the paths of its parameters."""

import jax
import numpy as np
import pytest

import jaxconv as jc
from jaxconv import port
from jaxconv._base.errors import ConfigError
from jaxconv.layers import repeat
from jaxconv.training import checkpoint

X = (2, 8, 6, 3)


def net_of(classes):
    return jc.chain(
        stem=jc.Conv(4, 3),
        blocks=repeat(jc.chain(conv=jc.Conv(4, 3, padding="same"), norm=jc.BatchNorm()), 3),
        flat=jc.flatten,
        body=jc.Dense(5),
        head=jc.Dense(classes),
    )


@pytest.fixture
def trees(rng):
    """Params and state of values that differ everywhere, running statistics too."""
    born = jax.eval_shape(lambda: net_of(3).init(jax.random.key(0), X))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), born)


@pytest.fixture
def folder(tmp_path, trees):
    """A run's, with what else is in it."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.toml").write_text("")
    checkpoint.save(tmp_path / "params.safetensors", dict(zip(("params", "state"), trees, strict=True)))
    return tmp_path


@pytest.mark.parametrize("name", ["", "params.safetensors"])
def test_the_same_values_in_stacks_dense_layers_and_statistics(folder, trees, name):
    loaded = port.load(net_of(3), folder / name, x=X)
    jax.tree.map(np.testing.assert_array_equal, loaded, trees)


def test_a_head_for_other_classes(folder, trees):
    with pytest.raises(port.PortError) as caught:
        port.load(net_of(7), folder, x=X)
    assert "head/kernel  expected head.weight [7, 5], got [3, 5]" in str(caught.value)
    net = port.pretrained(net_of(7), folder, skip="head")
    (params, state), new = net.init(jax.random.key(1), X), net_of(7).init(jax.random.key(1), X)
    for part in ("stem", "blocks", "body"):
        jax.tree.map(np.testing.assert_array_equal, (params[part], state[part]), (trees[0][part], trees[1][part]))
    jax.tree.map(np.testing.assert_array_equal, params["head"], new[0]["head"])


def test_a_dense_layer_of_another_image_size(folder):
    """Its rows are in another order in torch, which nothing of another length can be brought into."""
    with pytest.raises(port.PortError, match=r"body/kernel  expected body\.weight \[5, 32\], got \[5, 96\]"):
        port.load(net_of(3), folder, x=(1, 6, 4, 3))


def test_parts_that_the_net_lacks(folder):
    net = jc.chain(stem=jc.Conv(4, 3))
    with pytest.raises(port.PortError, match=r"head\.kernel  unexpected"):
        port.load(net, folder, x=X)
    params, _ = port.load(net, folder, x=X, ignore=["blocks", "body", "head"])
    assert params["stem"]["kernel"].shape == (3, 3, 3, 4)
    with pytest.raises(ConfigError, match="ignore must match at least one of"):
        port.load(net, folder, x=X, ignore="aux")
