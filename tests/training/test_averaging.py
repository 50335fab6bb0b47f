"""Averages of parameters against loops over the steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxconv as jc
from jaxconv._base.errors import ConfigError
from jaxconv.data import Batch
from jaxconv.training import init_state, make_step
from jaxconv.training.averaging import ema, ema_preset, swa

NET = jc.chain(jc.flatten, jc.Dense(3))


def trajectory(rng, average, steps):
    """Parameters after each step, and the averages; steps of random batches."""
    step = jax.jit(make_step(NET, optax.sgd(0.3), average=average))
    train = init_state(NET, optax.sgd(0.3), jax.random.key(0), (1, 2, 2, 1), average=True)
    params, averages = [np.asarray(train.params["dense0"]["kernel"])], []
    for _ in range(steps):
        images = rng.normal(size=(8, 2, 2, 1)).astype(np.float32)
        train, _ = step(train, Batch(images, rng.integers(0, 3, 8).astype(np.int32), np.ones(8, np.float32)))
        params.append(np.asarray(train.params["dense0"]["kernel"]))
        averages.append(np.asarray(train.tested[0]["dense0"]["kernel"]))
    return params[1:], averages


@pytest.mark.parametrize(("start", "every"), [(0, 1), (4, 3)])
def test_swa_is_the_mean_of_the_parameters_at_its_steps(rng, start, every):
    params, averages = trajectory(rng, swa(start, every), 14)
    for step, found in enumerate(averages):
        sampled = params[start : step + 1 : every] or [params[step]]
        np.testing.assert_allclose(found, np.mean(sampled, 0), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("decay", "every"), [(0.5, 1), (0.9, 3)])
def test_ema(rng, decay, every):
    params, averages = trajectory(rng, ema(decay, every), 14)
    first = init_state(NET, optax.sgd(0.3), jax.random.key(0), (1, 2, 2, 1)).params["dense0"]["kernel"]
    expected = np.asarray(first, np.float64)
    for step, found in enumerate(averages):
        if (step + 1) % every == 0:
            taken = step // every
            share = min(decay, (1 + taken) / (10 + taken))
            expected = share * expected + (1 - share) * params[step]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_a_number_is_the_decay_of_an_ema(rng):
    one, other = (trajectory(np.random.default_rng(0), average, 5)[1] for average in (0.9, ema(0.9)))
    np.testing.assert_array_equal(one, other)


def test_presets():
    far = jnp.int32(10**8 - 1)
    assert ema_preset("timm", 128, 90)(far) == np.float32(0.9998)
    assert ema_preset("torchvision", 1024, 600)(far) == np.float32(1 - 2e-5 * 1024 * 32 / 600)  # of its train.py
    assert ema_preset("torchvision", 1024, 600)(far - 1) == 1
    with pytest.raises(ConfigError, match=r"optim\.ema=torchvision needs more epochs or a smaller train\.batch_size"):
        ema_preset("torchvision", 4096, 1)


@pytest.mark.parametrize("make", [lambda: ema(1.0), lambda: ema(0.9, 0), lambda: swa(-1, 1), lambda: swa(0, 0)])
def test_invalid_rules(make):
    with pytest.raises(ConfigError, match=r"^(an EMA|SWA) needs "):
        make()
