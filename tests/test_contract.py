"""What every op, layer and combinator promises, over the one table of them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import quick
from support.table import NOT_LAYERS, TABLE, Entry

import jaxconv as jc

pytestmark = pytest.mark.sampled

KEY = jax.random.key(3)
FAST = quick.first_known(quick.QUICK | quick.OLDER, quick.QUICK)  # jit without options is among the tests, too
EPS = 1e-5  # of central differences in float64


def rows():
    """The first of each name is quick; further ones, and ops that a layer of the same name runs, are slow."""
    layers = {name.lower() for entry in TABLE for name in entry.names.split() if name[0].isupper()}
    seen = set()
    for i, entry in enumerate(TABLE):
        slow = entry.names in seen or entry.names.replace("_", "") in layers
        seen.add(entry.names)
        yield pytest.param(entry, id=f"{entry.names}-{i}", marks=[pytest.mark.slow] if slow else [])


everything = pytest.mark.parametrize("entry", list(rows()))


def made(entry: Entry, dtype="float32", seed=0):
    """The layer, its params and state, and an input."""
    x = jax.random.normal(jax.random.key(seed), entry.shape).astype(dtype)
    net = entry.layer
    return net, *net.init(jax.random.key(seed + 1), x), x


def run(net, params, state, x, train):
    return net.apply(params, state, x, key=KEY, train=train)


def forms(entry):
    """train=True, and False too where that is another function."""
    return (True, False) if entry.training_differs else (True,)


def spec(tree):
    return jax.tree.map(lambda v: (v.shape, str(v.dtype)), tree)


def close(a, b, tolerance=2e-6):
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=tolerance, atol=tolerance), a, b)


def test_the_table_names_everything_public():
    listed = {name for entry in TABLE for name in entry.names.split()}
    assert listed | NOT_LAYERS == {*jc.ops.__all__, *jc.layers.__all__, "compose"}


@everything
def test_init_looks_at_the_shape_only(entry):
    net, params, state, x = made(entry)
    for like in (x.shape, jax.ShapeDtypeStruct(x.shape, x.dtype)):
        again = net.init(jax.random.key(1), like)
        jax.tree.map(np.testing.assert_array_equal, again, (params, state))


@everything
def test_promised_shape_is_the_actual_and_eager_is_jit_is_scan_is_vmap(entry):
    net, params, state, x = made(entry)
    for train in forms(entry):

        def f(params, state, x, train=train):
            return run(net, params, state, x, train)

        eager = f(params, state, x)
        assert spec(jax.eval_shape(f, params, state, x)) == spec(eager)
        assert spec(eager[1]) == spec(state)
        close(jax.jit(f)(params, state, x), eager)
        loop = jax.jit(
            lambda x, f=f: jax.lax.scan(lambda c, v: (c, f(params, state, v)), 0, x[None]), compiler_options=FAST
        )
        _, scanned = jax.device_get(loop(x))
        close(jax.tree.map(lambda v: v[0], scanned), eager)
    if entry.examples_alone:  # in the last form
        alone = jax.jit(jax.vmap(lambda v: net.apply(params, state, v[None])[0][0]), compiler_options=FAST)(x)
        close(alone, eager[0])


@everything
def test_an_ensemble_is_its_members(entry):
    net, _, _, x = made(entry)
    keys = jax.random.split(jax.random.key(5), 2)
    init = jax.jit(lambda key: net.init(key, x), compiler_options=FAST)
    step = jax.jit(lambda params, state: run(net, params, state, x, True), compiler_options=FAST)
    born = jax.vmap(init)(keys)
    both = jax.device_get((born, jax.vmap(step, axis_size=2)(*born)))
    for i, key in enumerate(keys):
        lone = init(key)
        close(jax.tree.map(lambda v, i=i: v[i], both), (lone, step(*lone)), 5e-6)


@everything
def test_dtype_is_kept(entry, x64):
    net, params, state, x = made(entry)

    @partial(jax.jit, compiler_options=FAST)
    def in_every_dtype(params, state, x):
        def of(dtype):
            cast = jax.tree.map(lambda v: v.astype(dtype), (params, x))
            return run(net, cast[0], state, cast[1], True)

        return {dtype: of(dtype) for dtype in ("float64", "float32", "bfloat16")}

    results = {}
    for dtype, (y, new) in in_every_dtype(params, state, x).items():
        assert y.dtype == dtype
        assert all(v.dtype in ("float32", "float64") for v in jax.tree.leaves(new))
        results[dtype] = np.asarray(y, np.float64)
    want = results["float64"]
    for dtype, tolerance in (("float32", 1e-5), ("bfloat16", 3e-2)):
        assert np.abs(results[dtype] - want).max() <= tolerance * np.abs(want).max(), dtype


@everything
def test_derivatives_of_both_orders_and_modes(entry, x64):
    """jvp, vjp and hessian-vector product in float64 against central differences, plain and under remat."""
    if entry.names == "cast":
        pytest.skip("computes in float32 whatever it is given; tests/layers/test_wrap.py has its gradient")
    if entry.names == "spectral_norm":
        pytest.skip("takes its vectors as constants, as torch does; tests/layers/test_kernel_norms.py has its gradient")
    net, params, state, x = made(entry, "float64")
    point = jax.tree.map(lambda v: np.asarray(v, np.float64), (params, x))
    along = jax.tree.map(lambda v: np.random.default_rng(v.size).normal(size=v.shape), point)
    for train in forms(entry):

        def f(point, train=train):
            return run(net, point[0], state, point[1], train)[0]

        def value(point, f=f):
            return jnp.sum(jnp.sin(f(point) + 0.5))

        @partial(jax.jit, compiler_options=FAST)
        def probe(point, f=f, value=value):
            slope = jax.grad(value)
            remat = jax.grad(lambda p: jnp.sum(jnp.sin(jax.checkpoint(f)(p) + 0.5)))(point)
            return jax.jvp(f, (point,), (along,)), slope(point), remat, jax.jvp(slope, (point,), (along,))[1]

        steps = (jax.tree.map(lambda v, t, e=e: v + e * t, point, along) for e in (EPS, -EPS, 0))
        high, low, ((y, jvp), slope, remat, hvp) = (jax.device_get(probe(step)) for step in steps)
        close(jvp, (high[0][0] - low[0][0]) / (2 * EPS), 1e-6)
        for got, a, b in zip(*map(jax.tree.leaves, (hvp, high[1], low[1])), strict=True):
            want = (a - b) / (2 * EPS)
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6 * max(1.0, np.abs(want).max(initial=0)))
        dot = sum(jax.tree.leaves(jax.tree.map(np.vdot, slope, along)))
        np.testing.assert_allclose(dot, np.vdot(np.cos(y + 0.5), jvp), rtol=1e-9)
        close(remat, slope, 1e-12)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(hvp))


@everything
def test_an_empty_batch_gives_an_empty_result_and_leaves_the_state(entry):
    net, params, state, x = made(entry)
    for train in forms(entry):
        f = jax.jit(lambda x, train=train: run(net, params, state, x, train), compiler_options=FAST)
        y, new = f(x[:0])
        assert y.shape == (0, *jax.eval_shape(f, x)[0].shape[1:])
        jax.tree.map(np.testing.assert_array_equal, new, state)


@pytest.mark.parametrize("entry", [e for e in TABLE if e.stateful], ids=lambda e: e.names)
def test_donated_state(entry):
    net, params, state, x = made(entry)
    want = jax.jit(lambda s: run(net, params, s, x, True))(state)
    step = jax.jit(lambda s: run(net, params, s, x, True), donate_argnums=0)
    close(step(jax.tree.map(jnp.copy, state)), want)
