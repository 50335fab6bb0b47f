"""Calls of conv for its tests: drawn at random, computed by jaxconv and by the oracle."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from support import oracle

import jaxconv as jc

IMPLS = ["lax", "einsum", "auto"]
WORDS = ["valid", "same", "same_lower", "full", "causal"]
X64 = {"float64": True, "float32": False, "bfloat16": False}
QUICK = {"xla_backend_optimization_level": 0}  # 60 % of the compile time; the HLO passes stay as they are


@dataclasses.dataclass(frozen=True)
class Case:
    """The shapes and arguments of one conv call."""

    size: tuple
    k: tuple
    c_in: int = 2
    c_out: int = 2
    batch: int = 2
    dtype: str = "float32"
    bias: bool = False
    stride: int | tuple = 1
    padding: object = "valid"
    padding_mode: str = "zeros"
    dilation: int | tuple = 1
    groups: int = 1

    @property
    def window(self):
        words = ("stride", "padding", "padding_mode", "dilation", "groups")
        return {word: getattr(self, word) for word in words}

    @property
    def out(self):
        rank = len(self.size)
        stride, dilation = oracle.per_axis(self.stride, rank), oracle.per_axis(self.dilation, rank)
        pads = oracle.pads(self.padding, self.size, self.k, stride, dilation)
        axes = zip(self.size, self.k, stride, pads, dilation, strict=True)
        return tuple(oracle.out_size(n, k, stride=s, pads=p, dilation=d) for n, k, s, p, d in axes)

    def arrays(self, rng):
        """x, kernel, bias and the output's gradient, rounded to the dtype."""
        shapes = [
            (self.batch, *self.size, self.c_in),
            (*self.k, self.c_in // self.groups, self.c_out),
            (self.c_out,),
            (self.batch, *self.out, self.c_out),
        ]
        arrays = [rng.normal(size=shape).astype(jnp.dtype(self.dtype)) for shape in shapes]
        return arrays if self.bias else [*arrays[:2], None, arrays[3]]

    def __str__(self):
        fields = [f for f in dataclasses.fields(self) if getattr(self, f.name) != f.default]
        return " ".join(f"{f.name}={getattr(self, f.name)}" for f in fields).replace(", ", ",")


def values(case, x, kernel, bias, g):
    """The oracle's y, dx, dkernel and dbias."""
    x, kernel, g = (np.asarray(a, np.float64) for a in (x, kernel, g))
    y = oracle.conv(x, kernel, None if bias is None else np.asarray(bias, np.float64), **case.window)
    return y, *oracle.conv_grads(x, kernel, g, **case.window), g.reshape(-1, g.shape[-1]).sum(0)


def run(case, impl, x, kernel, bias, g):
    """jaxconv's y, dx, dkernel and, where there is a bias, dbias."""
    arrays = (x, kernel) if bias is None else (x, kernel, bias)
    y, pull = jax.vjp(lambda *a: jc.conv(*a, impl=impl, **case.window), *arrays)
    return y, *pull(g)


def draw_ints(rng, high, rank, maybe_int=False):
    ints = tuple(map(int, rng.integers(1, high + 1, rank)))
    return ints[0] if maybe_int and rng.random() < 0.3 else ints


def draw_padding(rng, size, k, dilation):
    rank = len(size)
    kind = rng.integers(9)
    if kind < 5:
        return WORDS[kind]
    if kind == 5:
        return int(rng.integers(0, 4))
    if kind == 6:
        return ((4, 0), (0, 5), (1, 2), (0, 1), (5, 4))[rng.integers(5)]
    return tuple((int(rng.integers(0, 6)), int(rng.integers(0, 6))) for _ in range(rank))


def draw_case(rng):
    """One random call that has an output of at least one and few enough positions for the loops."""
    while True:
        rank = int(rng.choice([1, 2, 2, 3]))
        top = (12, 7, 4)[rank - 1]
        size, k = draw_ints(rng, top, rank), draw_ints(rng, (5, 4, 2)[rank - 1], rank)
        dilation = draw_ints(rng, 3 if rng.random() < 0.4 else 1, rank, maybe_int=True)
        stride = draw_ints(rng, 3 if rng.random() < 0.6 else 1, rank, maybe_int=True)
        groups = int(rng.choice([1, 1, 2, 3]))
        case = Case(
            size, k, groups * int(rng.integers(1, 3)), groups * int(rng.integers(1, 3)), int(rng.integers(1, 4)),
            str(rng.choice(["float32", "float32", "float32", "bfloat16", "float64"])), bool(rng.random() < 0.3),
            stride, draw_padding(rng, size, k, dilation),
            str(rng.choice(["zeros", "zeros", "zeros", "reflect", "edge", "wrap"])), dilation, groups,
        )  # fmt: skip
        pads = oracle.pads(case.padding, size, k, stride, dilation)
        room = {"reflect": -1, "wrap": 0}.get(case.padding_mode, 99)  # one copy of the input on each side
        fits = all(max(pair) <= n + room for n, pair in zip(size, pads, strict=True))
        if fits and min(case.out) >= 1 and np.prod(case.out) * np.prod(k) <= 600 and np.prod(k) <= 12:
            return case


def sample(count, seed):
    rng = np.random.default_rng(seed)
    return [draw_case(rng) for _ in range(count)]
