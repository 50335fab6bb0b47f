"""Nets trained together, each equal to its lone run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxconv as jc
from jaxconv._base.errors import ConfigError
from jaxconv.data import Arrays, Batch
from jaxconv.training.batches import Resident
from jaxconv.training.ensemble import init_ensemble, member
from jaxconv.training.evaluation import make_eval_step
from jaxconv.training.loop import fit
from jaxconv.training.running import DivergedError
from jaxconv.training.step import init_state, make_step

SEEDS = [3, 0, 7]


@pytest.fixture
def net():
    scaled = lambda x: x.astype(jnp.float32) / 255  # noqa: E731
    return jc.chain(
        scaled, jc.Conv(4, 3), jc.BatchNorm(), jax.nn.relu, jc.MaxPool(2), jc.flatten, jc.Dropout(0.2), jc.Dense(3)
    )


@pytest.fixture
def images(rng):
    labels = rng.integers(0, 3, 40).astype(np.int32)
    values = rng.integers(0, 90, (40, 8, 8, 1)) + 50 * labels[:, None, None, None]
    return Arrays(values.astype(np.uint8), labels)


@pytest.mark.slow
def test_each_member_is_what_it_is_alone(net, images):
    tx = optax.sgd(0.05, momentum=0.9)
    step = make_step(net, tx)
    together = init_ensemble(net, tx, SEEDS, (1, 8, 8, 1))
    fitted = fit(step, together, Resident(images, 8, SEEDS), steps=6, members=True)
    for number, seed in enumerate(SEEDS):
        lone = init_state(net, tx, jax.random.key(seed), (1, 8, 8, 1))
        alone = fit(step, lone, Resident(images, 8, seed), steps=6).final
        got = member(fitted.final, number)
        pairs = zip(jax.tree.leaves((got.params, got.state)), jax.tree.leaves((alone.params, alone.state)), strict=True)
        for one, other in pairs:
            np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.slow
def test_a_members_first_parameters_are_the_lone_ones_bit_for_bit(net):
    together = init_ensemble(net, optax.adam(0.1), SEEDS, (1, 8, 8, 1), average=True)
    for number, seed in enumerate(SEEDS):
        lone = init_state(net, optax.adam(0.1), jax.random.key(seed), (1, 8, 8, 1), average=True)
        for one, other in zip(jax.tree.leaves(member(together, number)), jax.tree.leaves(lone), strict=True):
            assert (one == other).all()


def test_vote_and_mean_probability(rng):
    logits = rng.normal(size=(5, 200, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 200).astype(np.int32)
    net = jc.compose("given", {}, lambda call, x: x)
    net = jc.Layer("given", net.init, lambda params, state, x, *, key=None, train=False: (params["logits"], state))
    batch = Batch(np.zeros([200, 1, 1, 1]), labels, np.ones(200, np.float32))
    found = jax.device_get(jax.jit(make_eval_step(net, members=True))({"logits": jnp.asarray(logits)}, {}, batch))
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(-1, keepdims=True)
    np.testing.assert_array_equal(found["answer"], logits.argmax(-1))
    np.testing.assert_array_equal(found["mean_answer"], p.mean(0).argmax(-1))
    np.testing.assert_allclose(found["mean_confidence"], p.mean(0).max(-1), rtol=1e-5)
    np.testing.assert_allclose(found["mean_loss"], -np.log(p.mean(0)[np.arange(200), labels]), rtol=1e-4)
    counts = np.array([np.bincount(answers, minlength=4) for answers in logits.argmax(-1).T])
    for image, answer in enumerate(found["vote"]):
        winners = np.flatnonzero(counts[image] == counts[image].max())
        assert answer == winners[p.mean(0)[image, winners].argmax()]
    rank = np.array([[np.sum(row > row[label]) for row, label in zip(rows, labels, strict=True)] for rows in logits])
    np.testing.assert_array_equal(found["rank"], rank)


def test_a_net_that_answers_nan_is_never_right():
    net = jc.Layer("nan", lambda key, x: ({}, {}), lambda params, state, x, *, key=None, train=False: (x, state))
    batch = Batch(jnp.full([3, 4], jnp.nan), jnp.zeros(3, jnp.int32), jnp.ones(3))
    assert (jax.jit(make_eval_step(net))({}, {}, batch)["rank"] == 4).all()


@pytest.mark.slow
def test_a_member_that_diverges_is_named(net, images):
    tx = optax.sgd(0.05)
    state = init_ensemble(net, tx, SEEDS, (1, 8, 8, 1))
    state.params["dense0"]["kernel"] = state.params["dense0"]["kernel"].at[2].set(jnp.inf)
    with pytest.raises(DivergedError, match=r"^the loss of member 2 became nan at step 1; try "):
        fit(make_step(net, tx), state, Resident(images, 8, SEEDS), steps=6, members=True)


def test_seeds_must_differ(net):
    with pytest.raises(ConfigError) as caught:
        init_ensemble(net, optax.sgd(0.1), [1, 1], (1, 8, 8, 1))
    assert str(caught.value) == "an ensemble needs a different seed for each member, got [1, 1]"
