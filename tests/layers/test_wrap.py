"""repeat, remat, cast: the same function, run otherwise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc

pytestmark = pytest.mark.sampled

X = jax.random.normal(jax.random.key(9), (2, 6, 6, 4))
KEY = jax.random.key(4)
QUICK = {"xla_backend_optimization_level": 0}


def quick(f):
    """f() in one program, compiled with little optimization."""
    return jax.jit(f, compiler_options=QUICK)()


def body():
    return jc.residual(jc.chain(jc.Conv(4, 3, padding="same"), jc.BatchNorm(), jnp.tanh, jc.Dropout(0.2)))


@pytest.mark.slow
def test_repeat_is_the_copies_in_a_row():
    net = jc.repeat(body(), 3)
    params, state = net.init(jax.random.key(0), X)
    y, new = quick(lambda: net.apply(params, state, X, key=KEY, train=True))
    h, one = X, body()
    step = jax.jit(lambda own, h, key: one.apply(*own, h, key=key, train=True), compiler_options=QUICK)
    for i in range(3):
        own = jax.tree.map(lambda v, i=i: v[i], (params, state))
        fresh = body().init(jax.random.fold_in(jax.random.key(0), i), X)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), own, fresh)
        h, moved = step(own, h, jax.random.fold_in(KEY, i))
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-5), new, moved)
    np.testing.assert_allclose(y, h, atol=1e-5)


@pytest.mark.slow
def test_repeat_is_traced_as_often_for_100_copies_as_for_2():
    def traces(n):
        count = []

        def leaf(x):
            count.append(1)
            return jnp.sin(x)

        net = jc.repeat(jc.chain(jc.Dense(3), leaf), n)
        params, state = net.init(jax.random.key(0), (1, 3))
        count.clear()
        compiled = jax.jit(lambda p, x: net.apply(p, state, x)[0]).lower(params, jnp.ones((1, 3)))
        return len(count), len(compiled.as_text().splitlines())

    (few, short), (many, long) = traces(2), traces(100)
    assert few == many
    assert short == long


@pytest.mark.slow
def test_remat_keeps_less_and_computes_the_same():
    plain, net = body(), jc.remat(body())
    params, state = plain.init(jax.random.key(0), X)
    jax.tree.map(np.testing.assert_array_equal, net.init(jax.random.key(0), X), (params, state))

    def loss(layer):
        return lambda p: jnp.sum(layer.apply(p, state, X, key=KEY, train=True)[0] ** 2)

    a, b = (quick(lambda layer=layer: jax.grad(loss(layer))(params)) for layer in (plain, net))
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-4, atol=1e-5), a, b)

    def kept(layer):
        pull = jax.eval_shape(lambda p: jax.vjp(loss(layer), p)[1], params)
        return sum(leaf.size for leaf in jax.tree.leaves(pull))

    assert kept(net) < kept(plain)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_cast_computes_in_the_type_and_keeps_float32(dtype):
    seen = []

    def spy(x):
        seen.append(str(x.dtype))
        return x

    net = jc.cast(jc.chain(jc.Conv(4, 3), spy, jc.BatchNorm(), spy), dtype)
    params, state = net.init(jax.random.key(0), jax.ShapeDtypeStruct(X.shape, dtype))
    assert {v.dtype.name for v in jax.tree.leaves((params, state))} == {"float32"}
    seen.clear()
    y, new = net.apply(params, state, X, train=True)
    assert seen == [dtype, dtype]
    assert y.dtype == "float32"
    assert {v.dtype.name for v in jax.tree.leaves(new)} == {"float32"}
    whole, _ = jc.chain(jc.Conv(4, 3), spy, jc.BatchNorm(), spy).apply(params, state, X, train=True)
    np.testing.assert_allclose(y, whole, atol=0.1)
    grads = jax.grad(lambda p: jnp.sum(net.apply(p, state, X, train=True)[0] ** 2))(params)
    assert {v.dtype.name for v in jax.tree.leaves(grads)} == {"float32"}
    assert net.apply(params, state, X.astype(dtype))[0].dtype == dtype


@pytest.mark.slow
def test_cast_takes_raw_pixels():
    net = jc.cast(jc.Conv(2, 3), jnp.bfloat16)
    x = jnp.arange(50, dtype=jnp.uint8).reshape(1, 5, 5, 2)
    params, state = net.init(jax.random.key(0), x)
    assert params["kernel"].dtype == "float32"
    assert net.apply(params, state, x)[0].dtype == "float32"


def test_wrappers_nest_and_change_no_tree():
    want = jax.tree.structure(body().init(jax.random.key(0), X))
    for wrapped in (jc.remat(body()), jc.cast(body(), jnp.bfloat16), jc.repeat(jc.remat(body()), 2)):
        assert jax.tree.structure(wrapped.init(jax.random.key(0), X)) == want
        assert list(wrapped.parts) == ["body"]


@pytest.mark.slow
def test_stateless_has_two_functions_and_refuses_state():
    init, apply = jc.stateless(jc.chain(jc.Conv(2, 3), jax.nn.relu, jc.Dropout(0.5), jc.flatten, jc.Dense(10)))
    params = init(jax.random.key(0), (1, 6, 6, 1))
    x = jnp.ones((2, 6, 6, 1))
    assert apply(params, x).shape == (2, 10)
    assert apply(params, x, key=jax.random.key(1), train=True).shape == (2, 10)
    with pytest.raises(jc.ShapeError) as caught:
        jc.stateless(jc.chain(bn=jc.BatchNorm())).init(jax.random.key(0), (1, 4, 4, 2))
    assert str(caught.value) == (
        "stateless needs a net without state\n  got: state bn/mean, bn/var\n  fix: params, state = net.init(key, x)"
    )
