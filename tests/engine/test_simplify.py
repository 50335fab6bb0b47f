"""Canonical forms: equal sums, and unchanged by a second pass."""

import numpy as np
import pytest
from support import oracle

import jaxconv as jc
from jaxconv.engine import Form, bind
from jaxconv.engine.simplify import simplified

WORDS = ("stride", "padding", "dilation", "groups")


def draw(rng):
    """A random small form, twice as likely to be drawn if it has one output along some axis."""
    while True:
        rank, groups = int(rng.integers(1, 4)), int(rng.choice([1, 1, 2]))
        ints = lambda low, high: tuple(map(int, rng.integers(low, high, rank)))  # noqa: E731, B023
        n, k, s, d = ints(1, (9, 6, 4)[rank - 1]), ints(1, 5 - (rank > 2)), ints(1, 5), ints(1, 4)
        pads = tuple((int(rng.integers(0, 6)), int(rng.integers(0, 6))) for _ in range(rank))
        c, o = groups * int(rng.choice([1, 1, 2])), groups * int(rng.choice([1, 3]))
        form = Form("xky"[rng.integers(3)], (int(rng.integers(1, 3)), *n, c), (*k, c // groups, o), s, pads, d, groups)
        if min(form.y) > 0 and np.prod(form.y) < 2000 and (1 in form.y[1:-1] or rng.random() < 0.5):
            return form


def slots(form, x, k, y):
    words = {word: getattr(form, word) for word in WORDS}
    dx, dk = oracle.conv_grads(x, k, y, **words)
    return {"y": oracle.conv(x, k, **words), "x": dx, "k": dk}


def check(form):
    """No stride along one output, no dilation of one tap, no padding beyond the windows, no superfluous axis."""
    for n, k, out, s, (low, high), d in zip(
        form.x[1:-1], form.kernel_size, form.y[1:-1], form.stride, form.padding, form.dilation, strict=True
    ):
        assert out > 1 or s == 1
        assert k > 1 or d == 1
        if n:
            assert (out - 1) * s + d * (k - 1) + 1 >= low + n + high or high == 0
            assert any(0 <= i * s - low < n for i in range(out))
            assert any(0 <= i * s + d * (k - 1) - low < n for i in range(out))
    assert form.rank < 3 or form.kernel_size[0] > 1 or form.stride[0] > 1 or form.padding[0] != (0, 0)
    assert simplified(form).form == form


@pytest.mark.parametrize("number", range(20))
def test_drawn_forms_are_canonical(number):
    rng = np.random.default_rng(number)
    for _ in range(200):
        form = draw(rng)
        less = simplified(form).form
        check(less)
        assert np.prod(less.y) == np.prod(form.y)
        assert np.prod(less.x) <= np.prod(form.x)
        assert np.prod(less.k) <= np.prod(form.k)


@pytest.mark.parametrize("number", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 8))])
def test_values_against_the_oracle(number, quick_jit, assert_close):
    rng = np.random.default_rng(number)
    forms = [draw(rng) for _ in range(25)]
    arrays = [{s: rng.normal(size=getattr(form, s)).astype(np.float32) for s in "xky"} for form in forms]

    @quick_jit
    def program(arrays):
        return [bind(*(a[s] for s in form.operands), form) for form, a in zip(forms, arrays, strict=True)]

    for form, a, got in zip(forms, arrays, program(arrays), strict=True):
        assert_close(got, slots(form, a["x"], a["k"], a["y"])[form.slot], str(form))


@pytest.mark.parametrize(
    ("form", "want"),
    [
        # one output: no stride, and no cells after the window
        (
            Form("y", (2, 8, 3, 1), (3, 2, 1, 8), (1, 2), ((0, 0), (0, 0)), (1, 1)),
            Form("y", (2, 8, 2, 1), (3, 2, 1, 8), (1, 1), ((0, 0), (0, 0)), (1, 1)),
        ),
        # one tap: no dilation
        (
            Form("k", (1, 4, 7, 2), (2, 1, 2, 8), (3, 1), ((0, 2), (1, 2)), (1, 2)),
            Form("k", (1, 4, 7, 2), (2, 1, 2, 8), (3, 1), ((0, 1), (1, 2)), (1, 1)),
        ),
        # 5×5 on a single cell is its middle tap
        (
            Form("x", (3, 1, 1, 8), (5, 5, 8, 4), (1, 1), ((2, 2), (2, 2)), (1, 1)),
            Form("x", (3, 1, 1, 8), (1, 1, 8, 4), (1, 1), ((0, 0), (0, 0)), (1, 1)),
        ),
        # windows on padding alone: no cells
        (
            Form("y", (2, 5, 3), (2, 3, 4), (9,), ((3, 0),), (1,)),
            Form("y", (2, 0, 3), (1, 3, 4), (1,), ((1, 0),), (1,)),
        ),
        # one frame at a time: frames become images
        (
            Form("y", (2, 5, 8, 8, 3), (1, 3, 3, 3, 4), (1, 2, 2), ((0, 0), (1, 1), (1, 1)), (1, 1, 1)),
            Form("y", (10, 8, 8, 3), (3, 3, 3, 4), (2, 2), ((1, 0), (1, 0)), (1, 1)),
        ),
    ],
    ids=["one output", "one tap", "one cell", "padding alone", "frames"],
)
def test_by_hand(form, want):
    assert simplified(form).form == want


def test_a_stride_along_one_output_has_no_effect(rng, assert_close):
    x, k = rng.normal(size=(2, 8, 3, 1)).astype("f"), rng.normal(size=(3, 2, 1, 8)).astype("f")
    assert_close(jc.conv(x, k, stride=(1, 2)), oracle.conv(x, k, stride=(1, 2)))
