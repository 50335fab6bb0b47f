"""accelerate: steps of Flax NNX that update in place, and of Equinox that return their model."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.trees import assert_same

import jaxconv as jc

pytestmark = pytest.mark.sampled


@pytest.fixture
def x(rng):
    return rng.normal(size=(4, 6, 6, 3)).astype(np.float32)


# ---------------------------------------------------------------- Flax NNX


def nnx_net():
    """A net with every kind of variable that a step updates, one of them shared, and its optimizer."""
    nnx = pytest.importorskip("flax.nnx")

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.a, self.norm = nnx.Conv(3, 3, (3, 3), rngs=rngs), nnx.BatchNorm(3, rngs=rngs)
            self.again = self.a
            self.drop, self.head = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(3, 2, rngs=rngs)
            self.calls = nnx.Variable(jnp.zeros((), jnp.int32))

        def __call__(self, x):
            self.calls[...] += 1
            h = nnx.max_pool(nnx.relu(self.norm(self.again(self.a(x)))), (2, 2), (2, 2))
            return self.head(self.drop(h).mean((1, 2)))

    net = Net(nnx.Rngs(0))
    return net, nnx.Optimizer(net, optax.adam(1e-2), wrt=nnx.Param)


def nnx_step(net, optimizer, x):
    import flax.nnx as nnx

    value, grads = nnx.value_and_grad(lambda net: ((net(x) - 1) ** 2).mean())(net)
    optimizer.update(net, grads)
    return value


def nnx_outcome(wrap, x):
    """Two losses, and all that two steps leave in the net and in the optimizer."""
    import flax.nnx as nnx

    net, optimizer = nnx_net()
    step = wrap(nnx_step)
    values = [step(net, optimizer, x), step(net, optimizer=optimizer, x=x)]
    assert net.a is net.again
    return values, [jax.random.key_data(v) if jax.dtypes.issubdtype(v.dtype, jax.dtypes.prng_key) else v
                    for v in jax.tree.leaves((nnx.state(net), nnx.state(optimizer)))]  # fmt: skip


@functools.cache
def nnx_expected(seed):
    import flax.nnx as nnx

    return nnx_outcome(nnx.jit, np.random.default_rng(seed).normal(size=(4, 6, 6, 3)).astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["inside nnx.jit", "of nnx.jit", "alone"])
def test_an_nnx_step_updates_its_net_and_its_optimizer(way):
    nnx = pytest.importorskip("flax.nnx")
    x = np.random.default_rng(0).normal(size=(4, 6, 6, 3)).astype(np.float32)
    wraps = {
        "inside nnx.jit": lambda step: nnx.jit(jc.accelerate(step)),
        "of nnx.jit": lambda step: jc.accelerate(nnx.jit(step)),
        "alone": jc.accelerate,
    }
    assert_same(nnx_outcome(wraps[way], x), nnx_expected(0), 1e-4)


@pytest.mark.slow
def test_nnx_methods_and_nets_that_are_called(x):
    nnx = pytest.importorskip("flax.nnx")

    class Counted(nnx.Module):
        def __init__(self):
            self.norm, self.calls = nnx.BatchNorm(3, rngs=nnx.Rngs(0)), nnx.Variable(jnp.zeros(()))

        def __call__(self, x):
            self.calls[...] += 1
            return self.norm(x)

        step = __call__
        decorated = jc.accelerate(__call__)

    net, want = Counted(), Counted()
    for call in (jc.accelerate(net.step), jc.accelerate(net), net.decorated):
        np.testing.assert_array_equal(call(x), want(x))
    assert net.calls[...] == 3
    np.testing.assert_array_equal(net.norm.mean[...], want.norm.mean[...])


@pytest.mark.slow
def test_an_nnx_step_may_change_the_net_itself():
    nnx = pytest.importorskip("flax.nnx")

    def grow(net):
        net.new, net.name = nnx.Param(2 * net.calls[...] + jnp.ones(2)), "grown"
        return net

    net, _ = nnx_net()
    assert jc.accelerate(grow)(net) is net
    assert net.name == "grown"
    np.testing.assert_array_equal(net.new[...], [1, 1])


def test_report_updates_nothing(x):
    net, optimizer = nnx_net()
    found = jc.accelerate.report(nnx_step, net, optimizer, x)
    assert [row.slot for row in found] == ["y", "y", "k", "y", "k"]
    assert (net.calls[...], optimizer.step[...]) == (0, 0)


# ---------------------------------------------------------------- Equinox


@pytest.mark.slow
@pytest.mark.parametrize("way", [pytest.param("alone", marks=pytest.mark.slow), "of filter_jit", "inside filter_jit"])
def test_an_equinox_step_returns_its_model(way, x):
    eqx = pytest.importorskip("equinox")

    class Net(eqx.Module):
        conv: eqx.nn.Conv2d
        act: Any
        name: str

    tx = optax.adam(1e-2)
    net = Net(eqx.nn.Conv2d(3, 4, 3, key=jax.random.key(0)), jax.nn.relu, "net")
    state = tx.init(eqx.filter(net, eqx.is_array))

    def step(net, state, x):
        value, grads = eqx.filter_value_and_grad(lambda net: (jax.vmap(net.conv)(x) ** 2).mean())(net)
        updates, state = tx.update(grads, state)
        return eqx.apply_updates(net, updates), state, value

    jit, fast = eqx.filter_jit, jc.accelerate
    call = {"alone": fast(step), "of filter_jit": fast(jit(step)), "inside filter_jit": jit(fast(step))}[way]
    got, want = (f(net, state, np.moveaxis(x, -1, 1)) for f in (call, step))
    assert (type(got[0]), got[0].act, got[0].name) == (Net, jax.nn.relu, "net")
    assert_same(*(eqx.filter(tree, eqx.is_array) for tree in (got, want)), 1e-4)
