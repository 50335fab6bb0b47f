"""Temperature scaling against SciPy's minimizer."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from jaxconv._base.errors import ConfigError
from jaxconv.training import fit_temperature
from jaxconv.training.metrics import calibration_error


def drawn(rng, temperature, images=400, classes=6):
    """Logits of a net that is overconfident by a temperature, and labels drawn from the calibrated probabilities."""
    logits = rng.normal(0, 2, (images, classes))
    labels = np.array([rng.choice(classes, p=np.exp(row)) for row in log_softmax(logits, -1)])
    return temperature * logits, labels


def loss(temperature, logits, labels):
    return -log_softmax(logits / temperature, -1)[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0, 20.0])
def test_the_temperature_minimizes_the_loss(rng, temperature):
    logits, labels = drawn(rng, temperature)
    found = fit_temperature(logits.astype(np.float32), labels)
    best = minimize_scalar(loss, bounds=(0.01, 100), args=(logits, labels), method="bounded", options={"xatol": 1e-9})
    assert found == pytest.approx(best.x, rel=1e-3)
    assert found == pytest.approx(temperature, rel=0.25)
    before, after = (np.exp(log_softmax(logits / t, -1)).astype(np.float32) for t in (1, found))
    if temperature > 2:
        assert calibration_error(after, labels) < 0.5 * calibration_error(before, labels)


def test_edges():
    sure = np.log([[0.9, 0.1]] * 3)
    assert fit_temperature(sure, np.array([1, 1, 1])) == pytest.approx(100)  # wrong in all: as flat as it may be
    assert 0.01 <= fit_temperature(sure, np.array([0, 0, 0])) < 0.1  # right in all
    assert fit_temperature(np.zeros((3, 4)), np.array([0, 1, 2])) == 1  # nothing to learn
    impossible = np.array([[-np.inf, 0.0, -1.0], [0.0, -np.inf, -1.0]])
    assert fit_temperature(impossible, np.array([2, 0])) == pytest.approx(
        minimize_scalar(loss, bounds=(0.01, 100), args=(impossible, np.array([2, 0])), method="bounded").x, rel=1e-3
    )
    with pytest.raises(ConfigError) as caught:
        fit_temperature(np.zeros((0, 3)), np.zeros(0, int))
    assert str(caught.value) == "temperature scaling needs at least one image, got none"
