"""Optimisers and schedules by optax's names."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxconv.errors import ConfigError
from jaxconv.optim import optimizer, optimizers, peak_argument, rate_schedule, schedules


@pytest.mark.parametrize("name", sorted(optimizers()))
def test_every_optimizer_makes_a_step(name):
    parameters = inspect.signature(optimizers()[name]).parameters
    required: dict[str, Any] = {key: 0.1 for key, p in parameters.items() if p.default is p.empty}
    if name == "noisy_sgd":
        required["key"] = 0
    required.pop("learning_rate", None)
    tx = optimizer(name, 0.01, steps=10, **required)
    params = {"w": jnp.array([1.0, -2.0])}
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
    assert np.isfinite(optax.apply_updates(params, updates)["w"]).all()


@pytest.mark.parametrize("name", sorted(schedules()))
def test_every_schedule_is_made_from_the_peak_alone(name):
    given = {"decay_rate": 0.5} if "decay_rate" in inspect.signature(schedules()[name]).parameters else {}
    given |= {"power": 2} if "power" in inspect.signature(schedules()[name]).parameters else {}
    rates = np.array([rate_schedule(name, 0.1, 100, **given)(step) for step in range(101)])
    assert rates.max() == pytest.approx(0.1, rel=1e-3)
    assert (rates >= 0).all()


def test_arguments_reach_optax():
    tx = optimizer("sgd", 0.1, steps=4, momentum=0.5, schedule={"name": "linear_schedule"})
    params = jnp.array(0.0)
    state, velocity, expected = tx.init(params), 0.0, 0.0
    for step in range(4):
        updates, state = tx.update(jnp.array(1.0), state, params)
        params = optax.apply_updates(params, updates)
        velocity = 0.5 * velocity + 1
        expected -= 0.1 * (1 - step / 4) * velocity
    assert params == pytest.approx(expected, rel=1e-5)


def test_durations_may_be_given():
    rate = rate_schedule("warmup_cosine_decay_schedule", 1.0, 100, warmup_steps=50, decay_steps=60)
    assert rate(25) == pytest.approx(0.5)
    assert rate(60) == pytest.approx(0, abs=1e-6)
    assert peak_argument(schedules()["warmup_cosine_decay_schedule"]) == "peak_value"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: optimizer("sgd", 0.1, 1, momentun=0.9),
            "optim.momentun: sgd takes momentum, nesterov, accumulator_dtype, weight_decay; did you mean 'momentum'?",
        ),
        (lambda: optimizer("sgd", 0.1, 1, nesterov=1), "optim.nesterov: must be true or false, got 1"),
        (
            lambda: optimizer("adam", 0.1, 1, b1="x", b2=True),
            "optim.b1: must be a number, got 'x'\noptim.b2: must be a number, got True",
        ),
        (
            lambda: rate_schedule("cosine_decay_schedule", 0.1, 9, init_value=1.0),
            "optim.schedule.init_value: is set by optim.learning_rate; leave it out here",
        ),
        (lambda: rate_schedule("exponential_decay", 0.1, 9), "optim.schedule.decay_rate: exponential_decay needs it"),
    ],
)
def test_messages(call, message):
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value) == message


def test_unknown_names_list_what_exists():
    with pytest.raises(ConfigError) as caught:
        optimizer("adan w", 0.1, 1)
    assert str(caught.value).startswith("optim.name: must be one of adabelief, adadelta, ")
    assert "got 'adan w'; did you mean 'ada" in str(caught.value)
    with pytest.raises(ConfigError, match="did you mean 'linear_schedule'"):
        rate_schedule("linear_schedul", 0.1, 1)
