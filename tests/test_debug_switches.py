"""JAX's debugging switches over every op and layer, and over one training step: the same numbers, no false alarm."""

import contextlib
import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.table import TABLE

import jaxconv as jc
from jaxconv.data import Batch
from jaxconv.training.step import init_state, make_step

SWITCHES = {
    "debug_nans": jax.debug_nans,
    "debug_infs": jax.debug_infs,
    "disable_jit": jax.disable_jit,
    "checking_leaks": jax.checking_leaks,
    "log_compiles": jax.log_compiles,
}
LAYERS = {f"{entry.names}-{i}": entry for i, entry in enumerate(TABLE)}
pytestmark = pytest.mark.slow


@contextlib.contextmanager
def switched(name, caplog):
    """One switch; what log_compiles writes is no warning."""
    with caplog.at_level(logging.CRITICAL), SWITCHES[name]():
        yield


def gradient(entry):
    """y, and the gradients of its sum of squares in the parameters and the input."""
    net, x = entry.layer, jax.random.normal(jax.random.key(3), entry.shape)
    params, state = net.init(jax.random.key(0), x)

    def loss(params, x):
        y, _ = net.apply(params, state, x, key=jax.random.key(1), train=True)
        return sum((v**2).sum() for v in jax.tree.leaves(y)), y

    (_, y), found = jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)
    return y, found


def joined(tree):
    """All numbers of a tree: some gradients, as a bias before a batch norm has, are rounding errors alone."""
    return jnp.concatenate([v.ravel().astype(jnp.float32) for v in jax.tree.leaves(tree)])


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("case", LAYERS)
def test_ops_and_layers(case, switch, caplog, assert_close):
    expected = joined(gradient(LAYERS[case]))
    with switched(switch, caplog):
        found = gradient(LAYERS[case])
    assert_close(joined(found), expected)


def nets():
    net = jc.chain(jc.Conv(4, 3), jc.BatchNorm(), jax.nn.relu, jc.MaxPool(2), jc.Dropout(0.2), jc.flatten)
    return jc.chain(net, head=jc.Dense(3))


def stepped():
    net, tx = nets(), optax.sgd(0.1, momentum=0.9)
    rng = np.random.default_rng(0)
    batch = Batch(rng.integers(0, 255, (4, 8, 8, 3)).astype("uint8"), jnp.array([0, 1, 2, 0]), jnp.ones(4))
    step = make_step(net, tx, prepare=lambda x: x.astype(jnp.float32) / 255, average=0.9)
    train = init_state(net, tx, jax.random.key(0), (1, 8, 8, 3), average=True)
    train, metrics = jax.jit(step)(train, batch)
    return train.params, train.state, train.average, metrics


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_training_step(switch, caplog, assert_close):
    expected = joined(stepped())
    with switched(switch, caplog):
        found = stepped()
    assert_close(joined(found), expected)


@pytest.mark.parametrize("op", ["conv", "max_pool", "batch_norm"])
@pytest.mark.parametrize("switch", ["debug_nans", "debug_infs"])
def test_a_value_that_is_not_finite_is_found(op, switch, caplog):
    bad = jnp.full((1, 4, 4, 2), jnp.nan if switch == "debug_nans" else jnp.inf)
    run = {
        "conv": lambda x: jc.conv(x, jnp.ones((3, 3, 2, 4))),
        "max_pool": lambda x: jc.max_pool(x, 2),
        "batch_norm": lambda x: jc.batch_norm(x, jnp.zeros(2), jnp.ones(2)),
    }[op]
    with switched(switch, caplog), pytest.raises(FloatingPointError):
        run(bad)
