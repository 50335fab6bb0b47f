"""conv against the oracle: values and both gradients for sampled arguments, in every formulation."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import oracle
from support.conv_cases import IMPLS, QUICK, X64, Case, run, sample, values

import jaxconv as jc

pytestmark = pytest.mark.sampled

HARD = [
    Case((7, 6), (3, 3), padding=(4, 0)),
    Case((7, 6), (3, 3), padding=(0, 5)),
    Case((7, 6), (3, 3), padding=((4, 5), (6, 3)), stride=2),
    Case((9,), (3,), padding=(4, 0), dtype="float64"),
    Case((9,), (3,), padding=(6, 6), stride=3, dilation=2),
    Case((4, 3, 4), (3, 2, 3), padding=((4, 0), (0, 5), (3, 3))),
    Case((2, 2), (3, 3), 8, 8, padding="same"),  # the kernel is larger than the input
    Case((1, 1), (3, 3), 4, 4, padding="same"),
    Case((2, 2), (5, 5), 3, 3, padding="full", dilation=2),
    Case((8, 8), (1, 1), 6, 4),
    Case((8, 7), (1, 1), 6, 4, stride=2),
    Case((8, 7), (1, 1), 6, 4, stride=3, padding=1),
    Case((6, 6), (3, 3), 8, 8, groups=8, padding="same"),  # depthwise
    Case((7, 7), (3, 3), 4, 12, groups=4, stride=2, padding="same"),  # depthwise, multiplier 3
    Case((4, 4), (3, 3), 64, 64, batch=1, groups=32, padding=1),
    Case((8, 8), (7, 7), 3, 4, stride=2, padding=3),
    Case((16,), (5,), 4, 4, padding="causal", dilation=3, dtype="bfloat16"),
    Case((6, 6), (3, 3), 4, 4, padding="same", padding_mode="wrap", stride=2, groups=2, dilation=2),
    Case((6, 5), (3, 3), padding=2, padding_mode="reflect", dtype="float64"),
    Case((5, 1, 4), (1, 2, 3), 3, 6, padding="same_lower", padding_mode="edge", groups=3, bias=True),
    Case((3, 3), (3, 3), 5, 7, bias=True),  # one output position
]


def check(case, impls, rng, assert_close, options=None):
    """Values, gradients, shapes and dtypes of all `impls`, compiled as one program."""
    with jax.enable_x64(X64[case.dtype]):
        x, kernel, bias, g = case.arrays(rng)
        want = values(case, x, kernel, bias, g)
        program = jax.jit(lambda *a: {impl: run(case, impl, *a) for impl in impls}, compiler_options=options)
        predicted = jax.eval_shape(program, x, kernel, bias, g)
        for impl, results in program(x, kernel, bias, g).items():
            assert predicted[impl][0].shape == (case.batch, *case.out, case.c_out)
            for name, got, right, struct in zip(
                ("y", "dx", "dkernel", "dbias"), results, want, predicted[impl], strict=False
            ):
                assert_close(got, right, f"{name} of {impl}")
                assert (got.shape, got.dtype) == (struct.shape, struct.dtype)
                assert got.dtype == case.dtype


@pytest.mark.parametrize("case", HARD, ids=str)
def test_hard(case, rng, assert_close):
    check(case, ["lax", "einsum"], rng, assert_close, QUICK)  # "auto" is one of them; -m slow runs all


@pytest.mark.parametrize(("number", "case"), list(enumerate(sample(30, seed=1))), ids=str)
def test_sampled(number, case, rng, assert_close):
    check(case, [IMPLS[number % 3]], rng, assert_close, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("case", sample(60, seed=2), ids=str)
def test_sampled_in_every_formulation(case, rng, assert_close):
    check(case, IMPLS, rng, assert_close)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize(
    "case",
    [Case((5,), (2,), padding=(3, 0)), Case((4, 4), (1, 2), stride=2, bias=True, padding="same", groups=2)],
    ids=str,
)
def test_eager(case, impl, rng, assert_close):
    arrays = [None if a is None else jnp.asarray(a) for a in case.arrays(rng)]
    for got, want in zip(run(case, impl, *arrays), values(case, *arrays), strict=False):
        assert_close(got, want)


MAPPED = [
    Case((6, 5), (3, 3), 4, 6, padding="same", stride=2, groups=2),
    Case((7, 6), (3, 3), padding=((4, 0), (0, 5))),
    Case((8,), (3,), 4, 4, padding="causal", groups=4, dilation=2),
    Case((3, 2, 3), (2, 1, 2), padding="same", padding_mode="wrap", bias=True),
    Case((6, 6), (3, 3), 3, 5),
    Case((5, 5), (1, 1), 4, 3, stride=2, dtype="float64"),
    Case((2, 2), (3, 3), 4, 4, padding="same", dtype="bfloat16"),
]


def members_of(case, rng, shared=()):
    """Three draws of a case's arrays, `shared` positions equal in all; and the arrays stacked where they differ."""
    members = [case.arrays(rng) for _ in range(3)]
    members = [[members[0][i] if i in shared else a for i, a in enumerate(m)] for m in members]
    axes = tuple(None if i in shared or members[0][i] is None else 0 for i in range(4))
    stacked = [members[0][i] if axes[i] is None else np.stack([m[i] for m in members]) for i in range(4)]
    return members, axes, stacked


@pytest.mark.parametrize("over", ["x", "kernel", "both"])
@pytest.mark.parametrize(("number", "case"), list(enumerate(MAPPED)), ids=str)
def test_vmap(number, case, over, rng, assert_close):
    """Over x, over the kernel and bias, or over both, with all gradients."""
    shared = {"x": (1, 2), "kernel": (0,), "both": ()}[over]
    impl = IMPLS[(number + len(shared)) % 3]  # each formulation is combined with each way of mapping twice
    with jax.enable_x64(X64[case.dtype]):
        members, axes, stacked = members_of(case, rng, shared)
        program = jax.jit(jax.vmap(lambda *a: run(case, impl, *a), axes), compiler_options=QUICK)
        results = program(*stacked)
        want = zip(*(values(case, *m) for m in members), strict=True)
        for name, got, right in zip(("y", "dx", "dkernel", "dbias"), results, want, strict=False):
            assert_close(got, np.stack(right), name)


@pytest.mark.parametrize("case", MAPPED[:3], ids=str)
def test_inside_scan(case, rng, assert_close):
    members, _, stacked = members_of(case, rng)

    @jax.jit
    def program(arrays):
        return jax.lax.scan(lambda _, a: (0, {impl: run(case, impl, *a) for impl in IMPLS}), 0, arrays)[1]

    for impl, results in program(stacked).items():
        want = zip(*(values(case, *m) for m in members), strict=True)
        for name, got, right in zip(("y", "dx", "dkernel", "dbias"), results, want, strict=False):
            assert_close(got, np.stack(right), f"{name} of {impl}")


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("case", MAPPED[:4], ids=str)
def test_forward_mode_and_second_derivatives(case, impl, rng, assert_close, x64):
    """conv is bilinear, so every derivative of A(x, k) and of |A(x, k)|² / 2 is a conv or its adjoint."""
    case = dataclasses.replace(case, dtype="float64", bias=False)
    (x, kernel, _, _), (u, w, _, _) = case.arrays(rng), case.arrays(rng)
    f = lambda x, k: jc.conv(x, k, impl=impl, **case.window)  # noqa: E731
    A = lambda x, k: oracle.conv(x, k, **case.window)  # noqa: E731
    back = lambda x, k, g: oracle.conv_grads(x, k, g, **case.window)  # noqa: E731
    grad = jax.grad(lambda x, k: (f(x, k) ** 2).sum() / 2, (0, 1))

    def along(x, k):  # the slope of |A|² / 2 along (u, w)
        dx, dk = grad(x, k)
        return (dx * u).sum() + (dk * w).sum()

    @partial(jax.jit, compiler_options=QUICK)
    def program(x, kernel, u, w):
        tangent, forward = (jax.jvp(h, (x, kernel), (u, w))[1] for h in (f, grad))
        return tangent, forward, jax.grad(along, (0, 1))(x, kernel)

    tangent, forward, reverse = program(x, kernel, u, w)
    y, dy = A(x, kernel), A(u, kernel) + A(x, w)
    want = (back(x, kernel, dy)[0] + back(x, w, y)[0], back(x, kernel, dy)[1] + back(u, kernel, y)[1])
    assert_close(tangent, dy, "jvp")
    for i, name in enumerate(("x", "kernel")):
        assert_close(forward[i], want[i], f"forward over reverse, {name}")
        assert_close(reverse[i], want[i], f"reverse over reverse, {name}")


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("padding", ["valid", "same", (4, 0)])
def test_empty_batch(impl, padding):
    case = Case((5, 4), (3, 2), 2, 6, batch=0, padding=padding, groups=2)
    x, kernel, _, g = case.arrays(np.random.default_rng(0))
    y, dx, dkernel = run(case, impl, x, kernel, None, g)
    assert y.shape == (0, *case.out, 6)
    assert dx.shape == x.shape
    np.testing.assert_array_equal(dkernel, np.zeros_like(kernel))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("case", [MAPPED[0], MAPPED[2], MAPPED[3]], ids=str)
def test_unbatched(case, impl, rng, assert_close):
    case = dataclasses.replace(case, batch=1)
    x, kernel, bias, g = case.arrays(rng)
    program = jax.jit(lambda *a: run(case, impl, *a), compiler_options=QUICK)
    got = program(x[0], kernel, bias, g[0])
    y, dx, *rest = values(case, x, kernel, bias, g)
    for a, want in zip(got, (y[0], dx[0], *rest), strict=False):
        assert_close(a, want)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
@pytest.mark.parametrize("case", [MAPPED[0], MAPPED[1], MAPPED[3]], ids=str)
def test_integers_in_einsum(case, dtype, rng, assert_close):
    x, kernel, bias, _ = case.arrays(rng)
    low = 0 if dtype == "uint8" else -2
    x, kernel = rng.integers(low, 3, x.shape).astype(dtype), rng.integers(low, 2, kernel.shape).astype(dtype)
    bias = None if bias is None else np.arange(len(bias)).astype(dtype)
    program = jax.jit(lambda *a: jc.conv(*a, impl="einsum", **case.window), compiler_options=QUICK)
    y = program(x, kernel, bias)
    assert y.dtype == dtype
    assert_close(y, oracle.conv(x, kernel, bias, **case.window), tolerance=0)


@pytest.mark.parametrize(
    "case",
    [
        Case((14, 14), (3, 3), 32, 48, 3, padding="same"),
        Case((14, 14), (3, 3), 32, 32, padding=(4, 0), stride=2),
        Case((9, 9), (3, 3), 16, 16, padding="same", groups=16),
    ],
    ids=str,
)
def test_larger_arrays(case, rng, assert_close):
    """Sizes for which XLA selects other kernels than for the small cases."""
    check(case, IMPLS, rng, assert_close)


@pytest.mark.parametrize("impl", IMPLS)
def test_bfloat16_is_summed_in_f32(impl, assert_close):
    """A sum of 8192 ones is 8192 in every gradient; summed in bfloat16, it would stop at 256."""
    case = Case((32, 32), (1, 1), 1, 1, 8, "bfloat16", True)
    x, kernel, bias, g = (np.ones_like(a) for a in case.arrays(np.random.default_rng(0)))
    program = jax.jit(lambda *a: run(case, impl, *a), compiler_options=QUICK)
    for name, got, want in zip(
        ("y", "dx", "dkernel", "dbias"), program(x, kernel, bias, g), values(case, x, kernel, bias, g), strict=True
    ):
        assert_close(got, want, name)
