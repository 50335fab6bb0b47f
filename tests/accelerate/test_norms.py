"""accelerate: norms written in array operations run on the kernels, and nothing else is taken for one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec
from support.replaced import replaced
from support.trees import assert_same

import jaxconv as jc
from jaxconv.engine import native

pytestmark = [
    pytest.mark.sampled,
    pytest.mark.skipif(not native.available(), reason="the native kernels are not compiled"),
]

EPS = 1e-3
SHAPE = (4, 6, 5, 8)
AXES = {"batch": (0, 1, 2), "layer": (3,), "instance": (1, 2)}


def mean(x, axes):
    return x.mean(axes, keepdims=True)


def fast(x, axes):
    m = mean(x, axes)
    return m, jnp.maximum(0.0, mean(x * x, axes) - m * m)


def unclipped(x, axes):
    m = jnp.sum(x, axes) / np.prod([x.shape[a] for a in axes])
    return tuple(jnp.expand_dims(v, axes) for v in (m, jnp.mean(jnp.square(x), axes) - m**2))


def centered(x, axes):
    m = mean(x, axes)
    return m, mean((x - m) ** 2, axes)


def numpys(x, axes):
    return mean(x, axes), jnp.var(x, axes, keepdims=True)


def by_rsqrt(x, m, v, s, b):
    return (x - m) * (lax.rsqrt(v + EPS) * s) + b


def by_sqrt(x, m, v, s, b):
    return (x - m) / jnp.sqrt(v + EPS) * s + b


def by_power(x, m, v, s, b):
    return b + s * ((x - m) * (EPS + v) ** -0.5)


def folded(x, m, v, s, b):
    factor = s / jnp.sqrt(v + EPS)
    return x * factor + (b - m * factor)


MOMENTS = (fast, unclipped, centered, numpys)
FORMULAS = (by_rsqrt, by_sqrt, by_power, folded)


@pytest.fixture
def arrays(rng):
    x, w = (rng.normal(size=SHAPE).astype(np.float32) for _ in range(2))
    return 2 * x + 0.5, *rng.normal(size=(2, 8)).astype(np.float32), w


def loss(norm, x, s, b, w):
    """A number whose gradients depend on every value of the norm's result, and the result."""
    z = norm(x, s, b)
    return (jnp.tanh(z) * w).sum(), z


def both_ways(norm, x, s, b, w):
    """The value and the gradients, differentiated inside of accelerate and outside of it, and what is expected."""
    f = functools.partial(loss, norm)
    plain = jax.value_and_grad(f, (0, 1, 2), has_aux=True)
    outside = jax.value_and_grad(jc.accelerate(f), (0, 1, 2), has_aux=True)
    return [jax.jit(g)(x, s, b, w) for g in (jc.accelerate(plain), outside, plain)], plain


@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("moments", MOMENTS)
@pytest.mark.parametrize("formula", FORMULAS)
def test_every_way_to_write_a_norm(kind, moments, formula, arrays):
    norm = lambda x, s, b: formula(x, *moments(x, AXES[kind]), s, b)  # noqa: E731
    (inside, outside, want), step = both_ways(norm, *arrays)
    assert_same(inside, want, 2e-5)
    assert_same(outside, want, 2e-5)
    assert replaced(step, *arrays) == (1, 1)
    assert replaced(functools.partial(loss, norm), *arrays) == (1, 0)


@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("given", ["scale", "bias", "neither"])
def test_without_scale_or_bias(kind, given, arrays):
    def norm(x, s, b):
        m, v = fast(x, AXES[kind])
        y = (x - m) * lax.rsqrt(v + EPS)
        return {"scale": y * s, "bias": y + b, "neither": y}[given]

    (inside, outside, want), step = both_ways(norm, *arrays)
    assert_same(inside, want, 2e-5)
    assert_same(outside, want, 2e-5)
    assert replaced(step, *arrays) == (1, 1)


def test_statistics_that_are_used_elsewhere(arrays):
    def step(x, s, b, w):
        def f(x):
            m, v = numpys(x, (0, 1, 2))
            return (by_sqrt(x, m, v, s, b) * w).sum(), (0.9 * w.mean((0, 1, 2)) + 0.1 * m, v)

        return jax.value_and_grad(f, has_aux=True)(x)

    assert_same(jax.jit(jc.accelerate(step))(*arrays), jax.jit(step)(*arrays), 2e-5)
    assert replaced(step, *arrays) == (1, 1)


def test_statistics_with_gradients_of_their_own(arrays):
    """The gradient of x is then not the norm's alone, and stays."""

    def norm(x, s, b):
        m, v = centered(x, (0, 1, 2))
        return by_sqrt(x, m, v, s, b) + m + v

    (inside, outside, want), step = both_ways(norm, *arrays)
    assert_same(inside, want, 2e-5)
    assert_same(outside, want, 2e-5)
    assert replaced(step, *arrays) == (1, 0)


@pytest.mark.parametrize("uses", [1, 2])
def test_an_array_that_is_used_beside_its_norm(uses, arrays):
    def norm(x, s, b):
        return by_rsqrt(x, *fast(x, (3,)), s, b) + x + (jnp.tanh(x) if uses > 1 else 0.0)

    (inside, outside, want), step = both_ways(norm, *arrays)
    assert_same(inside, want, 2e-5)
    assert_same(outside, want, 2e-5)
    assert replaced(step, *arrays) == (1, 1)


def test_norms_of_one_array_and_of_a_norm(arrays):
    def norm(x, s, b):
        y = by_rsqrt(x, *fast(x, (0, 1, 2)), s, b) + by_sqrt(x, *numpys(x, (3,)), b, s)
        return by_sqrt(y + x, *centered(y + x, (3,)), s, b)

    (inside, outside, want), step = both_ways(norm, *arrays)
    assert_same(inside, want, 1e-4)
    assert_same(outside, want, 1e-4)
    assert replaced(step, *arrays)[0] == 3


@pytest.mark.parametrize("offset", [1e2, 1e4])
@pytest.mark.parametrize("moments", [fast, centered])
def test_large_means_are_no_less_accurate(moments, offset, rng):
    x = (rng.normal(size=SHAPE) + offset).astype(np.float32)
    f = lambda x: by_rsqrt(x, *moments(x, (0, 1, 2)), 1.0, 0.0)  # noqa: E731
    wide = x.astype(np.float64)
    want = (wide - wide.mean((0, 1, 2))) / np.sqrt(wide.var((0, 1, 2)) + EPS)
    errors = [np.abs(np.asarray(jax.jit(g)(x)) - want).max() for g in (jc.accelerate(f), f)]
    assert replaced(f, x) == (1, 0)
    assert errors[0] <= max(errors[1], 1e-6)


@pytest.mark.slow
def test_a_constant_channel(arrays):
    """Of variance 0, where the derivative of the clip is not 1."""
    x, *rest = arrays
    x[..., 3] = 2.0
    norm = lambda x, s, b: by_rsqrt(x, *fast(x, (0, 1, 2)), s, b)  # noqa: E731
    (inside, outside, _), step = both_ways(norm, x, *rest)
    with jax.enable_x64(True):
        want = jax.tree.map(np.float32, step(*(v.astype(np.float64) for v in (x, *rest))))
    assert_same(inside, want)
    assert_same(outside, want)


# ---------------------------------------------------------------- what is no norm


def eps_outside(x, s, b):
    m, v = fast(x, (0, 1, 2))
    return (x - m) * (lax.rsqrt(v) + EPS) * s + b


def eps_as_an_argument(x, s, b):
    m, v = fast(x, (0, 1, 2))
    return (x - m) * lax.rsqrt(v + abs(s[0])) * s + b


def mean_over_other_axes(x, s, b):
    return by_rsqrt(x, mean(x, (1, 2)), fast(x, (0, 1, 2))[1], s, b)


def variance_of_another_array(x, s, b):
    return by_rsqrt(x, mean(x, (0, 1, 2)), fast(jnp.tanh(x), (0, 1, 2))[1], s, b)


def unbiased(x, s, b):
    return by_rsqrt(x, mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2), ddof=1), s, b)


def floored(x, s, b):
    m, v = fast(x, (0, 1, 2))
    return by_rsqrt(x, m, jnp.maximum(v, 0.1), s, b)


def guarded(x, s, b):
    m, v = fast(x, (0, 1, 2))
    return (x - m) * jnp.where(v < 0.1, 1.0, lax.rsqrt(v + EPS)) * s + b


def guarded_against_zero(x, s, b):
    m, v = fast(x, (0, 1, 2))
    return (x - m) * jnp.where(v == 0, 1.0, lax.rsqrt(v)) * s + b


def guarded_where_clipped(x, s, b):
    """Its gradient is 0 where the variance is 0."""
    m, v = fast(x, (0, 1, 2))
    return (x - m) * jnp.where(v > 0, lax.rsqrt(v + EPS), 0.0) * s + b


def masked(x, s, b):
    mask = x > -1e9  # all
    m = jnp.mean(x, (0, 1, 2), where=mask)
    return by_rsqrt(x, m, jnp.mean(x * x, (0, 1, 2), where=mask) - m * m, s, b)


def root_mean_square(x, s, b):
    return x * lax.rsqrt(mean(x * x, (3,)) + EPS) * s + b


def fourth_powers(x, s, b):
    m = mean(x, (3,))
    return (x - m) * lax.rsqrt(jnp.sqrt(mean((x - m) ** 4, (3,))) + EPS) * s + b


def rounded(x, s, b):
    return by_rsqrt(x, *fast(x.astype(jnp.float8_e4m3fn).astype(x.dtype), (0, 1, 2)), s, b)


def half_of_the_rows(x, s, b):
    return by_rsqrt(x, *fast(x[:2], (0, 1, 2)), s, b)


NO_NORMS = (
    eps_outside, eps_as_an_argument, mean_over_other_axes, variance_of_another_array, unbiased, floored, guarded,
    guarded_against_zero, guarded_where_clipped, masked, root_mean_square, fourth_powers, rounded, half_of_the_rows,
)  # fmt: skip


@pytest.mark.parametrize("norm", NO_NORMS)
def test_what_is_no_norm_stays_as_it_is(norm, arrays):
    (inside, outside, want), step = both_ways(norm, *arrays)
    assert replaced(step, *arrays) == (0, 0)
    assert replaced(functools.partial(loss, norm), *arrays) == (0, 0)
    assert_same(inside, want, 0)
    assert_same(outside, want, 0)


def test_statistics_over_devices_stay_as_they_are(arrays):
    mesh = jax.make_mesh((1,), ("devices",), (AxisType.Auto,), devices=jax.devices()[:1])

    def norm(x, s, b):
        m = lax.pmean(mean(x, (0, 1, 2)), "devices")
        return by_rsqrt(x, m, lax.pmean(mean(x * x, (0, 1, 2)), "devices") - m * m, s, b)

    def whole(x, s, b, own):
        specs = PartitionSpec("devices"), PartitionSpec(), PartitionSpec()
        return jax.shard_map(own, mesh=mesh, in_specs=specs, out_specs=PartitionSpec("devices"))(x, s, b)

    x, s, b, _ = arrays
    assert replaced(functools.partial(whole, own=norm), x, s, b) == (0, 0)
    alone = lambda x, s, b: by_rsqrt(x, *fast(x, (0, 1, 2)), s, b)  # noqa: E731
    f = functools.partial(whole, own=alone)
    assert replaced(f, x, s, b) == (1, 0)
    assert_same(jax.jit(jc.accelerate(f))(x, s, b), jax.jit(f)(x, s, b), 2e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_sums_in_half_precision_stay_as_they_are(dtype, arrays):
    x, s, b, _ = (v.astype(dtype) for v in arrays)
    ones = jnp.ones((120, 1), dtype)

    def norm(x, s, b):
        m, m2 = (jnp.einsum("nc,no->c", v.reshape(120, 8), ones) / 120 for v in (x, x * x))
        return by_rsqrt(x, m, m2 - m * m, s, b)

    assert replaced(norm, x, s, b) == (0, 0)


# ---------------------------------------------------------------- compositions


def net(params, x):
    """Two norms with an activation between, and what a step needs of them."""
    s, b = params
    h = jax.nn.relu(by_rsqrt(x, *fast(x, (0, 1, 2)), s, b))
    return (jnp.tanh(by_sqrt(h, *numpys(h, (3,)), b, s)) ** 2).sum()


WRAPS = {
    "jit": lambda f: jax.jit(f),
    "remat": jax.checkpoint,
    "jit of each call": lambda f: lambda p, x: jax.jit(f)(p, jax.jit(lambda x: x + 1)(x)),
    "vmap": lambda f: lambda p, x: jax.vmap(f, (None, 0))(p, jnp.stack([x, 2 * x])).sum(),
    "vmap of both": lambda f: lambda p, x: jax.vmap(f)([jnp.stack([v, v + 1]) for v in p], jnp.stack([x, 2 * x])).sum(),
    "scan": lambda f: lambda p, x: lax.scan(lambda c, x: (c + f(p, x), None), 0.0, jnp.stack([x, 2 * x]))[0],
}  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPS)
def test_compositions(wrap, arrays):
    x, s, b, _ = arrays
    f = WRAPS[wrap](net)
    step = jax.value_and_grad(f, (0, 1))
    want = jax.jit(step)((s, b), x)
    for fast_step in (jc.accelerate(step), jax.value_and_grad(jc.accelerate(f), (0, 1))):
        assert_same(jax.jit(fast_step)((s, b), x), want, 5e-5)
    assert replaced(step, (s, b), x) == {"scan": (1, 0), "remat": (4, 2)}.get(wrap, (2, 2))


@pytest.mark.slow
def test_second_derivatives(arrays):
    x, s, b, _ = arrays
    hessian = lambda f: jax.jit(jax.grad(lambda s: (jax.grad(f, 1)((s, b), x) ** 2).sum()))  # noqa: E731
    want = hessian(net)(s)
    assert_same(hessian(jc.accelerate(net))(s), want, 2e-4)
    assert_same(jax.jit(jc.accelerate(hessian(net)))(s), want, 2e-4)


# ---------------------------------------------------------------- the report


def test_report_of_norms(arrays):
    def step(x, s, b, w):
        y = by_rsqrt(x, *fast(x, (0, 1, 2)), s, b)
        return (root_mean_square(masked(y, s, b), s, b) * w).sum()

    report = jc.accelerate.report(jax.grad(step, (0, 1, 2)), *arrays)
    assert not report
    assert [(row.shape, row.axes, row.engine) for row in report.norms] == [
        (SHAPE, (0, 1, 2), "native"), ((8,), (), "XLA"), ((*SHAPE[:3], 1), (), "XLA")
    ]  # fmt: skip
    assert "4×6×5×8  (0, 1, 2)  native: forward and gradients" in str(report)
    assert "XLA: its root is not of the variance of one array" in str(report)
