"""Engine against einsum and NumPy in f64: outputs and both gradients for sampled arguments of lax's convolution.

10 cases in the quick suite, 100 with -m slow, 3,025 with JAXCONV_GRID=120 (chunks of 25). `.ci/run` repeats some of
them under `XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=`, which selects XLA's other code for matrix products.
The native kernels, where compiled, are tested on every instruction set of the processor.
"""

import dataclasses
import functools
import os

import jax
import numpy as np
import pytest
from support import oracle, quick

from jaxconv.engine import native
from jaxconv.engine.general import conv_general_dilated

QUICK = quick.QUICK | {"xla_llvm_disable_expensive_passes": True}
CHUNK = 25


@functools.cache
def options(older):
    """Those of the compiler options that this jaxlib has."""
    return quick.first_known(QUICK | quick.OLDER, QUICK) if older else quick.first_known(QUICK)


@dataclasses.dataclass(frozen=True)
class Case:
    """Arguments of one `conv_general_dilated` on [N, *n, C] and [*k, C/groups, O]."""

    batch: int
    n: tuple
    k: tuple
    c_in: int
    c_out: int
    stride: tuple
    pads: tuple
    lhs_dilation: tuple
    dilation: tuple
    groups: int
    batch_groups: int
    dtype: str = "float32"

    @property
    def dilated(self):
        return tuple((n - 1) * a + 1 for n, a in zip(self.n, self.lhs_dilation, strict=True))

    @property
    def out(self):
        axes = zip(self.dilated, self.k, self.stride, self.pads, self.dilation, strict=True)
        return tuple(oracle.out_size(n, k, stride=s, pads=p, dilation=d) for n, k, s, p, d in axes)

    def arrays(self, rng):
        shapes = (
            (self.batch, *self.n, self.c_in),
            (*self.k, self.c_in // self.groups, self.c_out),
            (self.batch // self.batch_groups, *self.out, self.c_out),
        )
        return [rng.normal(size=shape).astype(self.dtype) for shape in shapes]

    def call(self, x, k, impl):
        letters = "DHW"[-len(self.n) :]
        return conv_general_dilated(
            x, k, self.stride, self.pads, self.lhs_dilation, self.dilation,
            (f"N{letters}C", f"{letters}IO", f"N{letters}C"), self.groups, self.batch_groups, "highest", impl=impl,
        )  # fmt: skip


def few_outputs(case, rng):
    """One input channel and one or two strided outputs along the last axis."""
    last, out = len(case.n) - 1, int(rng.integers(1, 3))
    stride = (*(1,) * last, int(rng.integers(2, 4)))
    n = (*case.n[:-1], (case.k[-1] - 1) * case.dilation[-1] + 1 + (out - 1) * stride[-1])
    maps = case.c_out // (case.groups * case.batch_groups) * 4
    return dataclasses.replace(
        case, n=n, c_in=1, c_out=maps, stride=stride, pads=(*case.pads[:-1], (0, 0)), groups=1, batch_groups=1,
        lhs_dilation=(1,) * len(n),
    )  # fmt: skip


def draw(rng):
    """A random case: mostly small, one of eight with more than 8,192 elements, one of eight `few_outputs`."""
    while True:
        rank, large = int(rng.integers(1, 4)), rng.random() < 1 / 8
        most = {1: 400, 2: 24, 3: 9}[rank] if large else {1: 12, 2: 8, 3: 5}[rank]
        ints = lambda low, high: tuple(map(int, rng.integers(low, high, rank)))  # noqa: E731, B023
        pick = lambda *of: tuple(map(int, rng.choice(of, rank)))  # noqa: E731, B023
        groups, batch_groups = [(1, 1), (1, 1), (2, 1), (3, 1), (1, 2), (8, 1)][rng.integers(6)]
        per_in, per_out = rng.integers(1, 9 if large else 4, 2)
        d, k = pick(1, 1, 1, 2, 3), ints(1, 5)
        case = Case(
            batch=int(rng.integers(1, 5)) * batch_groups,
            n=ints(most // 2 if large else 1, most + 1),
            k=k,
            c_in=int(per_in) * groups,
            c_out=int(per_out) * groups * batch_groups,
            stride=pick(1, 1, 2, 3),
            pads=tuple(
                (int(rng.integers(-2, e * (t - 1) + 4)), int(rng.integers(-2, e * (t - 1) + 4)))
                for t, e in zip(k, d, strict=True)
            ),
            lhs_dilation=pick(1, 1, 2, 3) if rng.random() < 0.3 else (1,) * rank,
            dilation=d,
            groups=groups,
            batch_groups=batch_groups,
            dtype="float64" if rng.random() < 1 / 10 else "float32",
        )
        if not large and rng.random() < 1 / 7:
            case = few_outputs(case, rng)
        cropped = (n + min(lo, 0) + min(hi, 0) for n, (lo, hi) in zip(case.dilated, case.pads, strict=True))
        if min(case.out) >= 1 and min(cropped) >= 1:
            return case


def expected(case, x, k, g):
    """y, dx and dk by the oracle: dilates with zeros, crops, and turns batch groups into channel groups."""
    x, k, g = (np.asarray(a, np.float64) for a in (x, k, g))
    spread = np.zeros((case.batch, *case.dilated, case.c_in))
    every = (slice(None), *(slice(None, None, a) for a in case.lhs_dilation))
    spread[every] = x
    crop = (
        slice(None),
        *(slice(-min(lo, 0), n + min(hi, 0)) for n, (lo, hi) in zip(case.dilated, case.pads, strict=True)),
    )
    cropped, b = spread[crop], case.batch_groups
    grouped = np.concatenate(np.split(cropped, b), axis=-1)
    window = {
        "stride": case.stride, "dilation": case.dilation, "groups": case.groups * b,
        "padding": tuple((max(lo, 0), max(hi, 0)) for lo, hi in case.pads),
    }  # fmt: skip
    y = oracle.conv(grouped, k, **window)
    dgrouped, dk = oracle.conv_grads(grouped, k, g, **window)
    back = np.zeros_like(spread)
    back[crop] = np.concatenate(np.split(dgrouped, b, axis=-1))
    return y, back[every], dk


def check(case, rng, words):
    def slots(x, k, g, impl):
        y, back = jax.vjp(lambda x, k: case.call(x, k, impl), x, k)
        return (y, *back(g))

    with jax.enable_x64(case.dtype == "float64"):
        arrays = case.arrays(rng)
        program = jax.jit(lambda *a: {impl: slots(*a, impl) for impl in ("auto", "einsum")}, compiler_options=words)
        results = dict(program(*arrays))
        if native.available() and case.dtype == "float32":
            by_native = jax.jit(functools.partial(slots, impl="native"), compiler_options=words)
            for isa in filter(native.select_isa, native.ISAS):  # selected as the program runs, so one compilation
                results[f"native on {isa}"] = jax.block_until_ready(by_native(*arrays))
            native.select_isa(None)
        sizes = expected(case, *map(np.abs, arrays))  # sums of |products|: rounding errors are relative to them
        for impl, found in results.items():
            for name, got, want, size in zip(("y", "dx", "dk"), found, expected(case, *arrays), sizes, strict=True):
                allowed = (1e-13 if got.dtype == "float64" else 3e-6) * size.max()
                assert got.shape == want.shape, f"{name} of {impl} in {case}"
                np.testing.assert_allclose(got, want, rtol=0, atol=allowed, err_msg=f"{name} of {impl} in {case}")


def check_chunk(number, cases=CHUNK):
    rng = np.random.default_rng(number)
    for _ in range(cases):
        check(draw(rng), rng, options(number % 6 > 0))


@pytest.mark.slow
def test_chunk():
    check_chunk(0, cases=4)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(int(os.environ.get("JAXCONV_GRID", "3")) + 1))
def test_chunks(number):
    check_chunk(number)
    jax.clear_caches()
