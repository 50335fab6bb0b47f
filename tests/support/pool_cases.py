"""Calls of the pools for their tests: drawn at random, computed by jaxconv and by the oracle."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from support import oracle
from support.conv_cases import QUICK, draw_ints

import jaxconv as jc

KINDS = {
    "max": (jc.max_pool, oracle.max_pool, oracle.max_pool_grad, {}),
    "avg": (jc.avg_pool, oracle.avg_pool, oracle.avg_pool_grad, {}),
    "avg padded": (jc.avg_pool, oracle.avg_pool, oracle.avg_pool_grad, {"count_include_pad": True}),
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
    ceil_mode: bool = False
    dtype: str = "float32"

    @property
    def window(self):
        return {word: getattr(self, word) for word in ("stride", "padding", "dilation", "ceil_mode")}

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
    axes = zip(case.shape[1:-1], case.size, stride, pads, dilation, strict=True)
    return all(
        oracle.out_size(n, k, stride=s, pads=p, dilation=d, ceil_mode=case.ceil_mode) > 0 for n, k, s, p, d in axes
    )


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
