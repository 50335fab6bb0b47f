"""Tests of the exercises on pooling."""

import numpy as np
from lesson import Unanswered, alike, exercise, numbers, same
from lesson import check as check
from lesson import picture as picture


@exercise("8.1")
def values(answer):
    mistakes = {
        (4, 2.25, 25): "The L2 pool is the square root of the sum of squares.",
        (4, 2.25, 2.5): "The L2 pool takes the root of the sum of squares, not of their mean.",
        (4, 9, 5): "The mean is the sum divided by the number of cells.",
    }
    return numbers(answer, (4, 2.25, 5), mistakes, "max 4, then the sum / 4, then the root of 1 + 4 + 4 + 16.")


@exercise("8.2")
def max_pool(answer):
    random = np.random.default_rng(0)
    for (h, w), k in (((4, 6), 2), ((5, 7), 2), ((7, 9), 3)):
        x = random.normal(size=(h, w)) - 2  # all windows negative, or nearly so
        want = [[x[i : i + k, j : j + k].max() for j in range(0, w - k + 1, k)] for i in range(0, h - k + 1, k)]
        got, case = answer(x.copy(), k), f"x [{h}, {w}], k = {k}"
        if alike(got, np.maximum(want, 0)):
            return f"{case}: the maximum of negative values is negative, not 0."
        if got is not None and np.shape(got) == (h - k + 1, w - k + 1):
            return f"{case}: the windows overlap; they start at 0, k, 2k, …"
        if got is not None and np.shape(got) == (-(-h // k), -(-w // k)) != np.shape(want):
            return f"{case}: a last window that is not complete is left out."
        if wrong := same(got, want, case):
            return wrong
    return None


@exercise("8.3")
def gradient(answer):
    for window in ([[3.0, 4.0]], [[1.0, -2.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]):
        x = np.array(window)
        got, norm = answer(x.copy()), np.sqrt((x**2).sum())
        if got is None:
            raise Unanswered
        if norm == 0 and not np.isfinite(np.asarray(got)).all():
            return "A window of zeros divides by zero; its gradient shall be 0."
        if norm and (alike(got, x) or alike(got, 2 * x)):
            return "This is the gradient of a sum of squares; the root has a derivative, too."
        if wrong := same(got, x / norm if norm else x, f"window {window}"):
            return wrong
    return None
