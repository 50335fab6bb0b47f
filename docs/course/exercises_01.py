"""Tests of the exercises on spatial structure."""

import numpy as np
from lesson import alike, exercise, numbers, same
from lesson import check as check
from lesson import picture as picture


@exercise("1.1")
def weights(answer):
    mistakes = {
        (78_400, 5_017_600): "A color image has three numbers at each pixel.",
        (78_500, 15_052_900): "These include the 100 biases; the question is about weights alone.",
        (784, 150_528): "This is one unit; the layer has 100.",
    }
    return numbers(answer, (78_400, 15_052_800), mistakes, "Each unit has a weight for each number of the image.")


@exercise("1.2")
def shuffle(answer):
    images = np.random.default_rng(0).normal(size=(3, 2, 4, 2))
    order = np.array([3, 0, 7, 1, 2, 6, 4, 5])
    got, flat = answer(images.copy(), order), images.reshape(3, 8, 2)
    if alike(got, flat[:, np.argsort(order)].reshape(images.shape)):
        return "Pixel p went to place order[p]; it should come from there: that is the inverse permutation."
    return same(got, flat[:, order].reshape(images.shape), "images [3, 2, 4, 2], order [3, 0, 7, 1, …]")


@exercise("1.3")
def reorder(answer):
    random = np.random.default_rng(1)
    images, kernel, order = random.normal(size=(5, 6)), random.normal(size=(6, 4)), np.array([2, 0, 1, 5, 3, 4])
    got = answer(kernel.copy(), order)
    if alike(got, kernel[np.argsort(order)]):
        return "Place p of a shuffled image has the value of pixel order[p]: which row of the kernel belongs to it?"
    if got is not None and np.shape(got) != kernel.shape:
        return f"A kernel has as many weights after as before: expected shape {kernel.shape}, got {np.shape(got)}"
    return same(got if got is None else images[:, order] @ np.asarray(got), images @ kernel, "shuffled @ kernel")
