"""geometry.solve against brute force: every solution is valid, none is missing, simplest first."""

import itertools

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxconv as jc
from jaxconv import ShapeError, geometry
from jaxconv.geometry import Solution, solve

WORDS = {"valid", "same", "same_lower", "full", "causal"}


def count(size, kernel, stride, pair, dilation, ceil_mode):
    """Number of windows, by moving one over the padded cells."""
    low, high = pair
    end, start, windows = low + size + high, 0, 0
    while start + dilation * (kernel - 1) < end:
        windows, start = windows + 1, start + stride
    last = start - stride + dilation * (kernel - 1)  # if there is no window: the one before the first
    return windows + (ceil_mode and last < end - 1 and start < low + size)


def pair_of(solution, size, kernel):
    return geometry.pads(solution.padding, (size,), (kernel,), (solution.stride,), (solution.dilation,))[0]


def tries(size, kernel, stride, dilation):
    """Paddings within the search limits: equal ones, those that differ by one, and the named ones."""
    reach = dilation * (kernel - 1)
    sides = range(reach + 1)
    pairs = {(low, high) for low, high in itertools.product(sides, sides) if abs(low - high) <= 1}
    return pairs | {geometry.pads(word, (size,), (kernel,), (stride,), (dilation,))[0] for word in WORDS}


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_all_solutions_and_no_others(ceil_mode):
    for size, kernel in itertools.product((1, 2, 5, 8, 11), (1, 2, 3, 4)):
        want = {}
        for stride, dilation in itertools.product(range(1, 4), range(1, 4 if kernel > 1 else 2)):
            for pair in tries(size, kernel, stride, dilation):
                out = count(size, kernel, stride, pair, dilation, ceil_mode)
                want.setdefault(out, set()).add((stride, dilation, pair))
        for out in range(1, 25):
            bounds = {"ceil_mode": ceil_mode, "largest_stride": 3, "largest_dilation": 3}
            if out not in want:
                with pytest.raises(ShapeError):
                    solve(out, size, kernel, **bounds)
                continue
            found = solve(out, size, kernel, **bounds)
            got = [(one.stride, one.dilation, pair_of(one, size, kernel)) for one in found]
            assert len(got) == len(set(got))
            assert set(got) == want[out], (out, size, kernel)
            assert [one.dilation for one in found] == sorted(one.dilation for one in found)


def test_named_paddings_come_first():
    for out, size, kernel in itertools.product(range(1, 12), (5, 8), (1, 2, 3)):
        for one in solve(out, size, kernel) if out in (size, -(-size // 2), size - kernel + 1) else []:
            words = {geometry.pads(w, (size,), (kernel,), (one.stride,), (one.dilation,))[0]: w for w in WORDS}
            pair = pair_of(one, size, kernel)
            assert isinstance(one.padding, str) == (pair in words)
            assert isinstance(one.padding, tuple) == (pair not in words and pair[0] != pair[1])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(1, 300), st.integers(1, 11), st.integers(1, 8), st.integers(0, 10), st.booleans(), st.integers(1, 4),
    st.booleans(),
)  # fmt: skip
@pytest.mark.slow
def test_round_trip(size, kernel, stride, low, odd, dilation, ceil_mode):
    dilation = dilation if kernel > 1 else 1
    reach = dilation * (kernel - 1)
    low = min(low, reach)
    pair = (low, min(low + odd, reach))
    out = geometry.output_size(size, kernel, stride=stride, padding=pair, dilation=dilation, ceil_mode=ceil_mode)
    if out < 1:
        return
    found = solve(out, size, kernel, ceil_mode=ceil_mode)
    assert (stride, dilation, pair) in {(one.stride, one.dilation, pair_of(one, size, kernel)) for one in found}
    kept = solve(out, size, kernel, stride=stride, padding=pair, dilation=dilation, ceil_mode=ceil_mode)
    assert kept == [Solution(stride, pair, dilation)]


@pytest.mark.parametrize(
    ("arguments", "words", "first"),
    [
        ((28, 28, 5), {}, Solution(1, "same", 1)),
        ((24, 28, 5), {}, Solution(1, "valid", 1)),
        ((12, 24, 2), {}, Solution(2, "valid", 1)),
        ((32, 28, 5), {}, Solution(1, "full", 1)),
        ((14, 28, 3), {"padding": 1}, Solution(2, 1, 1)),
        ((28, 28, 3), {"dilation": 2}, Solution(1, "same", 2)),
        ((28, 28, 3), {"padding": "causal"}, Solution(1, "causal", 1)),
        ((56, 112, 3), {"padding": [0, 1]}, Solution(2, [0, 1], 1)),
        ((3, 5, 2), {"ceil_mode": True, "padding": 0}, Solution(2, 0, 1)),
        ((55, 224, 11), {"stride": 4, "padding": None}, Solution(4, 2, 1)),
        ((28, 28, 1), {}, Solution(1, "valid", 1)),
    ],
)
def test_simplest_first(arguments, words, first):
    assert solve(*arguments, **words)[0] == first


def test_solutions_are_arguments_of_a_layer():
    x = jax.ShapeDtypeStruct((1, 23, 23, 2), "float32")
    for out in (7, 12, 23, 30):
        for one in solve(out, 23, 3)[:12]:
            layer = jc.Conv(4, 3, **one._asdict())
            y = jax.eval_shape(lambda x, layer=layer: layer.apply(*layer.init(jax.random.key(0), x), x)[0], x)
            assert y.shape == (1, out, out, 4)


NEAREST = "some small stride, padding and dilation must give this output size; nearest possible: "


@pytest.mark.parametrize(
    ("arguments", "words", "message"),
    [
        ((15, 28, 3), {"stride": 2, "padding": "same"},
         NEAREST + "14\n  got: out=15, n=28, kernel_size=3, stride=2, padding='same'\n"
         "  fix: out=14 with stride=2, padding='same', dilation=1"),
        ((24, 28, 5), {"padding": "same"},
         NEAREST + "14 and 28\n  got: out=24, n=28, kernel_size=5, padding='same'\n"
         "  fix: out=14 with stride=2, padding='same', dilation=1; out=28 with stride=1, padding='same', dilation=1"),
        ((100, 28, 3), {}, NEAREST + "36\n  got: out=100, n=28, kernel_size=3\n"
         "  fix: out=36 with stride=1, padding='full', dilation=4"),
        ((5, 3, 7), {"padding": 0},
         "the kernel must fit into the padded input\n  got: out=5, n=3, kernel_size=7, padding=0\n"
         "  fix: a kernel of at most 3, or padding='same'"),
        ((0, 28, 3), {}, "out must be ≥ 1\n  got: out=0"),
        ((14, 28, 3), {"stride": 2.0}, "stride must be an int\n  got: stride=2.0\n  fix: stride=2"),
        ((14, 28, 3), {"padding": "smae"},
         "padding must be one of valid, same, same_lower, full, causal, an int, a pair, or a pair for each axis\n"
         "  got: padding='smae'; did you mean 'same'?"),
    ],
)  # fmt: skip
def test_messages(arguments, words, message):
    with pytest.raises(ShapeError) as caught:
        solve(*arguments, **words)
    assert str(caught.value) == message
