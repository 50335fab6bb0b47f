"""Optimizers that need more than gradients: SAM against torch, the others against a loop of optax's own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.torch_or_skip import torch

import jaxconv as jc
from jaxconv._base.errors import ConfigError
from jaxconv.data import Batch
from jaxconv.training import init_ensemble, init_state, make_step, member, optim
from jaxconv.training.losses import cross_entropy
from jaxconv.training.step import AverageOf

NET = jc.chain(jc.flatten, a=jc.Dense(5), tanh=jnp.tanh, b=jc.Dense(3))
SHAPE = (1, 2, 3, 1)
STATE = {name: {} for name in NET.parts}


@pytest.fixture
def batches(rng):
    images = rng.normal(size=(4, 12, *SHAPE[1:])).astype(np.float32)
    labels = rng.integers(0, 3, (4, 12)).astype(np.int32)
    return [Batch(x, y, np.ones(12, np.float32)) for x, y in zip(images, labels, strict=True)]


def trained(tx, batches, **options):
    average = options.get("average") is not None
    train = init_state(NET, tx, jax.random.key(0), SHAPE, average=average)
    step = jax.jit(make_step(NET, tx, **options))
    for batch in batches:
        train, _ = step(train, batch)
    return train


def assert_same(one, other, rtol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-6), one, other)


def torchs_sam(batches, rho, frozen=()):
    """Parameters after steps of the paper's algorithm 1 with SGD of momentum."""
    start = init_state(NET, optax.sgd(0.1), jax.random.key(0), SHAPE).params
    weights = {f"{part}/{leaf}": torch.tensor(np.asarray(start[part][leaf])) for part in "ab" for leaf in start[part]}
    free = [weights[name].requires_grad_() for name in weights if not name.startswith(tuple(frozen) or ("-",))]
    descent = torch.optim.SGD(free, lr=0.1, momentum=0.9)

    def loss(batch):
        h = torch.tensor(batch.image).flatten(1) @ weights["a/kernel"] + weights["a/bias"]
        logits = torch.tanh(h) @ weights["b/kernel"] + weights["b/bias"]
        return torch.nn.functional.cross_entropy(logits, torch.tensor(batch.label).long())

    for batch in batches:
        gradient = torch.autograd.grad(loss(batch), free)
        norm = torch.sqrt(sum((g**2).sum() for g in gradient))
        before = [w.detach().clone() for w in free]
        with torch.no_grad():
            for w, g in zip(free, gradient, strict=True):
                w += rho * g / norm
        sharp = torch.autograd.grad(loss(batch), free)
        with torch.no_grad():
            for w, b, g in zip(free, before, sharp, strict=True):
                w.copy_(b)
                w.grad = g
        descent.step()
    return {part: {leaf: weights[f"{part}/{leaf}"].detach().numpy() for leaf in start[part]} for part in "ab"}


@pytest.mark.parametrize("accumulate", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_sam_is_that_of_the_paper(batches, accumulate):
    tx = optim.sharpness_aware(optax.sgd(0.1, momentum=0.9), rho=0.3)
    found = trained(tx, batches, accumulate=accumulate).params
    for part, expected in torchs_sam(batches, 0.3).items():
        assert_same(found[part], expected)


def test_sam_leaves_frozen_parts_in_place(batches):
    tx = optim.sharpness_aware(optim.freeze(optax.sgd(0.1, momentum=0.9), "a"), 0.3, freeze=["a"])
    found = trained(tx, batches).params
    for part, expected in torchs_sam(batches, 0.3, frozen=["a"]).items():
        assert_same(found[part], expected)


@pytest.mark.slow
def test_sam_of_a_zero_gradient_and_of_a_batch_statistic(batches):
    """Images without weight move nothing; running statistics are those of the parameters, not of the worst nearby."""
    tx = optim.sharpness_aware(optax.sgd(0.1))
    params, start = trained(tx, [batches[0]._replace(weight=np.zeros(12, np.float32))]).params, trained(tx, []).params
    assert_same(params, start)
    net = jc.chain(jc.flatten, jc.Dense(4), jc.BatchNorm(), jc.Dense(3))
    states = []
    for tx in (optax.sgd(0.1), optim.sharpness_aware(optax.sgd(0.1), 2.0)):
        train = init_state(net, tx, jax.random.key(0), SHAPE)
        states.append(jax.jit(make_step(net, tx))(train, batches[0])[0].state)
    assert_same(*states)


@pytest.mark.slow
def test_members_of_an_ensemble_with_sam_equal_separate_runs(batches):
    tx = optim.sharpness_aware(optax.adam(0.05), 0.2)
    step = jax.jit(make_step(NET, tx))
    both = init_ensemble(NET, tx, [0, 1], SHAPE)
    alone = init_ensemble(NET, tx, [1], SHAPE)
    alone = member(alone, 0)
    for batch in batches:
        both, _ = jax.jit(jax.vmap(step, (0, None)))(both, batch)
        alone, _ = step(alone, batch)
    assert_same(member(both.params, 1), alone.params, rtol=1e-4)


def loss_of(params, batch):
    return cross_entropy(NET.apply(params, STATE, batch.image)[0], batch.label)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "accumulate"), [("momo", 1), ("momo_adam", 2), ("lbfgs", 1), ("lbfgs", 2)])
def test_optimizers_that_take_the_loss(batches, name, accumulate):
    tx = optim.optimizer(name, 0.5, steps=8, max_grad_norm=100.0)
    found = trained(tx, batches, accumulate=accumulate)
    own = getattr(optax, name, None) or getattr(optax.contrib, name)
    tx = own(0.5)
    params = init_state(NET, tx, jax.random.key(0), SHAPE).params
    state = tx.init(params)

    @jax.jit
    def step(params, state, batch):
        value, grad = jax.value_and_grad(loss_of)(params, batch)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=lambda p: loss_of(p, batch))
        return optax.apply_updates(params, updates), state

    for batch in batches:
        params, state = step(params, state, batch)
    assert_same(found.params, params, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw"])
def test_schedule_free_optimizers_evaluate_their_average(batches, name):
    tx = optim.optimizer(name, 0.3, steps=8, b1=0.8)
    found = trained(tx, batches, average=AverageOf(optim.averaged_params))
    expected = optax.contrib.schedule_free_eval_params(found.opt_state[0], found.params)
    assert_same(found.tested[0], expected)
    assert loss_of(found.tested[0], batches[0]) != loss_of(found.params, batches[0])
    # What optax trains by itself.
    own = getattr(optax.contrib, name)(0.3, b1=0.8)
    params = init_state(NET, own, jax.random.key(0), SHAPE).params
    state = own.init(params)
    for batch in batches:
        updates, state = own.update(jax.grad(loss_of)(params, batch), state, params)
        params = optax.apply_updates(params, updates)
    assert_same(found.params, params)


def test_frozen_parts_of_a_schedule_free_optimizer(batches):
    tx = optim.optimizer("schedule_free_sgd", 0.3, steps=8, freeze=["a"])
    found = trained(tx, batches, average=AverageOf(optim.averaged_params))
    start = init_state(NET, tx, jax.random.key(0), SHAPE).params
    np.testing.assert_array_equal(found.tested[0]["a"]["kernel"], start["a"]["kernel"])
    assert (found.tested[0]["b"]["kernel"] != start["b"]["kernel"]).all()


def test_an_overflow_of_the_second_gradient_skips_a_float16_step(batches):
    tx = optim.sharpness_aware(optax.sgd(0.1), 1e30)
    net = jc.chain(jc.flatten, jc.Dense(3), lambda x: jnp.exp(x))
    train = init_state(net, tx, jax.random.key(0), SHAPE, scale_loss=True)
    after, _ = jax.jit(make_step(net, tx, scale_loss=True))(train, batches[0])
    assert after.scale.scale == train.scale.scale / 2
    assert_same(after.params, dataclasses.replace(train).params)


def test_refusals():
    with pytest.raises(ConfigError, match=r"optim\.sam must be a distance above 0, got 0"):
        optim.sharpness_aware(optax.sgd(0.1), 0)
    with pytest.raises(ConfigError, match=r"optim\.memory_size: must be a whole number, 1 or more, got 2\.5"):
        optim.optimizer("lbfgs", 0.1, steps=1, memory_size=2.5)
