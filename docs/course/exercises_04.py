"""Tests of the exercises on feature maps and channels."""

import numpy as np
from lesson import Unanswered, alike, exercise, numbers, same
from lesson import check as check
from lesson import picture as picture


@exercise("4.1")
def parameters(answer):
    mistakes = {
        (1_040,): "A kernel of the second layer has weights for each of the 20 maps below.",
        (20_000,): "These are the weights; each of the 40 maps has a bias, too.",
        (20_800,): "A map has one bias, not one for each of its input channels.",
    }
    return numbers(answer, (20_040,), mistakes, "Parameters of one map: 5·5·20 weights and a bias.")


@exercise("4.2")
def feature_map(answer):
    random = np.random.default_rng(0)
    for (h, w, c), k, b in (((5, 6, 1), 3, 0.0), ((5, 6, 3), 3, 0.5), ((4, 4, 2), 1, -1.0)):
        x, kernel = random.normal(size=(h, w, c)), random.normal(size=(k, k, c))
        windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(0, 1))
        want = np.einsum("ijlmn,mnl->ij", windows, kernel) + b
        got, case = answer(x, kernel, b), f"x [{h}, {w}, {c}], kernel [{k}, {k}, {c}], bias {b}"
        if k > 1 and alike(got, np.einsum("ijlmn,mnl->ij", windows, kernel[::-1, ::-1]) + b):
            return "The kernel is turned by 180°; weight (m, n) meets pixel (i + m, j + n)."
        if c > 1 and alike(got, np.einsum("ijmn,mn->ij", windows[:, :, 0], kernel[:, :, 0]) + b):
            return f"{case}: only the first channel counts."
        if c > 1 and b and alike(got, want + (c - 1) * b):
            return f"{case}: the bias is added once for each channel instead of once."
        if wrong := same(got, want, case):
            return wrong
    return None


@exercise("4.3")
def edge(answer):
    if answer is None:
        raise Unanswered
    kernel = np.asarray(answer, float)
    if kernel.shape != (3, 3):
        return f"expected a kernel of shape (3, 3), got {kernel.shape}"
    right = np.tile([0.0, 1.0, 2.0], (3, 1))
    flat, rightward, downward = (float((kernel * image).sum()) for image in (np.ones((3, 3)), right, right.T))
    if abs(flat) > 1e-5:
        return f"On an image that is 1 everywhere the response is {flat:.3g}; the weights must add up to 0."
    if abs(downward) > 1e-5:
        return f"Where the image gets brighter downwards the response is {downward:.3g} instead of 0."
    return None if rightward > 1e-5 else f"Where the image gets brighter to the right the response is {rightward:.3g}."
