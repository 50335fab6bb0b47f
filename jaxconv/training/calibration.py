"""Temperature scaling: calibrated probabilities of a trained net."""

from __future__ import annotations

import numpy as np

from jaxconv._base.errors import ConfigError

__all__ = ["LARGEST", "fit_temperature"]

LARGEST = 100.0
"""The temperature is at most this, and at least its inverse."""

_FINITE = -1e30  # log-probability of an impossible class, whose product with a probability of 0 must be 0


def fit_temperature(log_p: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T that minimizes the mean cross-entropy of `softmax(log_p / T)`.

    Args:
      log_p: floating [N, C], log-probabilities or logits of images that were not trained on.
      labels: integers [N].

    Returns:
      T, within 1/100 and 100; above 1 if the net is overconfident. Newton's method in 1/T, in which the loss is convex.

    Raises:
      ConfigError: if there are no images.

    Source: Guo et al., On calibration of modern neural networks, 2017.

    >>> sure = np.log([[0.9, 0.1]] * 4)  # right in three of four
    >>> print(round(fit_temperature(sure, np.array([0, 0, 0, 1])), 3))
    2.0
    """
    if len(labels) == 0:
        raise ConfigError("temperature scaling needs at least one image, got none")
    z = np.maximum(np.asarray(log_p, np.float64), _FINITE)
    z = z - z.max(-1, keepdims=True)
    own = z[np.arange(len(labels)), labels]
    low, high, beta = 1 / LARGEST, LARGEST, 1.0  # of 1/T
    for _ in range(100):
        p = np.exp(beta * z)
        p /= p.sum(-1, keepdims=True)
        mean = (p * z).sum(-1)
        slope = float((mean - own).mean())
        if slope == 0:
            break
        low, high = (beta, high) if slope < 0 else (low, beta)
        bend = float((p * (z - mean[:, None]) ** 2).sum(-1).mean())
        step = beta - slope / bend if bend > 0 else high
        step = step if low < step < high else (low * high) ** 0.5
        if abs(step - beta) <= 1e-9 * beta:
            break
        beta = step
    return float(1 / beta)


def __dir__() -> list[str]:
    return sorted(__all__)
