"""Tests of the exercises on local receptive fields."""

import numpy as np
from lesson import check as check
from lesson import exercise, numbers, same
from lesson import picture as picture


@exercise("2.1")
def weights(answer):
    mistakes = {(25, 784): "A color image has three channels, and a unit sees all of them."}
    return numbers(answer, (75, 2352), mistakes, "Count rows × columns × channels of what a unit sees.")


@exercise("2.2")
def field(answer):
    cases = {((5, 1),): 5, ((3, 1), (3, 1)): 5, ((5, 1), (2, 2), (5, 1), (2, 2)): 16, ((7, 2), (3, 2), (3, 1)): 19}
    for layers, want in cases.items():
        if wrong := same(answer(list(layers)), want, f"field({list(layers)})"):
            return wrong
    return None


@exercise("2.3")
def window(answer):
    x = np.arange(6 * 7 * 2).reshape(6, 7, 2)
    for i, j, k in ((0, 0, 3), (1, 4, 3), (3, 2, 2)):
        want = np.array([[x[i + m, j + n] for n in range(k)] for m in range(k)])
        if wrong := same(answer(x, i, j, k), want, f"window(x, {i}, {j}, {k})"):
            return wrong
    return None
