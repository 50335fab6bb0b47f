"""Tests of the exercises on stride and the output size."""

import numpy as np
from lesson import Unanswered, alike, exercise, numbers, same
from lesson import check as check
from lesson import picture as picture


@exercise("7.1")
def sizes(answer):
    mistakes = {
        (56, 28, 28, 14): "Round down, not up: no window starts where it does not fit.",
        (54, 25, 24, 10): "Do not forget the + 1: the window at the very start.",
        (54, 26, 22, 10): "Both convolutions have 2 cells of padding on each side.",
        (54, 26, 24, 11): "The padding is added on both sides: 224 + 2·2.",
    }
    return numbers(answer, (55, 27, 27, 13), mistakes, "Apply floor((n + 2p − k) / s) + 1 four times in a row.")


@exercise("7.2")
def output_size(answer):
    cases = ((28, 5, 1, 0, 1, 24), (28, 3, 2, 1, 1, 14), (28, 3, 1, 0, 2, 24), (2, 5, 2, 0, 1, 0))
    for n, k, s, p, d, want in cases:
        got, case = answer(n, k, s, p, d), f"n={n}, k={k}, s={s}, p={p}, d={d}"
        if got is None:
            raise Unanswered
        if d > 1 and got == (n + 2 * p - k) // s + 1:
            return f"{case}: with dilation, k taps span d·(k − 1) + 1 cells."
        if want == 0 and got != 0:
            return f"{case}: no window fits, so the answer is 0, got {got}."
        if int(got) != got:
            return f"{case}: a number of windows is an integer, got {got}; round down."
        if wrong := same(got, want, case):
            return wrong
    return None


@exercise("7.3")
def strided(answer):
    random = np.random.default_rng(0)
    for n, k, s in ((8, 3, 1), (9, 3, 2), (10, 4, 3), (8, 3, 2)):
        x, kernel = random.normal(size=n), random.normal(size=k)
        got, want = answer(x, kernel, s), np.correlate(x, kernel, "valid")[::s]
        if s > 1 and alike(got, np.correlate(x[::s], kernel, "valid")):
            return "This leaves out cells of the input; a stride leaves out windows, and each window is complete."
        if wrong := same(got, want, f"{n} cells, kernel {k}, stride {s}"):
            return wrong
    return None
