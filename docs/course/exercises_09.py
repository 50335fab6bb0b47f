"""Tests of the exercises on training."""

import numpy as np
from lesson import Unanswered, alike, exercise, numbers, same
from lesson import check as check
from lesson import picture as picture


@exercise("9.1")
def first_loss(answer):
    mistakes = {
        (3.3219,): "This is the logarithm to base 2; the loss is measured with the natural one.",
        (1.0,): "This is the logarithm to base 10; the loss is measured with the natural one.",
        (0.1,): "This is the probability; the loss is minus its logarithm.",
        (-2.3026,): "Logarithms of probabilities are negative; the loss is minus the logarithm.",
    }
    return numbers(answer, (2.302585,), mistakes, "Each class has probability 1/10, also the right one.")


@exercise("9.2")
def cross_entropy(answer):
    random = np.random.default_rng(0)
    cases = [(random.normal(size=10), 3), (np.array([0.0, 1000.0, 0.0]), 1), (np.array([0.0, 1000.0]), 0)]
    for scores, label in cases:
        with np.errstate(all="ignore"):
            got = answer(scores, label)
        if got is None:
            raise Unanswered
        top = scores.max()
        want = top + np.log(np.exp(scores - top).sum()) - scores[label]
        if np.abs(scores).max() >= 1000 and not np.isfinite(got):
            return "exp(1000) overflows. Subtract the largest score from all; the probabilities stay the same."
        if want > 0.01 and alike(got, -want):
            return "The sign: the loss of an unlikely class is large and positive."
        if wrong := same(got, want, f"scores {np.round(scores[:3], 2)}…, label {label}"):
            return wrong
    return None


@exercise("9.3")
def step(answer):
    w, gradient = np.array([1.0, -2.0, 0.0]), np.array([0.5, 0.5, -1.0])
    for rate, decay in ((0.1, 0.0), (0.1, 0.5), (1.0, 0.1)):
        got, want = answer(w.copy(), gradient.copy(), rate, decay), w - rate * (gradient + decay * w)
        if alike(got, w + rate * (gradient + decay * w)):
            return "The gradient points to larger losses; go the other way."
        if decay and alike(got, w - rate * (gradient - decay * w)):
            return "With this sign the weights grow: decay pulls them towards 0."
        if decay and rate != 1 and alike(got, w - rate * gradient - decay * w):
            return "The decay is a part of the gradient and is multiplied by the learning rate, too."
        if wrong := same(got, want, f"rate {rate}, decay {decay}"):
            return wrong
    return None
