"""Schedules by optax's names."""

import inspect

import numpy as np
import pytest

from jaxconv._base.errors import ConfigError
from jaxconv.training.optim import in_steps, peak_argument, rate_schedule, schedules

pytestmark = pytest.mark.sampled


@pytest.mark.parametrize("name", sorted(schedules()))
def test_every_schedule_is_made_from_the_peak_alone(name):
    given = {"decay_rate": 0.5} if "decay_rate" in inspect.signature(schedules()[name]).parameters else {}
    given |= {"power": 2} if "power" in inspect.signature(schedules()[name]).parameters else {}
    rates = np.array([rate_schedule(name, 0.1, 100, **given)(step) for step in range(101)])
    assert rates.max() == pytest.approx(0.1, rel=1e-3)
    assert (rates >= 0).all()


def test_durations_may_be_given():
    rate = rate_schedule("warmup_cosine_decay_schedule", 1.0, 100, warmup_steps=50, decay_steps=60)
    assert rate(25) == pytest.approx(0.5)
    assert rate(60) == pytest.approx(0, abs=1e-6)
    assert peak_argument(schedules()["warmup_cosine_decay_schedule"]) == "peak_value"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: rate_schedule("cosine_decay_schedule", 0.1, 9, init_value=1.0),
            "optim.schedule.init_value: is set by optim.learning_rate; leave it out here",
        ),
        (
            lambda: rate_schedule("exponential_decay", 0.1, 9),
            "optim.schedule.decay_rate: must be given; exponential_decay has no default for it",
        ),
        (
            lambda: rate_schedule("linear_onecycle_schedule", 0.1, 9, div_factor=0.0),
            "optim.schedule: linear_onecycle_schedule cannot be made of transition_steps=9, pct_start=0.3, "
            "pct_final=0.85, final_div_factor=10000.0, div_factor=0.0, peak_value=0.1: float division by zero",
        ),
        (
            lambda: in_steps({"warmup_epochs": [1], "decay_percent": float("inf"), "end_value": "x"}, 1, 1, 1),
            "optim.schedule.warmup_epochs: must be a finite number, got [1]\n"
            "optim.schedule.decay_percent: must be a finite number, got inf",
        ),
    ],
)
def test_messages(call, message):
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value) == message


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'linear_schedule'"):
        rate_schedule("linear_schedul", 0.1, 1)
