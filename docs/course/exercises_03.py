"""Tests of the exercises on shared weights."""

import numpy as np
from lesson import alike, exercise, numbers, same
from lesson import check as check
from lesson import picture as picture


@exercise("3.1")
def parameters(answer):
    mistakes = {
        (520, 299_520): "The image has three channels, and a kernel has weights for each.",
        (1_500, 864_000): "These are the weights; there is a bias for each kernel, too.",
        (1_520, 864_020): "Without sharing, each unit has a bias of its own, too.",
        (1_520, 1_191_680): "Only 24×24 windows of 5×5 fit into 28×28 pixels.",
    }
    advice = "A unit has 5·5·3 weights and a bias. How many units have parameters of their own?"
    return numbers(answer, (1_520, 875_520), mistakes, advice)


@exercise("3.2")
def shift(answer):
    x = np.arange(1.0, 25).reshape(4, 3, 2)
    for rows, columns in ((1, 0), (0, 2), (2, 1), (0, 0)):
        want = np.zeros_like(x)
        want[rows:, columns:] = x[: 4 - rows, : 3 - columns]
        got = answer(x.copy(), rows, columns)
        if (rows or columns) and alike(got, np.roll(x, (rows, columns), (0, 1))):
            return "What leaves the image on one side came back on the other; the new cells should be 0."
        if wrong := same(got, want, f"shift(x, {rows}, {columns})"):
            return wrong
    return None


@exercise("3.3")
def convolve(answer):
    random = np.random.default_rng(0)
    for n, k in ((7, 3), (5, 1), (4, 4)):
        x, kernel = random.normal(size=n), random.normal(size=k)
        got = answer(x, kernel)
        if k > 1 and alike(got, np.convolve(x, kernel, "valid")):
            return "The kernel is turned around, as in signal processing; in networks tap m meets cell i + m."
        if wrong := same(got, np.correlate(x, kernel, "valid"), f"{n} cells, {k} taps"):
            return wrong
    return None
