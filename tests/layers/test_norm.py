"""BatchNorm against NumPy in float64, and where others give NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc

pytestmark = pytest.mark.sampled


def oracle(x, eps=1e-5):
    x = np.asarray(x, np.float64)
    axes = tuple(range(x.ndim - 1))
    mean = x.sum(axes) / np.prod(x.shape[:-1])
    var = ((x - mean) ** 2).sum(axes) / np.prod(x.shape[:-1])
    return (x - mean) / np.sqrt(var + eps), mean, var


@pytest.mark.parametrize("shape", [(5, 3), (4, 6, 2), (3, 5, 4, 6), (2, 3, 4, 2, 3)])
def test_training_normalizes_by_the_batch_and_moves_the_running_statistics(shape, rng):
    x = rng.normal(2, 3, shape).astype(np.float32)
    layer = jc.BatchNorm(momentum=0.7)
    params, state = layer.init(jax.random.key(0), shape)
    y, new = jax.jit(lambda x: layer.apply(params, state, x, train=True))(x)
    want, mean, var = oracle(x)
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(new["mean"], 0.3 * mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(new["var"], 0.7 + 0.3 * var, rtol=1e-5)
    y, same = layer.apply(params, new, x)
    np.testing.assert_allclose(y, (x - new["mean"]) / np.sqrt(new["var"] + 1e-5), rtol=1e-5, atol=1e-5)
    assert same is new


def test_a_small_spread_on_a_large_mean_comes_out_right(rng):
    x = (1e4 + 1e-2 * rng.normal(size=(64, 8, 8, 3))).astype(np.float32)
    layer = jc.BatchNorm(eps=1e-8)
    params, state = layer.init(jax.random.key(0), x.shape)
    y, new = jax.jit(lambda x: layer.apply(params, state, x, train=True))(x)
    want, _, var = oracle(x, 1e-8)
    np.testing.assert_allclose(y, want, atol=2e-3)
    np.testing.assert_allclose(new["var"], 0.9 + 0.1 * var, rtol=1e-6)


def test_the_gradient_is_that_of_the_definition_in_float64(rng, x64):
    x, g = (jnp.asarray(rng.normal(size=(4, 3, 3, 2))) for _ in range(2))
    layer = jc.BatchNorm(scale=False, bias=False)
    state = layer.init(jax.random.key(0), x)[1]

    def plain(x):
        d = x - x.mean((0, 1, 2))
        return jnp.vdot(g, d / jnp.sqrt((d * d).mean((0, 1, 2)) + 1e-5))

    got = jax.jit(jax.grad(lambda x: jnp.vdot(g, layer.apply({}, state, x, train=True)[0])))(x)
    np.testing.assert_allclose(got, jax.jit(jax.grad(plain))(x), rtol=1e-9, atol=1e-12)


def test_groups_of_examples_are_batches_of_their_own(rng):
    """Ghost batch norm: the output of each group alone; running statistics move to the groups' mean."""
    x = rng.normal(size=(6, 4, 4, 3)).astype(np.float32)
    layer = jc.BatchNorm(group=2)
    params, state = layer.init(jax.random.key(0), x.shape)
    y, new = jax.jit(lambda x: layer.apply(params, state, x, train=True))(x)
    alone = [oracle(part) for part in np.split(x, 3)]
    np.testing.assert_allclose(y, np.concatenate([want for want, _, _ in alone]), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(new["mean"], 0.1 * np.mean([mean for _, mean, _ in alone], 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(new["var"], 0.9 + 0.1 * np.mean([var for _, _, var in alone], 0), rtol=1e-5)
    with pytest.raises(jc.ShapeError) as raised:
        layer.apply(params, state, x[:5], train=True)
    assert str(raised.value) == "batch_norm's group must divide the batch of 5 examples\n  got: group=2"


@pytest.mark.slow
def test_axis_name_takes_the_statistics_over_all_shards(rng):
    x = rng.normal(size=(6, 4, 4, 3)).astype(np.float32)
    layer = jc.BatchNorm(axis_name="shards")
    params, state = layer.init(jax.random.key(0), x.shape)
    apart = jax.jit(jax.vmap(lambda x: layer.apply(params, state, x, train=True), axis_name="shards"))
    y, new = apart(x.reshape(2, 3, 4, 4, 3))
    whole, want = jc.BatchNorm().apply(params, state, x, train=True)
    np.testing.assert_allclose(y.reshape(x.shape), whole, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-5, atol=1e-7), new, want)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jc.BatchNorm(momentum=1.0),
         "momentum, the decay of the running statistics, must be in [0, 1)\n  got: momentum=1.0"),
        (lambda: jc.BatchNorm().init(jax.random.key(0), (3,)), "batch_norm needs [N, ..., C]\n  got: (3,)"),
        (lambda: jc.batch_norm(jnp.ones((2, 3)), jnp.ones(2), jnp.ones(3)),
         "mean must have one value for each of the 3 channels\n  got: (2,)"),
    ],
)  # fmt: skip
def test_messages(call, message):
    with pytest.raises(jc.ShapeError) as caught:
        call()
    assert str(caught.value) == message
