"""The pools against the oracle: values and gradients over sampled windows, and their edges one by one."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxconv as jc

X64 = {"float64": True, "float32": False, "bfloat16": False}
QUICK = {"xla_backend_optimization_level": 0}  # 60 % of the compile time; the HLO passes stay as they are
KINDS = {
    "max": (jc.max_pool, oracle.max_pool, oracle.max_pool_grad, {}),
    "avg": (jc.avg_pool, oracle.avg_pool, oracle.avg_pool_grad, {}),
    "avg padded": (jc.avg_pool, oracle.avg_pool, oracle.avg_pool_grad, {"count_padding": True}),
    "l1": (jc.lp_pool, oracle.lp_pool, oracle.lp_pool_grad, {"p": 1}),
    "l1.5": (jc.lp_pool, oracle.lp_pool, oracle.lp_pool_grad, {"p": 1.5}),
    "l2": (jc.lp_pool, oracle.lp_pool, oracle.lp_pool_grad, {"p": 2}),
    "l3": (jc.lp_pool, oracle.lp_pool, oracle.lp_pool_grad, {"p": 3}),
    "l7.5": (jc.lp_pool, oracle.lp_pool, oracle.lp_pool_grad, {"p": 7.5}),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """The shapes and arguments of one pool call."""

    kind: str
    shape: tuple
    size: tuple
    stride: int | tuple | None = None
    padding: object = "valid"
    dilation: int | tuple = 1
    ceil: bool = False
    dtype: str = "float32"

    @property
    def window(self):
        return {word: getattr(self, word) for word in ("stride", "padding", "dilation", "ceil")}

    @property
    def windows(self):
        return oracle.windows(np.zeros(self.shape), self.size, **self.window)

    @property
    def out(self):
        return tuple(len(axis) for axis in self.windows[0])

    def arrays(self, rng):
        """x (few values with many ties for max; some zeros for the norms) and the output's gradient."""
        x = rng.integers(-2, 3, self.shape) if self.kind == "max" else rng.normal(size=self.shape)
        if self.kind.startswith("l"):
            x = x * (rng.random(self.shape) < 0.7)
        g = rng.normal(size=(self.shape[0], *self.out, self.shape[-1]))
        return x.astype(jnp.dtype(self.dtype)), g.astype(jnp.dtype(self.dtype))

    def run(self, x, g):
        pool, _, _, extra = KINDS[self.kind]
        y, pull = jax.vjp(lambda a: pool(a, self.size, **self.window, **extra), x)
        return y, *pull(g)

    def oracle(self, x, g):
        _, pool, grad, extra = KINDS[self.kind]
        x, words = np.asarray(x, np.float64), {**self.window, **extra}
        return pool(x, self.size, **words), grad(x, g, self.size, **words)

    def __str__(self):
        fields = [f for f in dataclasses.fields(self) if getattr(self, f.name) != f.default]
        return " ".join(f"{f.name}={getattr(self, f.name)}" for f in fields).replace(", ", ",")


def draw_ints(rng, high, rank, maybe_int=False):
    ints = tuple(map(int, rng.integers(1, high + 1, rank)))
    return ints[0] if maybe_int and rng.random() < 0.3 else ints


def draw_padding(rng, rank):
    kind = rng.integers(9)
    if kind < 5:
        return ("valid", "same", "same_lower", "full", "causal")[kind]
    if kind == 5:
        return int(rng.integers(0, 3))
    if kind == 6:
        return ((4, 0), (0, 5), (1, 2), (0, 1))[rng.integers(4)]
    return tuple((int(rng.integers(0, 4)), int(rng.integers(0, 4))) for _ in range(rank))


def draw(rng, kind):
    rank = int(rng.choice([1, 2, 2, 3]))
    size = draw_ints(rng, (5, 3, 2)[rank - 1], rank)
    spatial = draw_ints(rng, (12, 7, 4)[rank - 1], rank)
    stride = None if rng.random() < 0.3 else draw_ints(rng, 3, rank, maybe_int=True)
    dilation = draw_ints(rng, 3 if rng.random() < 0.3 else 1, rank, maybe_int=True)
    dtype = str(rng.choice(["float32", "float32", "float32", "bfloat16", "float64"]))
    shape = (int(rng.integers(1, 4)), *spatial, int(rng.integers(1, 3)))
    return Case(kind, shape, size, stride, draw_padding(rng, rank), dilation, bool(rng.random() < 0.4), dtype)


def fits(case):
    """Whether the window fits into the padded input at all."""
    rank = len(case.size)
    dilation, stride = oracle.per_axis(case.dilation, rank), oracle.per_axis(case.stride or case.size, rank)
    pads = oracle.pads(case.padding, case.shape[1:-1], case.size, stride, dilation)
    axes = zip(case.shape[1:-1], case.size, pads, dilation, strict=True)
    return all(d * (k - 1) + 1 <= n + sum(p) for n, k, p, d in axes)


def has_empty_window(case):
    real, counts = case.windows
    cells = counts if case.kind == "avg padded" else real
    return any(not window for axis in cells for window in axis)


def sample(count, seed):
    rng, cases = np.random.default_rng(seed), []
    while len(cases) < count:
        case = draw(rng, list(KINDS)[len(cases) % len(KINDS)])
        if fits(case) and (case.kind.startswith("l") or not has_empty_window(case)) and np.prod(case.out) <= 100:
            cases.append(case)
    return cases


def check(case, rng, assert_close, options=None):
    with jax.enable_x64(X64[case.dtype]):
        x, g = case.arrays(rng)
        program = jax.jit(case.run, compiler_options=options)
        promised = jax.eval_shape(program, x, g)
        assert promised[0].shape == (case.shape[0], *case.out, case.shape[-1])
        for name, got, want, promise in zip(("y", "dx"), program(x, g), case.oracle(x, g), promised, strict=True):
            assert_close(got, want, name, 0 if (name, case.kind) == ("y", "max") else None)
            assert (got.shape, got.dtype) == (promise.shape, promise.dtype)
            assert got.dtype == case.dtype


HARD = [
    Case("max", (2, 8, 6, 3), (2, 2)),
    Case("max", (2, 7, 6, 3), (3, 3), 2, 1),
    Case("max", (2, 7, 6, 3), (3, 2), 1, "same", (2, 3)),
    Case("max", (1, 9, 2), (3,), 2, (2, 2), ceil=True),
    Case("max", (2, 4, 5, 4, 2), (2, 2, 2), ceil=True),
    Case("avg", (2, 7, 6, 3), (3, 3), 2, "same_lower", ceil=True),
    Case("avg padded", (2, 7, 7, 3), (3, 3), 2, 1, ceil=True),
    Case("avg padded", (2, 8, 1), (3,), 1, (4, 5)),
    Case("avg", (1, 4, 5, 3, 2), (3, 3, 3), 1, "full"),
    Case("l2", (2, 8, 1), (3,), 1, (4, 0)),
    Case("l2", (2, 7, 6, 3), (3, 3), 2, "full"),
    Case("l3", (2, 7, 6, 3), (2, 2), ceil=True, dtype="bfloat16"),
]


@pytest.mark.parametrize("case", HARD, ids=str)
def test_hard(case, rng, assert_close):
    check(case, rng, assert_close)


@pytest.mark.parametrize("case", sample(24, seed=1), ids=str)
def test_sampled(case, rng, assert_close):
    check(case, rng, assert_close, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("case", sample(150, seed=2), ids=str)
def test_sampled_more(case, rng, assert_close):
    check(case, rng, assert_close)


@pytest.mark.parametrize("kind", ["max", "avg", "avg padded", "l1", "l2", "l7.5"])
def test_eager_vmap_and_scan(kind, rng, assert_close):
    """Each once: by itself, over a leading axis, and as the body of a loop, with gradients."""
    case = Case(kind, (2, 5, 4, 2), (2, 2), (2, 1), ((1, 0), (0, 1)))
    members = [case.arrays(rng) for _ in range(3)]
    x, g = (np.stack(arrays) for arrays in zip(*members, strict=True))
    want = [np.stack(results) for results in zip(*(case.oracle(*m) for m in members), strict=True)]
    loop = jax.jit(lambda *a: jax.lax.scan(lambda _, b: (0, case.run(*b)), 0, a)[1], compiler_options=QUICK)
    mapped = jax.jit(jax.vmap(case.run), compiler_options=QUICK)(x, g)
    for eager, over, inside, right in zip(case.run(*members[0]), mapped, loop(x, g), want, strict=True):
        assert_close(eager, right[0], "eager")
        assert_close(over, right, "vmap")
        assert_close(inside, right, "scan")


@pytest.mark.parametrize("kind", ["max", "avg padded", "l1", "l2", "l3"])
def test_forward_mode_and_second_derivatives(kind, rng, assert_close, x64):
    case = Case(kind, (1, 5, 4, 2), (2, 3), (2, 1), ((1, 0), (0, 1)), dtype="float64")
    x, u = (rng.permutation(np.linspace(-2, 2, 40)).reshape(case.shape) for _ in range(2))  # no ties, no zero
    g = rng.normal(size=(1, *case.out, 2))
    slope = lambda a: case.run(a, g)[1]  # noqa: E731

    @functools.partial(jax.jit, compiler_options=QUICK)
    def program(x, u):
        y = jax.jvp(lambda a: case.run(a, g)[0], (x,), (u,))[1]
        return y, jax.jvp(slope, (x,), (u,))[1], jax.grad(lambda a: (slope(a) * u).sum())(x)

    tangent, forward, reverse = program(x, u)
    low, high = (case.oracle(x + step * u, g) for step in (-1e-6, 1e-6))
    assert_close(tangent, (high[0] - low[0]) / 2e-6, "jvp", 1e-7)
    assert_close(forward, (high[1] - low[1]) / 2e-6, "forward over reverse", 1e-6)
    assert_close(reverse, (high[1] - low[1]) / 2e-6, "reverse over reverse", 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_empty_batch_and_unbatched(kind, rng, assert_close):
    case = Case(kind, (1, 5, 4, 2), (2, 3))
    (x, g), pool, extra = case.arrays(rng), KINDS[kind][0], KINDS[kind][3]
    y, dx = value_and_slope(lambda a: pool(a, (2, 3), **extra), x[:0])
    assert (y.shape, dx.shape) == ((0, 2, 1, 2), (0, 5, 4, 2))
    assert_close(compiled(pool, (2, 3), **extra)(x[0]), case.oracle(x, g)[0][0])


def test_windows_that_cannot_be_are_errors():
    """A window that does not fit, or that a pool would have to fill with nothing, raises."""
    rng, seen = np.random.default_rng(3), 0
    while seen < 40:
        case = draw(rng, ("max", "avg")[seen % 2])
        if fits(case) and not has_empty_window(case):
            continue
        seen += 1
        shape = jax.ShapeDtypeStruct(case.shape, "float32")
        with pytest.raises(jc.ShapeError):
            jax.eval_shape(lambda a, c=case: KINDS[c.kind][0](a, c.size, **c.window), shape)


@pytest.mark.parametrize("pool", [jc.max_pool, jc.avg_pool, jc.lp_pool, jc.l2_pool])
def test_an_int_size_needs_a_rank_that_says_which_axes(pool):
    shape = lambda *x: jax.eval_shape(lambda a: pool(a, 2), jax.ShapeDtypeStruct(x, "float32")).shape  # noqa: E731
    with pytest.raises(jc.ShapeError):
        shape(8, 8, 3)
    assert shape(1, 8, 8, 3) == (1, 4, 4, 3)
    assert shape(1, 4, 4, 4, 3) == (1, 2, 2, 2, 3)


# ---------------------------------------------------------------- edges of max


@functools.cache
def compiled(pool, size, **words):
    return jax.jit(lambda x: pool(x, size, **words), compiler_options=QUICK)


def value_and_slope(f, x):
    """f(x) and the gradient of its sum."""

    @functools.partial(jax.jit, compiler_options=QUICK)
    def program(x):
        y, pull = jax.vjp(f, x)
        return y, pull(jnp.ones_like(y))[0]

    return program(x)


@pytest.mark.parametrize("window", [{}, {"stride": 1, "padding": "same"}, {"stride": 1, "padding": "full"}])
def test_a_ties_gradient_goes_to_the_first_maximum(window, assert_close):
    x = np.ones((1, 4, 4, 1), np.float32)
    y, dx = value_and_slope(lambda a: jc.max_pool(a, 2, **window), x)
    assert_close(dx, oracle.max_pool_grad(x, np.ones(y.shape), 2, **window), tolerance=0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_minus_infinity_is_a_value(dtype, assert_close):
    """Padding never wins: where all cells are -inf the gradient goes to the first of them."""
    x = np.full((1, 5, 5, 1), -np.inf, jnp.dtype(dtype))
    y, dx = value_and_slope(lambda a: jc.max_pool(a, 3, stride=2, padding=1), x)
    np.testing.assert_array_equal(y, np.full((1, 3, 3, 1), -np.inf))
    want = oracle.max_pool_grad(np.asarray(x, np.float64), np.ones(y.shape), 3, stride=2, padding=1)
    assert_close(dx, want, tolerance=0)


@pytest.mark.parametrize("place", [(0, 0), (2, 2), (3, 1), (4, 4)])
def test_nan_propagates(place, rng, assert_close):
    x = rng.normal(size=(1, 5, 5, 1)).astype(np.float32)
    x[(0, *place, 0)] = np.nan
    for window in ({}, {"stride": 1, "padding": "same"}, {"stride": 2, "ceil": True}):
        assert_close(compiled(jc.max_pool, 3, **window)(x), oracle.max_pool(x, 3, **window), tolerance=0)
    assert np.isnan(jc.global_max_pool(x)).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
def test_max_of_integers(dtype, rng, assert_close):
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max, (2, 5, 4, 2), dtype, endpoint=True)
    x[0] = info.min
    y = compiled(jc.max_pool, (2, 3), stride=2, padding=1)(x)
    assert y.dtype == dtype
    assert_close(y, oracle.max_pool(x, (2, 3), stride=2, padding=1), tolerance=0)


# ---------------------------------------------------------------- edges of the norms and means


@pytest.mark.parametrize(("p", "magnitude"), [(p, m) for p in (1.5, 2, 3, 10) for m in (1e30, 1e-30)] + [(2, 3e38)])
def test_norms_neither_overflow_nor_vanish(p, magnitude, rng, assert_close):
    x = (rng.uniform(0.1, 0.2, (1, 4, 4, 2)) * rng.choice([-1, 1], (1, 4, 4, 2)) * magnitude).astype(np.float32)
    y, dx = value_and_slope(lambda a: jc.lp_pool(a, 2, p=p), x)
    assert_close(y, oracle.lp_pool(x, 2, p=p))
    assert_close(dx, oracle.lp_pool_grad(x, np.ones(y.shape), 2, p=p))


@pytest.mark.parametrize(
    ("p", "dtype"), [*((p, "float32") for p in (1, 1.5, 2, 3, 10)), (1, "bfloat16"), (2, "bfloat16")]
)
def test_norm_of_zeros_has_zero_gradient(p, dtype, rng, assert_close):
    """Also with windows of padding alone."""
    x = np.zeros((1, 4, 4, 1), jnp.dtype(dtype))
    x[0, 0, 0, 0] = 3  # one window that is not zero
    for window in ({}, {"stride": 1, "padding": (3, 0)}):
        y, dx = value_and_slope(lambda a, w=window: jc.lp_pool(a, 2, p=p, **w), x)
        assert_close(dx, oracle.lp_pool_grad(x, np.ones(y.shape), 2, p=p, **window))


def test_the_infinite_norm_is_the_largest_magnitude(rng, assert_close):
    """Its slope is the sign of the first largest cell, and zero in a window of zeros."""
    x = np.round(rng.normal(size=(2, 6, 6, 2))).astype(np.float32)
    x[0, :3, :3] = 0
    y, dx = value_and_slope(lambda a: jc.lp_pool(a, 3, p=float("inf")), x)
    assert_close(y, oracle.max_pool(np.abs(x), 3), tolerance=0)
    assert_close(dx, np.sign(x) * oracle.max_pool_grad(np.abs(x), np.ones(y.shape), 3), tolerance=0)


def test_l2_is_lp_with_two(rng, assert_close):
    x = rng.normal(size=(2, 5, 6, 3)).astype(np.float32)
    x[0, :3, :3] = 0
    window = {"stride": 2, "padding": 1}
    y, dx = value_and_slope(lambda a: jc.l2_pool(a, 3, **window), x)
    assert_close(y, oracle.lp_pool(x, 3, p=2, **window))
    assert_close(dx, oracle.lp_pool_grad(x, np.ones(y.shape), 3, p=2, **window))


def test_bfloat16_averages_are_summed_wide(assert_close):
    ones = np.ones((1, 64, 64, 2), jnp.bfloat16)
    assert_close(jc.global_avg_pool(ones), np.ones((1, 2)), tolerance=0)
    for pool, want in ((jc.avg_pool, 1), (jc.l2_pool, 32)):
        y = jax.jit(lambda a, pool=pool: pool(a, 32), compiler_options=QUICK)(ones)
        assert_close(y, np.full((1, 2, 2, 2), want), tolerance=0)
    window = {"stride": 1, "padding": "same"}
    y, dx = value_and_slope(lambda a: jc.avg_pool(a, 9, **window), ones[:, :12, :12])
    want = oracle.avg_pool_grad(ones[:, :12, :12], np.ones(y.shape), 9, **window)
    assert_close(dx, want, "dx of overlapping windows")


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_global_pools(rank, dtype, rng, assert_close):
    with jax.enable_x64(X64[dtype]):
        shape = (2, *(5, 4, 3)[:rank], 3)
        x = rng.normal(size=shape).astype(jnp.dtype(dtype))
        ties, g = np.round(x), rng.normal(size=(2, 3)).astype(jnp.dtype(dtype))
        back = lambda f, a: jax.jit(lambda a, g: (f(a), jax.vjp(f, a)[1](g)[0]), compiler_options=QUICK)(a, g)  # noqa: E731
        mean, dx = back(jc.global_avg_pool, x)
        assert_close(mean, np.asarray(x, np.float64).reshape(2, -1, 3).mean(1))
        spread = np.asarray(g, np.float64).reshape(2, *(1,) * rank, 3) / np.prod(shape[1:-1])
        assert_close(dx, np.broadcast_to(spread, shape))
        largest, dx = back(jc.global_max_pool, ties)
        assert_close(largest, np.asarray(ties, np.float64).reshape(2, -1, 3).max(1), tolerance=0)
        at = g.reshape(2, *(1,) * rank, 3)
        assert_close(dx, oracle.max_pool_grad(ties, at, shape[1:-1]), tolerance=0)
        assert (mean.dtype, largest.dtype) == (dtype, dtype)


# ---------------------------------------------------------------- properties

EXAMPLES = settings(max_examples=6, derandomize=True, deadline=None, database=None)
SEED = st.integers(0, 2**32 - 1)
WINDOWS = st.sampled_from(
    [{}, {"stride": 1, "padding": "same"}, {"stride": 2, "padding": 1}, {"stride": 2, "ceil": True, "padding": "full"}]
)


def draw_map(seed, size=8):
    return np.random.default_rng(seed).normal(size=(1, size, size, 2)).astype(np.float32)


@EXAMPLES
@given(st.integers(1, 4), WINDOWS, st.booleans())
def test_average_of_ones_is_one_where_padding_is_not_counted(size, window, signal):
    shape, size = ((1, 9, 2), (size,)) if signal else ((1, 9, 9, 2), size)
    if "padding" in window and isinstance(window["padding"], int) and np.max(size) == 1:
        return  # windows of one cell that lie in the padding
    np.testing.assert_array_equal(compiled(jc.avg_pool, size, **window)(np.ones(shape, np.float32)), 1)


@EXAMPLES
@given(SEED, st.sampled_from([8, 32, 128, 1000]), WINDOWS)
def test_large_p_goes_to_the_maximum(seed, p, window):
    """max |x| <= norm <= cells^(1/p) max |x|."""
    x = draw_map(seed)
    norm, largest = compiled(jc.lp_pool, 3, p=p, **window)(x), oracle.max_pool(np.abs(x), 3, **window)
    assert (norm >= largest * (1 - 1e-5)).all()
    assert (norm <= largest * 9 ** (1 / p) * (1 + 1e-5)).all()


@EXAMPLES
@given(SEED, st.sampled_from(["max", "avg", "l2"]), st.integers(1, 3), st.sampled_from([1, 2]))
def test_shift_equivariance(assert_close, seed, kind, shift, stride):
    """Moving the picture by stride * t moves the pooled map by t."""
    x, pool = draw_map(seed, 12), compiled(KINDS[kind][0], 3, stride=stride)
    assert_close(pool(x[:, stride * shift :, stride * shift :]), np.asarray(pool(x))[:, shift:, shift:])


@EXAMPLES
@given(SEED, st.sampled_from(["max", "avg", "l2"]), st.integers(1, 3), st.sampled_from(["valid", "causal", 1]))
def test_stride_takes_every_sth_output(assert_close, seed, kind, stride, padding):
    x, pool = draw_map(seed), KINDS[kind][0]
    every = np.asarray(compiled(pool, 3, stride=1, padding=padding)(x))
    assert_close(compiled(pool, 3, stride=stride, padding=padding)(x), every[:, ::stride, ::stride])


@EXAMPLES
@given(SEED, WINDOWS, st.floats(-3, 3, width=32))
def test_average_is_linear_and_max_is_monotone(assert_close, seed, window, scale):
    x, x2 = draw_map(seed), draw_map(seed + 1)
    average, largest = compiled(jc.avg_pool, 3, **window), compiled(jc.max_pool, 3, **window)
    want = np.asarray(average(x)) + np.float32(scale) * np.asarray(average(x2))
    assert_close(average(x + np.float32(scale) * x2), want)
    assert (largest(np.maximum(x, x2)) >= largest(x)).all()


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("kind", ["max", "avg", "avg padded"])
def test_torch_agrees(kind, ceil, rng, assert_close):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(2, 8, 7, 3)).astype(np.float32)
    window = {"stride": 2, "padding": 1, "ceil": ceil}
    counted = {} if kind == "max" else {"count_include_pad": kind == "avg padded"}
    theirs = torch.nn.functional.max_pool2d if kind == "max" else torch.nn.functional.avg_pool2d
    leaf = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    want = theirs(leaf, 3, stride=2, padding=1, ceil_mode=ceil, **counted)
    want.sum().backward()
    y, dx = value_and_slope(lambda a: KINDS[kind][0](a, 3, **window, **KINDS[kind][3]), x)
    assert_close(y, np.moveaxis(want.detach().numpy(), 1, -1))
    assert_close(dx, np.moveaxis(leaf.grad.numpy(), 1, -1))
