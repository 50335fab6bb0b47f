"""Learning-rate range test: rates, losses, and where it ends."""

import numpy as np
import pytest
from support.tiny_run import invoke

from jaxconv._base.errors import ConfigError
from jaxconv.run import config
from jaxconv.run.range_test import _suggestions, lr_range, smoothed


def test_smoothing_is_an_unbiased_running_mean(rng):
    losses = rng.normal(2, 1, 200)
    found = smoothed(losses, 100)  # a decay of 0.8
    for number in (0, 5, 199):
        weights = 0.8 ** np.arange(number, -1, -1)
        assert found[number] == pytest.approx((weights * losses[: number + 1]).sum() / weights.sum())
    assert smoothed([3.0, 1.0], 10) == [3.0, 1.0]


def test_suggestions_are_the_steepest_descent_before_the_lowest_loss():
    rates = [10.0**power for power in range(-6, 2)]
    assert _suggestions(rates, [2.3, 2.3, 2.2, 1.5, 0.8, 0.7, 1.0, 0.69]) == (1e-3, 10.0)
    assert _suggestions(rates, [2.3, 2.3, 2.2, 1.5, 0.8, 0.7, 3.0, 9.0]) == (1e-3, 1e-1)
    assert _suggestions(rates, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]) == (None, 1e-6)


@pytest.mark.slow
def test_the_rate_rises_from_step_to_step_until_the_loss_explodes(tiny):
    settings = config.read(tiny, ["batch_size=32", "optim.swa={start_percent=50}"])
    found = lr_range(settings, 1e-3, 1e3, 60)
    count = len(found.rates)
    assert 20 < count < 60
    np.testing.assert_allclose(found.rates, 1e-3 * 1e6 ** (np.arange(count) / 59), rtol=1e-4)
    assert found.losses[0] == pytest.approx(np.log(10), rel=0.3)
    assert found.rates[0] < found.steepest < found.lowest < found.rates[-1]
    assert found.smooth[-1] > 4 * min(found.smooth) or not np.isfinite(found.smooth[-1]) or count < 60


@pytest.mark.parametrize(("low", "high", "steps"), [(0, 1, 100), (1, 1, 100), (1e-3, float("inf"), 100), (0.1, 1, 9)])
def test_ranges_that_are_none(tiny, low, high, steps):
    with pytest.raises(ConfigError) as caught:
        lr_range(config.read(tiny), low, high, steps)
    assert str(caught.value) == (
        f"a range test needs 0 < low < high and at least 10 steps; got {low:g}, {high:g} and {steps}"
    )


@pytest.mark.slow
def test_the_command_draws_and_suggests(tiny, tmp_path):
    out = tmp_path / "lr.png"
    result = invoke("plot", "lr", tiny, "--low", "1e-3", "--high", "1", "--steps", "20", "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[-2].split() == ["steps", "20", "of", "20"]
    assert lines[-1] == f"wrote {out}"
    assert out.read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.toml", "lr.png"}
    result = invoke("plot", "lr", tiny, "--out", tmp_path / "lr.pdf")
    assert (result.exit_code, result.stderr) == (2, f"error: --out must end in .png; got {tmp_path}/lr.pdf\n")
    result = invoke("plot", "lr", tiny, "--low", "1e30", "--high", "1e31", "--out", out)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: the loss is not finite after ")
