"""Tests of the exercises on padding."""

from lesson import Unanswered, alike, exercise, numbers, same
from lesson import check as check
from lesson import picture as picture


@exercise("6.1")
def sizes(answer):
    mistakes = {
        (24, 28, 30): 'With "full" a window may overlap the image in a single cell, on both sides.',
        (24, 28, 33): 'Count again for "full": 4 cells of padding on each side make 36, of which 36 − 5 + 1 windows.',
        (23, 28, 32): "A window of 5 can start at cells 0 to 23 of 28.",
    }
    return numbers(answer, (24, 28, 32), mistakes, '"valid": n − k + 1. "same": n. "full": n + k − 1.')


@exercise("6.2")
def amounts(answer):
    for k in (1, 3, 5, 2, 4):
        got = answer(k)
        if got is None:
            raise Unanswered
        low, high = (int(amount) for amount in got)
        if low + high != k - 1:
            return f"k = {k}: padding {low} + {high} gives an output of n + {low + high} − {k} + 1, not n"
        if (low, high) == (k // 2, (k - 1) // 2) and k % 2 == 0:
            return f"k = {k}: the odd cell belongs to the high side, got ({low}, {high})"
        if (low, high) != ((k - 1) // 2, k // 2):
            return f"k = {k}: both sides get the same or nearly so, got ({low}, {high})"
    return None


@exercise("6.3")
def uses(answer):
    for n, k in ((7, 3), (5, 1), (4, 3), (6, 6)):
        want = [sum(start <= cell < start + k for start in range(n - k + 1)) for cell in range(n)]
        got = answer(n, k)
        if k > 1 and alike(got, [k] * n):
            return f"n = {n}, k = {k}: cell 0 is in the first window alone."
        if wrong := same(got, want, f"n = {n}, k = {k}"):
            return wrong
    return None
