"""Normalization as a primitive: values and derivatives, by the kernels and by the formulas, in every transformation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import jet
from jax.sharding import PartitionSpec
from support.native import here

import jaxconv as jc
from jaxconv.engine import native, norm_primitive
from jaxconv.engine.norm import Norm


@pytest.fixture(params=["native", "plain"])
def way(request, monkeypatch):
    """With the kernels, and without."""
    if request.param == "plain":
        jax.clear_caches()
        monkeypatch.setattr(norm_primitive.native, "norm_sizes", lambda *args: None)
    elif not native.available():
        pytest.skip(f"no native kernels: {native.reason()}")
    yield request.param
    if request.param == "plain":
        jax.clear_caches()


def definition(x, axes, eps, scale, bias):
    """In NumPy, in float64."""
    x, scale, bias = (np.asarray(v, np.float64) for v in (x, scale, bias))
    mean = x.mean(axes, keepdims=True)
    var = ((x - mean) ** 2).mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(var + eps) * scale + bias, mean, var


def gradients(x, axes, eps, scale, cts):
    """The cotangents of x, scale and bias, in float64, written out."""
    x, scale, dz, dmean, dvar = (np.asarray(v, np.float64) for v in (x, scale, *cts))
    n = np.prod([x.shape[axis] for axis in axes])
    d = x - x.mean(axes, keepdims=True)
    std = np.sqrt((d**2).mean(axes, keepdims=True) + eps)
    w = dz * scale
    dx = w / std - (w / std).mean(axes, keepdims=True) - d / std**3 * (w * d).mean(axes, keepdims=True)
    kept = tuple(range(x.ndim - scale.ndim)) + tuple(
        axis + x.ndim - scale.ndim for axis, size in enumerate(scale.shape) if size == 1
    )
    return dx + (dmean + 2 * d * dvar) / n, (dz * d / std).sum(kept), dz.sum(kept)


@functools.cache
def program(axes, eps):
    """Values and cotangents, compiled once: the instruction set is looked up as it runs."""

    def both(x, scale, bias, cts):
        out, back = jax.vjp(lambda *args: norm_primitive.normalize(args[0], axes, eps, *args[1:]), x, scale, bias)
        return out, back(cts)

    return jax.jit(both)


def check(shape, axes, of_scale, rng, mean=0.0, deviation=1.0, eps=1e-5):
    x = (mean + deviation * rng.normal(size=shape)).astype(np.float32)
    scale, bias = (rng.normal(size=of_scale).astype(np.float32) for _ in range(2))
    want = definition(x, axes, eps, scale, bias)
    cts = tuple(rng.normal(size=v.shape).astype(np.float32) for v in want)
    got, back = program(axes, eps)(x, scale, bias, cts)
    want_back = gradients(x, axes, eps, scale, cts)
    for name, a, b in zip(
        ("z", "mean", "var", "dx", "dscale", "dbias"), (*got, *back), (*want, *want_back), strict=True
    ):
        error = np.abs(np.asarray(a, np.float64).reshape(b.shape) - b).max() / np.abs(b).max()
        assert error < 5e-6, f"{name} of {shape} over {axes}: {error:.1e}"


CASES = {
    "batch": ((3, 5, 7, 16), (0, 1, 2), (16,)),
    "batch, one cell": ((32, 1, 1, 960), (0, 1, 2), (960,)),
    "batch, one image": ((1, 9, 11, 24), (0, 1, 2), (24,)),
    "batch, many blocks": ((9, 32, 31, 20), (0, 1, 2), (20,)),
    "batch, no space": ((2, 3), (0,), (3,)),
    "instance": ((5, 7, 5, 12), (1, 2), (12,)),
    "instance, one image": ((1, 7, 5, 12), (1, 2), (12,)),
    "group": ((4, 5, 6, 3, 5), (1, 2, 4), (3, 5)),
    "group, one of all": ((2, 40, 41, 1, 24), (1, 2, 4), (1, 24)),
    "group, no space": ((6, 4, 5), (2,), (4, 5)),
    "layer": ((40, 3, 3, 33), (3,), (33,)),
    "layer, few channels": ((40, 3, 3, 3), (3,), (3,)),
    "layer, one row": ((70000,), (0,), (70000,)),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name, isa, rng):
    shape, axes, of_scale = CASES[name]
    like = np.ones(shape, np.float32), np.ones((1,) * (len(shape) - len(of_scale)) + of_scale)
    assert native.norm_sizes(*like, Norm(axes, 1e-5))
    check(shape, axes, of_scale, rng)


@pytest.mark.parametrize("name", ["batch", "instance", "group", "layer"])
def test_the_formulas_without_kernels(name, rng, monkeypatch):
    monkeypatch.setattr(norm_primitive.native, "norm_sizes", lambda *args: None)
    shape, axes, of_scale = CASES[name]
    program.cache_clear()
    jax.clear_caches()
    check(shape, axes, of_scale, rng)
    program.cache_clear()
    jax.clear_caches()


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["batch", "batch, many blocks", "instance", "group", "layer"])
def test_a_small_spread_on_a_large_mean(name, isa, rng):
    check(*CASES[name], rng, mean=1e4, deviation=1e-2, eps=1e-8)


@pytest.mark.sampled
@here
@pytest.mark.parametrize("channels", range(1, 41, 3))
def test_odd_channels(channels, rng):
    for _ in filter(native.select_isa, native.ISAS):
        check((2, 6, 3, channels), (0, 1, 2), (channels,), rng)
    native.select_isa(None)


@here
def test_an_outlier_in_the_first_row(rng):
    """The sums about the first row must not lose the others."""
    x = rng.normal(size=(64, 8, 8, 20)).astype(np.float32)
    x[0, 0, 0] = 1e4
    ones = np.ones(20, np.float32)
    want = definition(x, (0, 1, 2), 1e-5, ones, 0 * ones)
    got, _ = program((0, 1, 2), 1e-5)(x, ones, 0 * ones, tuple(v.astype(np.float32) for v in want))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_inf_and_nan_stay_in_their_channel(value, isa, rng):
    x = rng.normal(size=(3, 6, 5, 21)).astype(np.float32)
    ones = np.ones(21, np.float32)
    run = program((0, 1, 2), 1e-5)
    dz = rng.normal(size=x.shape).astype(np.float32)
    zero = np.zeros((1, 1, 1, 21), np.float32)
    clean = jax.tree.leaves(run(x, ones, ones, (dz, zero, zero)))
    bad = x.copy()
    bad[1, 2, 3, 11] = value
    for got, want in zip(jax.tree.leaves(run(bad, ones, ones, (dz, zero, zero))), clean, strict=True):
        others = np.arange(21) != 11
        np.testing.assert_array_equal(got[..., others], want[..., others])
    z, dx = (run(bad, ones, ones, (dz, zero, zero))[i][0] for i in (0, 1))
    assert not np.isfinite(z[..., 11]).any()
    assert not np.isfinite(dx[..., 11]).any()


def test_a_constant_channel(isa):
    """Its variance is 0: z is the bias, and the gradient is finite."""
    x = np.full((4, 3, 3, 17), 7.1, np.float32)
    ones, zero = np.ones(17, np.float32), np.zeros((1, 1, 1, 17), np.float32)
    (z, mean, var), back = program((0, 1, 2), 1e-5)(x, ones, 3 * ones, (np.ones_like(x), zero, zero))
    np.testing.assert_array_equal(z, 3)
    np.testing.assert_array_equal(var, 0)
    np.testing.assert_allclose(mean, np.float32(7.1), rtol=1e-7)
    assert all(np.isfinite(v).all() for v in back)


def test_the_same_bits_each_time(isa, rng):
    x = rng.normal(size=(16, 12, 12, 24)).astype(np.float32)
    scale, bias = rng.normal(size=(2, 24)).astype(np.float32)
    for axes in ((0, 1, 2), (1, 2), (3,)):
        out = program(axes, 1e-5)
        first = out(x, scale, bias, definition(x, axes, 1e-5, scale, bias))
        for _ in range(3):
            again = out(x, scale, bias, definition(x, axes, 1e-5, scale, bias))
            jax.tree.map(np.testing.assert_array_equal, again, first)


# ---------------------------------------------------------------- transformations


def plain(x, axes, eps, scale, bias):
    """The definition, differentiated by JAX."""
    d = x - x.mean(axes, keepdims=True)
    return d / jnp.sqrt((d * d).mean(axes, keepdims=True) + eps) * scale + bias


KINDS = {"batch": ((0, 1, 2), (4, 3, 3, 6)), "instance": ((1, 2), (4, 3, 3, 6)), "layer": ((3,), (4, 3, 3, 6))}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_transformation(kind, way, rng, assert_close):
    axes, shape = KINDS[kind]
    x = jnp.asarray(rng.normal(1, 2, shape), jnp.float32)
    scale, bias = jnp.asarray(rng.normal(1, 0.3, (2, shape[-1])), jnp.float32)
    weight = jnp.asarray(rng.normal(size=shape), jnp.float32)
    z = {
        "ours": lambda x, s, b: norm_primitive.normalize(x, axes, 1e-3, s, b)[0],
        "plain": lambda x, s, b: plain(x, axes, 1e-3, s, b),
    }

    def all_of(norm):
        args = (x, scale, bias)
        loss = lambda *a: jnp.sum(jnp.sin(norm(*a)) * weight)  # noqa: E731
        every = jax.grad(loss, (0, 1, 2))
        size = lambda *a: sum(jnp.sum(v**2) for v in every(*a))  # noqa: E731
        moved = (jnp.cos(x), jnp.cos(scale), jnp.cos(bias))
        three = tuple(jnp.stack([v, 2 * v, -v]) for v in args)
        two, mixed = [v[:2] for v in three[1:]], jnp.stack([x, x[::-1], 2 * x])
        return {
            "value": norm(*args),
            "grad": every(*args),
            "second": jax.grad(size, (0, 1, 2))(*args),
            "third": jax.grad(lambda s: jnp.sum(jax.grad(size, 0)(x, s, bias) ** 2))(scale),
            "jvp": jax.jvp(norm, args, moved),
            "forward over reverse": jax.jvp(every, args, moved)[1],
            "jacfwd": jax.jacfwd(norm, 1)(*args),
            "jacrev": jax.jacrev(lambda *a: norm(*a).sum((0, 1, 2)), 2)(*args),
            "members": jax.vmap(every)(*three),
            "shared parameters": jax.vmap(every, (0, None, None))(mixed, scale, bias),
            "shared input": jax.vmap(every, (None, 0, 0))(x, *three[1:]),
            "another axis": jax.vmap(norm, (3, 0, 0), 1)(jnp.stack([x, 2 * x], 3), *two),
            "nested": jax.vmap(jax.vmap(every, (0, None, None)))(jnp.stack([mixed, -mixed]), *two),
            "scan": jax.lax.scan(lambda c, t: (c - 0.1 * every(x * t, c, bias)[1], None), scale, jnp.arange(1.0, 4))[0],
            "remat": jax.grad(jax.checkpoint(loss), (0, 1, 2))(*args),
            "linear": jax.linearize(norm, *args)[1](*moved),
            "while": jax.lax.fori_loop(0, 2, lambda _, v: norm(v, scale, bias), x),
        }

    got, want = (jax.jit(functools.partial(all_of, z[name]))() for name in ("ours", "plain"))
    for name in want:
        jax.tree.map(lambda a, b, name=name: assert_close(a, b, name), got[name], want[name])
    eager = [jax.grad(lambda x, f=f: jnp.sum(f(x, scale, bias) * weight))(x) for f in z.values()]
    assert_close(*eager, "not in jit")


@pytest.mark.slow
def test_taylor_series(way, rng, assert_close):
    x, step = (jnp.asarray(rng.normal(size=(4, 3, 5)), jnp.float32) for _ in range(2))
    ones = jnp.ones(5)
    series = [[step, jnp.zeros_like(x), jnp.zeros_like(x)]]
    ours = lambda x: norm_primitive.normalize(x, (0, 1), 1e-3, ones, ones)[0]  # noqa: E731
    got = jet.jet(ours, (x,), series)
    along = lambda t: ours(x + t * step)  # noqa: E731
    want = [along]
    for _ in range(3):
        want.append(jax.jacfwd(want[-1]))
    for a, f in zip([got[0], *got[1]], want, strict=True):
        assert_close(a, f(0.0))


def test_statistics_have_derivatives(way, rng, assert_close):
    x = jnp.asarray(rng.normal(3, 2, (4, 3, 3, 6)), jnp.float32)
    weight = jnp.asarray(rng.normal(size=(2, 1, 1, 1, 6)), jnp.float32)

    def ours(x):
        _, mean, var = norm_primitive.normalize(x, (0, 1, 2), 1e-5)
        return jnp.sum(weight[0] * mean**2 + weight[1] * jnp.log(var))

    def theirs(x):
        return jnp.sum(weight[0] * x.mean((0, 1, 2)) ** 2 + weight[1] * jnp.log(x.var((0, 1, 2))))

    assert_close(jax.jit(jax.grad(ours))(x), jax.grad(theirs)(x))


@here
def test_where_the_kernels_run(rng, assert_close):
    layer = jc.BatchNorm()
    x = rng.normal(size=(4, 3, 3, 6)).astype(np.float32)
    params, state = layer.init(jax.random.key(0), x.shape)
    step = jax.jit(jax.grad(lambda p, x: jnp.sum(layer.apply(p, state, x, train=True)[0] ** 3)))
    text = step.lower(params, x).as_text()
    assert "@jaxconv_sums" in text
    exported = jax.export.export(step)(params, x)
    assert "custom_call" not in exported.mlir_module()
    jax.tree.map(assert_close, exported.call(params, x), step(params, x))
    assert "custom_call" not in jax.jit(lambda x: norm_primitive.normalize(x, (0, 1), 1e-5)[0]).lower(x).as_text()
    halves = jax.jit(lambda x: layer.apply(params, state, x, train=True)[0]).lower(x.astype(jnp.bfloat16))
    assert "@jaxconv_moments" in halves.as_text()
    assert halves.out_info.dtype == "bfloat16"


@here
def test_shapes_that_disagree_are_refused():
    call = jax.ffi.ffi_call("jaxconv_moments", (jax.ShapeDtypeStruct((2, 3), jnp.float32),) * 3)
    with pytest.raises(jax.errors.JaxRuntimeError, match="the shapes of a native norm do not agree"):
        call(jnp.ones((2, 3)), sizes=np.array([1, 1, 2, 3, 1]))


def test_in_shard_map(way, rng, assert_close):
    """The scale's gradient is summed over devices; each has its own statistics."""
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x = jnp.asarray(rng.normal(size=(4, 3, 3, 6)), jnp.float32)
    scale = jnp.asarray(rng.normal(size=6), jnp.float32)

    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=(PartitionSpec("data"), PartitionSpec()), out_specs=PartitionSpec()
    )
    def loss(x, scale):
        z = norm_primitive.normalize(x, (0, 1, 2), 1e-3, scale)[0]
        return jax.lax.psum(jnp.sum(jnp.sin(z)), "data")

    want = jax.grad(lambda x, s: jnp.sum(jnp.sin(plain(x, (0, 1, 2), 1e-3, s, 0.0))), (0, 1))(x, scale)
    jax.tree.map(assert_close, jax.jit(jax.grad(loss, (0, 1)))(x, scale), want)


# ---------------------------------------------------------------- a net


@pytest.mark.slow
@here
def test_a_smooth_net_trains_alike_with_and_without_kernels(rng, monkeypatch):
    """The first gradient and the losses agree to five digits where no activation has a kink.

    With ReLU, rounding alone changes gradients by percents (experiments/native.md), so such nets say nothing here.
    """

    def block(c, stride):
        inner = jc.chain(jc.Conv(c, 1, bias=False), jc.BatchNorm(), jax.nn.silu, jc.Conv(c, 1), jc.GroupNorm(4))
        return jc.chain(jc.Conv(c, 3, stride=stride, bias=False), jc.BatchNorm(), jax.nn.gelu, jc.residual(inner))

    net = jc.chain(block(16, 1), block(24, 2), block(40, 2), jc.global_avg_pool, jc.LayerNorm(), jc.Dense(10))
    x, labels = rng.normal(size=(16, 16, 16, 3)).astype(np.float32), rng.integers(10, size=16)
    params, state = net.init(jax.random.key(0), x.shape)

    def loss(params, state):
        y, state = net.apply(params, state, x, train=True)
        return -jnp.mean(jax.nn.log_softmax(y)[jnp.arange(16), labels]), state

    def trained():
        step = jax.jit(jax.value_and_grad(loss, has_aux=True))
        p, s, losses, first = params, state, [], None
        for _ in range(4):
            (value, s), grad = step(p, s)
            first = grad if first is None else first
            losses.append(float(value))
            p = jax.tree.map(lambda v, g: v - 0.05 * g, p, grad)
        return np.array(losses), np.concatenate([np.ravel(v) for v in jax.tree.leaves(first)])

    losses, gradient = trained()
    with monkeypatch.context() as without:
        without.setattr(norm_primitive.native, "norm_sizes", lambda *args: None)
        jax.clear_caches()
        want_losses, want = trained()
    jax.clear_caches()
    assert want_losses[0] != want_losses[-1]
    np.testing.assert_allclose(losses, want_losses, rtol=2e-5)
    assert np.linalg.norm(gradient - want) < 2e-5 * np.linalg.norm(want)
