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
    gradient = jax.tree.map(jnp.ones_like, params)

    def value_fn(params: Any) -> jax.Array:
        return jnp.sum(params["w"])

    extra = {"value": value_fn(params), "grad": gradient, "value_fn": value_fn}  # as `make_step` gives them
    updates, _ = optax.with_extra_args_support(tx).update(gradient, tx.init(params), params, **extra)
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


def one_step(tx, params, gradient, state=None):
    updates, state = tx.update(gradient, tx.init(params) if state is None else state, params)
    return optax.apply_updates(params, updates), state


def test_groups_have_their_own_optimizer_and_share_the_schedule():
    params = {"body": {"kernel": jnp.array([3.0]), "bias": jnp.array([1.0])}, "head": {"kernel": jnp.array([2.0])}}
    groups: dict[str, Any] = {
        "*bias": {"name": "sgd", "learning_rate": 0.5, "weight_decay": 0.25},
        "head": {"name": "adam", "learning_rate": 0.1, "schedule": {"name": "constant_schedule"}},
    }
    options = {"schedule": {"name": "linear_schedule"}, "weight_decay": 0.5}
    tx, state = optimizer("sgd", 1.0, 4, groups=groups, **options), None
    gradient = jax.tree.map(jnp.ones_like, params)
    kernel, bias = 3.0, 1.0
    for step in range(3):
        params, state = one_step(tx, params, gradient, state)
        kernel -= (1 - step / 4) * (1 + 0.5 * kernel)
        bias -= 0.5 * (1 - step / 4) * (1 + 0.25 * bias)
        assert params["body"]["kernel"] == pytest.approx(kernel, rel=1e-5)
        assert params["body"]["bias"] == pytest.approx(bias, rel=1e-5)
        assert params["head"]["kernel"] == pytest.approx(2 - 0.1 * (step + 1), rel=1e-5)  # Adam on a constant gradient


def test_the_first_matching_group_decides():
    groups = {name: {"name": "sgd", "learning_rate": rate} for name, rate in (("a/bias", 1.0), ("*bias", 10.0))}
    params = {"a": {"bias": jnp.zeros(1)}, "b": {"bias": jnp.zeros(1)}}
    new, _ = one_step(optimizer("sgd", 100.0, 1, groups=groups), params, jax.tree.map(jnp.ones_like, params))
    assert (float(new["a"]["bias"][0]), float(new["b"]["bias"][0])) == (-1, -10)


def test_normalized_kernels_have_their_norm_before_each_step(rng):
    kernel, change = rng.normal(size=(2, 3, 3, 4, 9)).astype(np.float32)
    params = {"conv": {"kernel": jnp.array(kernel), "bias": jnp.ones(9)}, "head": {"kernel": jnp.ones([2, 2])}}
    gradient = {"conv": {"kernel": jnp.array(change), "bias": jnp.ones(9)}, "head": {"kernel": jnp.ones([2, 2])}}
    tx = optimizer("sgd", 0.5, 1, normalize=["conv*/kernel"], weight_decay=0.5)
    new, _ = one_step(tx, params, gradient)
    start = kernel.astype(np.float64) * 3 / np.sqrt((kernel.astype(np.float64) ** 2).sum())
    np.testing.assert_allclose(new["conv"]["kernel"], start - 0.5 * (change + 0.5 * start), atol=1e-6)
    np.testing.assert_array_equal(new["conv"]["bias"], 0.5 * np.ones(9))
    np.testing.assert_array_equal(new["head"]["kernel"], 1 - 0.5 * 1.5 * np.ones([2, 2]))


def test_a_kernel_of_zeros_is_not_normalized():
    new, _ = one_step(optimizer("sgd", 0.5, 1, normalize=["*"]), {"a": jnp.zeros([2, 2])}, {"a": jnp.ones([2, 2])})
    np.testing.assert_array_equal(new["a"], -0.5 * np.ones([2, 2]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": {"nose": {"name": "sgd", "learning_rate": 1.0}}}, "optim.groups: a pattern must match"),
        ({"normalize": ["nose"]}, "optim.normalize: a pattern must match"),
    ],
)
def test_patterns_without_a_match_name_the_key(options, message):
    with pytest.raises(ConfigError, match=message):
        optimizer("sgd", 1.0, 1, **options).init({"a": jnp.ones(2)})


def test_a_mistake_in_a_group_names_it():
    with pytest.raises(ConfigError, match=r"^optim.groups.head.momentun: sgd takes momentum"):
        optimizer("sgd", 1.0, 1, groups={"head": {"name": "sgd", "learning_rate": 1.0, "momentun": 0.9}})
