"""Pools against the oracle: values and gradients for sampled windows, under JAX's transformations."""

import functools

import jax
import numpy as np
import pytest
from support.conv_cases import QUICK, X64
from support.pool_cases import KINDS, Case, compiled, sample, value_and_slope

pytestmark = pytest.mark.sampled


def check(case, rng, assert_close, options=None):
    with jax.enable_x64(X64[case.dtype]):
        x, g = case.arrays(rng)
        program = jax.jit(case.run, compiler_options=options)
        predicted = jax.eval_shape(program, x, g)
        assert predicted[0].shape == (case.shape[0], *case.out, case.shape[-1])
        for name, got, want, struct in zip(("y", "dx"), program(x, g), case.oracle(x, g), predicted, strict=True):
            assert_close(got, want, name, 0 if (name, case.kind) == ("y", "max") else None)
            assert (got.shape, got.dtype) == (struct.shape, struct.dtype)
            assert got.dtype == case.dtype


HARD = [
    Case("max", (2, 8, 6, 3), (2, 2)),
    Case("max", (2, 7, 6, 3), (3, 3), 2, 1),
    Case("max", (2, 7, 6, 3), (3, 2), 1, "same", (2, 3)),
    Case("max", (1, 9, 2), (3,), 2, (2, 2), ceil_mode=True),
    Case("max", (2, 4, 5, 4, 2), (2, 2, 2), ceil_mode=True),
    Case("avg", (2, 7, 6, 3), (3, 3), 2, "same_lower", ceil_mode=True),
    Case("avg padded", (2, 7, 7, 3), (3, 3), 2, 1, ceil_mode=True),
    Case("avg padded", (2, 8, 1), (3,), 1, (4, 5)),
    Case("avg", (1, 4, 5, 3, 2), (3, 3, 3), 1, "full"),
    Case("l2", (2, 8, 1), (3,), 1, (4, 0)),
    Case("l2", (2, 7, 6, 3), (3, 3), 2, "full"),
    Case("l3", (2, 7, 6, 3), (2, 2), ceil_mode=True, dtype="bfloat16"),
]


@pytest.mark.parametrize("case", HARD, ids=str)
def test_hard(case, rng, assert_close):
    check(case, rng, assert_close)


@pytest.mark.parametrize("case", sample(24, seed=1), ids=str)
def test_sampled(case, rng, assert_close):
    check(case, rng, assert_close, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("case", sample(60, seed=2), ids=str)
def test_sampled_more(case, rng, assert_close):
    check(case, rng, assert_close)


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["max", "avg", "avg padded", "l1", "l2", "l7.5"])
def test_eager_vmap_and_scan(kind, rng, assert_close):
    """Eagerly, over a leading axis, and as the body of a loop, with gradients."""
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


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("kind", ["max", "avg", "avg padded"])
def test_torch_agrees(kind, ceil_mode, rng, assert_close):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(2, 8, 7, 3)).astype(np.float32)
    window = {"stride": 2, "padding": 1, "ceil_mode": ceil_mode}
    counted = {} if kind == "max" else {"count_include_pad": kind == "avg padded"}
    theirs = torch.nn.functional.max_pool2d if kind == "max" else torch.nn.functional.avg_pool2d
    leaf = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    want = theirs(leaf, 3, stride=2, padding=1, ceil_mode=ceil_mode, **counted)
    want.sum().backward()
    y, dx = value_and_slope(lambda a: KINDS[kind][0](a, 3, **window, **KINDS[kind][3]), x)
    assert_close(y, np.moveaxis(want.detach().numpy(), 1, -1))
    assert_close(dx, np.moveaxis(leaf.grad.numpy(), 1, -1))
