"""Tests of the exercises on depth."""

import numpy as np
from lesson import check as check
from lesson import exercise, numbers, same
from lesson import picture as picture


@exercise("10.1")
def stack(answer):
    mistakes = {
        (2, 18, 49): "Two layers of 3×3 see 5×5.",
        (7, 63, 49): "Each layer of 3×3 adds 2 rows and 2 columns to the field, beginning at 1×1.",
        (3, 9, 49): "Each of the layers has weights of its own.",
        (3, 27, 7): "A kernel of 7×7 has 7 rows and 7 columns.",
    }
    return numbers(answer, (3, 27, 49), mistakes, "Each layer of 3×3 adds 2 to the field and has 9·C² weights.")


def _body(x):
    return np.asarray(x) * 0.5 - 1


@exercise("10.2")
def block(answer):
    for x in (np.array([2.0, -1.0]), np.array([[0.5, 4.0, -3.0]])):
        got, want = answer(x.copy(), _body), np.maximum(x + _body(x), 0)
        for wrong, advice in (
            (x + np.maximum(_body(x), 0), "The ReLU comes after the addition."),
            (np.maximum(_body(x), 0), "The input has to be added: that is the shortcut."),
            (x + _body(x), "A ReLU follows the addition."),
        ):
            if got is not None and np.shape(got) == np.shape(wrong) and np.allclose(got, wrong):
                return advice
        if wrong := same(got, want, f"x = {x.tolist()}, body x/2 − 1"):
            return wrong
    return None


@exercise("10.3")
def slope(answer):
    for weights in ([0.5, 0.5, 0.5], [2.0], [-1.0, 0.1, 0.3]):
        for shortcut in (False, True):
            want, case = np.prod(np.array(weights) + shortcut), f"slope({weights}, {shortcut})"
            got = answer(list(weights), shortcut)
            if shortcut and len(weights) > 1 and got is not None and np.allclose(got, 1 + np.prod(weights)):
                return f"{case}: each layer has a shortcut of its own, with slope 1."
            if wrong := same(got, want, case):
                return wrong
    return None
