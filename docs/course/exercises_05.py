"""Tests of the exercises on 1×1 convolutions and bottlenecks."""

import numpy as np
from lesson import alike, exercise, numbers, same
from lesson import check as check
from lesson import picture as picture


@exercise("5.1")
def macs(answer):
    mistakes = {
        (589_824, 69_632): "This is one place; the kernels are applied at 14·14 places.",
        (115_605_504, 6_422_528): "A bottleneck has a 3×3 convolution in the middle, too.",
        (115_605_504, 32_112_640): "The 3×3 convolution has 64 channels on both sides.",
    }
    advice = "Multiplications of a layer: places × kernel rows × kernel columns × channels in × channels out."
    return numbers(answer, (115_605_504, 13_647_872), mistakes, advice)


@exercise("5.2")
def pointwise(answer):
    random = np.random.default_rng(0)
    for shape, features in (((2, 3, 4), 5), ((3, 3, 3), 3), ((1, 4, 2), 1)):
        x, kernel = random.normal(size=shape), random.normal(size=(shape[-1], features))
        bias, case = random.normal(size=features), f"x {list(shape)}, kernel {[shape[-1], features]}"
        got = answer(x, kernel, bias)
        want = x @ kernel + bias
        if shape[-1] == features > 1 and alike(got, x @ kernel.T + bias):
            return "The kernel is transposed: its first axis is that of the channels of x."
        if alike(got, want - bias):
            return f"{case}: the bias is missing."
        if wrong := same(got, want, case):
            return wrong
    return None


@exercise("5.3")
def merged(answer):
    random = np.random.default_rng(1)
    k1, b1, k2, b2 = (random.normal(size=shape) for shape in ((4, 2), 2, (2, 3), 3))
    got = answer(k1, b1, k2, b2)
    kernel, bias = (None, None) if got is None else got
    if wrong := same(kernel, k1 @ k2, "kernel"):
        return wrong
    if alike(bias, b2):
        return "The first bias passes through the second layer, too: on x = 0 the two layers give something else."
    return same(bias, b1 @ k2 + b2, "bias")
