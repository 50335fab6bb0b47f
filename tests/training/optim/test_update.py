"""Optimizers by optax's names."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxconv._base.errors import ConfigError
from jaxconv.training.optim import optimizer, optimizers

pytestmark = pytest.mark.sampled


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
    ],
)
def test_messages(call, message):
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("muon", {"ns_coeffs": [3.0, -4.0, 2.0], "mu_dtype": "bfloat16", "preconditioning": "spectral"}),
        ("prodigy", {"betas": [0.8, 0.9], "beta3": 0.5}),
        ("adafactor", {"dtype_momentum": jnp.bfloat16, "momentum": 0.9}),
        ("noisy_sgd", {"key": 3}),
    ],
)
def test_arguments_of_every_kind(name, args):
    tx = optimizer(name, 0.01, steps=10, **args)
    params = {"kernel": jnp.ones((3, 2))}
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
    assert np.isfinite(updates["kernel"]).all()


@pytest.mark.parametrize(("name", "key"), [("adamw", "mask"), ("muon", "muon_weight_dimension_numbers")])
def test_what_the_library_gives_itself_is_refused(name, key):
    with pytest.raises(ConfigError, match=rf"^optim\.{key}: {name} takes ") as caught:
        optimizer(name, 0.1, 1, **{key: True})
    assert key not in str(caught.value).partition(" takes ")[2]


def test_an_unknown_name_lists_what_exists():
    with pytest.raises(ConfigError) as caught:
        optimizer("adan w", 0.1, 1)
    assert str(caught.value).startswith("optim.name: must be one of adabelief, adadelta, ")
    assert "got 'adan w'; did you mean 'ada" in str(caught.value)
