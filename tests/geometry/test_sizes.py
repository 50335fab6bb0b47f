"""Sizes, paddings and receptive fields against brute force."""

import itertools

import numpy as np
import pytest
from support import oracle

from jaxconv import ShapeError, geometry

GRID = list(itertools.product((1, 2, 5, 8), (1, 2, 3), (1, 2, 3), ((0, 0), (1, 0), (2, 3)), (1, 2, 3)))


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_output_size_counts_the_windows_that_fit(ceil_mode):
    for n, k, s, (lo, hi), d in GRID:
        reach, padded = d * (k - 1), n + lo + hi
        starts = [start for start in range(0, padded, s) if start + reach < padded]
        following = starts[-1] + s if starts else 0
        if ceil_mode and following - s + reach < padded - 1:  # a partial window covers the cells that are left
            starts.append(following)
        count = sum(start < n + lo for start in starts) if ceil_mode else len(starts)
        found = geometry.output_size(n, k, stride=s, padding=(lo, hi), dilation=d, ceil_mode=ceil_mode)
        assert max(found, 0) == count, (n, k, s, (lo, hi), d)


@pytest.mark.parametrize("word", geometry.PADDINGS)
def test_named_paddings_match_the_reference(word):
    for n, k, s, _, d in GRID:
        assert geometry.pads(word, (n,), (k,), (s,), (d,)) == tuple(
            map(tuple, oracle.pads(word, (n,), (k,), (s,), (d,)))
        )


def test_sizes_under_same_and_full():
    for n, k, s, _, d in GRID:
        for word in ("same", "same_lower"):
            (pair,) = geometry.pads(word, (n,), (k,), (s,), (d,))
            if geometry.span(k, d) <= n + sum(pair):
                assert geometry.output_size(n, k, stride=s, padding=pair, dilation=d) == -(-n // s)
        (pair,) = geometry.pads("full", (n,), (k,), (1,), (d,))
        assert geometry.output_size(n, k, padding=pair, dilation=d) == n + d * (k - 1)


def test_taps_inside_by_marking():
    for n, k, s, (lo, hi), d in GRID:
        out = geometry.output_size(n, k, stride=s, padding=(lo, hi), dilation=d)
        if out < 1:
            continue
        marks = np.pad(np.ones(n, int), (lo, hi))
        want = tuple(tuple(map(bool, marks[o * s : o * s + d * (k - 1) + 1 : d])) for o in range(out))
        assert geometry.taps_inside(n, k, s, lo, d, out) == want


def test_receptive_field_by_tracking_dependencies():
    layers = [(3, 1, 1, 1), (2, 2, 0, 1), (3, 1, 2, 2), (3, 2, 1, 1)]  # size, stride, low, dilation
    n = 40
    seen = [{i} for i in range(n)]
    field = geometry.ReceptiveField()
    for k, s, lo, d in layers:
        padded = [set() for _ in range(lo)] + seen
        out = (len(padded) - d * (k - 1) - 1) // s + 1
        seen = [set().union(*(padded[o * s + t * d] for t in range(k))) for o in range(out)]
        field = field.through(k, stride=s, low=lo, dilation=d)
    middle = len(seen) // 2
    first = field.first + middle * field.effective_stride
    assert min(seen[middle]) == first
    assert max(seen[middle]) == first + field.size - 1
    assert field.center == field.first + (field.size - 1) / 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: geometry.per_axis((1, 2, 3), 2, "stride"),
         "stride must be one int, or one for each of the 2 spatial axes\n  got: stride=(1, 2, 3)"),
        (lambda: geometry.per_axis(2.0, 2, "stride"), "stride must be an int\n  got: stride=2.0\n  fix: stride=2"),
        (lambda: geometry.per_axis(True, 2, "stride"), "stride must be an int\n  got: stride=True"),
        (lambda: geometry.per_axis(0, 2, "size"), "size must be ≥ 1\n  got: size=0"),
        (lambda: geometry.pads("smae", (5,), (3,), (1,), (1,)),
         "padding must be one of valid, same, same_lower, full, causal, an int, a pair, or a pair for each axis\n"
         "  got: padding='smae'; did you mean 'same'?"),
        (lambda: geometry.pads(-1, (5,), (3,), (1,), (1,)), "padding must be ≥ 0\n  got: padding=-1"),
        (lambda: geometry.pads(((1, 1), (1, 1)), (5,), (3,), (1,), (1,)),
         "padding must be a name, an int, one pair (lo, hi), or a pair for each of the 1 spatial axis\n"
         "  got: padding=((1, 1), (1, 1))"),
        (lambda: geometry.output_shape((3,), (5,), (1,), ((0, 1),), (1,), op="conv"),
         "conv: a kernel of 5 must fit into the padded input of 3 + 0 + 1 cells on spatial axis 0\n"
         "  got: spatial shape (3,); out = floor((3 + 0 + 1 - 1*(5 - 1) - 1) / 1) + 1 = 0\n"
         "  fix: a larger input, a kernel of at most 4, or padding='same'"),
        (lambda: geometry.output_shape((0,), (1,), (1,), ((0, 0),), (1,), op="conv"),
         "conv needs at least one cell on every spatial axis\n  got: spatial shape (0,)"),
    ],
)  # fmt: skip
def test_messages(call, message):
    with pytest.raises(ShapeError) as caught:
        call()
    assert str(caught.value) == message
