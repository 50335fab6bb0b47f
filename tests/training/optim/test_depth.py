"""Layer-wise learning-rate decay."""

import jax
import numpy as np
import optax
import pytest
from support.config_text import config_text

import jaxconv as jc
from jaxconv import run
from jaxconv._base.errors import ConfigError
from jaxconv.run import config
from jaxconv.training.optim import layer_groups, layer_multipliers, scale_lr


def params_of(net, shape=(1, 64, 64, 3)):
    return jax.eval_shape(lambda: net.init(jax.random.key(0), shape))[0]


def test_groups_of_a_resnet_are_its_blocks():
    net = jc.models.resnet18(num_classes=10)
    groups = layer_groups(net, params_of(net))
    blocks = [[f"layer{stage}/{block}"] for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert groups == [["conv1", "bn1"], *blocks, ["fc"]]


def test_groups_of_a_net_that_begins_with_a_norm():
    net = jc.chain(jc.BatchNorm(), jc.Conv(4, 3), jax.nn.relu, jc.flatten, jc.Dense(2))
    assert layer_groups(net, params_of(net, (1, 5, 5, 1))) == [["batch_norm0", "conv0"], ["dense0"]]


@pytest.mark.parametrize(
    "name", ["lenet5", "vgg11_bn", "mobilenet_v3_small", "convnext_tiny", "densenet121", "googlenet"]
)
@pytest.mark.slow
def test_every_parameter_has_one_multiplier(name):
    from jaxconv._base.paths import fits, leaf_names

    net = jc.models.registry[name](num_classes=7)
    params = params_of(net, (1, 96, 96, 3) if name != "lenet5" else (1, 32, 32, 1))
    found = layer_multipliers(net, params, 0.5)
    assert max(found.values()) == 1
    assert min(found.values()) == 0.5 ** (len(set(found.values())) - 1)
    for path in leaf_names(params):
        assert sum(fits(path, part) for part in found) == 1, path


def test_updates_of_a_step_against_separate_rates(rng):
    net = jc.chain(a=jc.Dense(3), b=jc.Dense(3), c=jc.Dense(2))
    params, _ = net.init(jax.random.key(0), (1, 4))
    gradient = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), params)

    def updates(tx):
        return tx.update(gradient, tx.init(params), params)[0]

    found = updates(scale_lr(optax.adamw(0.1), layer_multipliers(net, params, 0.7)))
    for part, rate in (("a", 0.1 * 0.49), ("b", 0.07), ("c", 0.1)):
        expected = updates(optax.adamw(rate))[part]
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), found[part], expected)


def test_a_config_with_frozen_parts(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text(config_text(optim={"name": "adam", "learning_rate": 0.1}, train={"epochs": 1, "batch_size": 8}))
    build = run.build(config.read(path, ["optim.layer_decay=0.5", "optim.freeze=['conv0']"]))[2]
    assert set(jax.eval_shape(build.start).params) >= {"conv0", "head"}


def test_refusals():
    single = jc.Dense(3)
    with pytest.raises(ConfigError) as caught:
        layer_multipliers(single, params_of(single, (1, 4)), 0.5)
    assert str(caught.value) == "optim.layer_decay needs a net that is a chain of layers; dense is a single one"
    with pytest.raises(ConfigError) as caught:
        layer_multipliers(single, {}, 1.5)
    assert str(caught.value) == "optim.layer_decay must be above 0, up to 1, got 1.5"
