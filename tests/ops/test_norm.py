"""Norms against NumPy in float64, in every dtype, and for inputs on which E[x²] - E[x]² fails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc

pytestmark = pytest.mark.sampled

SCALE, BIAS = np.array([1.5, -2.0, 0.5, 3.0]), np.array([0.1, 0.2, -0.3, 4.0])


def standard(x, axes, eps=1e-5):
    x = np.asarray(x, np.float64)
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + eps)


def group(x, groups, eps=1e-5):
    parts = np.split(np.asarray(x, np.float64), groups, axis=-1)
    return np.concatenate([standard(p, tuple(range(1, x.ndim)), eps) for p in parts], -1)


def response(x, size, alpha, beta, k):
    y = np.empty(x.shape)
    for c in range(x.shape[-1]):
        near = x[..., max(0, c - size // 2) : c + (size - 1) // 2 + 1]
        y[..., c] = x[..., c] / (k + alpha * (near**2).sum(-1)) ** beta
    return y


CASES = {
    "group_norm": (lambda x: jc.group_norm(x, 2, SCALE, BIAS), lambda x: group(x, 2) * SCALE + BIAS),
    "group_norm of one": (lambda x: jc.group_norm(x, 1), lambda x: group(x, 1)),
    "layer_norm": (lambda x: jc.layer_norm(x, SCALE, BIAS), lambda x: standard(x, (-1,)) * SCALE + BIAS),
    "instance_norm": (
        lambda x: jc.instance_norm(x, SCALE, BIAS),
        lambda x: standard(x, tuple(range(1, x.ndim - 1))) * SCALE + BIAS,
    ),
    "rms_norm": (lambda x: jc.rms_norm(x, SCALE), lambda x: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * SCALE),
    "batch_norm": (
        lambda x: jc.batch_norm(x, BIAS, SCALE**2, SCALE, BIAS),
        lambda x: (x - BIAS) / np.sqrt(SCALE**2 + 1e-5) * SCALE + BIAS,
    ),
    "local_response_norm": (
        lambda x: jc.local_response_norm(x, 3, alpha=0.5, beta=0.6, k=1.5),
        lambda x: response(x, 3, 0.5, 0.6, 1.5),
    ),
    "local_response_norm even": (
        lambda x: jc.local_response_norm(x, 4, alpha=0.5),
        lambda x: response(x, 4, 0.5, 0.75, 2.0),
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shape", [(3, 5, 4), (2, 3, 5, 4), (2, 2, 3, 2, 4)])
def test_values(name, shape, rng, x64, quick_jit):
    ours, theirs = CASES[name]
    x = rng.normal(1, 2, shape)
    np.testing.assert_allclose(quick_jit(ours)(x), theirs(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_half_precision_is_normalized_in_float32(name, rng):
    ours, theirs = CASES[name]
    x = jnp.asarray(rng.normal(1, 2, (2, 3, 5, 4)), jnp.bfloat16)
    y = ours(x)
    assert y.dtype == "bfloat16"
    want = theirs(np.asarray(x, np.float64))
    assert np.abs(np.asarray(y, np.float64) - want).max() <= 2**-8 * np.abs(want).max()


@pytest.mark.parametrize("name", ["group_norm", "group_norm of one", "instance_norm", "layer_norm"])
def test_a_small_spread_on_a_large_mean(name, rng):
    ours, theirs = CASES[name]
    x = (1e4 + 1e-2 * rng.normal(size=(2, 8, 8, 4))).astype(np.float32)
    want = theirs(x)
    y, grad = jax.jit(jax.value_and_grad(lambda x: jnp.sum(ours(x) ** 2)))(x)
    assert np.isfinite(y)
    assert np.isfinite(grad).all()
    np.testing.assert_allclose(ours(x), want, atol=5e-3 * np.abs(want).max())


def test_a_constant_input_has_finite_values_and_gradients():
    @jax.jit
    def slopes(x):
        return {name: jax.grad(lambda x, ours=ours: jnp.sum(ours(x) ** 2))(x) for name, (ours, _) in CASES.items()}

    for name, grad in slopes(np.full((2, 3, 3, 4), 7.0, "float32")).items():
        assert np.isfinite(grad).all(), name


def test_a_standardized_kernel_has_zero_mean_and_the_fan_s_variance(rng):
    kernel = jc.standardize_kernel(rng.normal(3, 5, (3, 3, 8, 4)).astype(np.float32))
    np.testing.assert_allclose(np.mean(kernel, (0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(np.var(kernel, (0, 1, 2)), 1 / 72, rtol=1e-4)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_rate_and_mean(rate):
    x = jnp.full((4, 50, 50, 8), 3.0)
    y = jc.dropout(x, rate, jax.random.key(0))
    kept = np.asarray(y != 0)
    assert abs(kept.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / x.size)
    np.testing.assert_allclose(np.asarray(y)[kept], 3.0 / (1 - rate), rtol=1e-6)
    np.testing.assert_array_equal(y, jc.dropout(x, rate, jax.random.key(0)))
    assert (np.asarray(jc.dropout(x, rate, jax.random.key(1)) != 0) != kept).any()


@pytest.mark.slow
def test_spatial_dropout_and_drop_path_drop_maps_and_examples():
    x = jnp.ones((64, 3, 3, 16))
    for layer, axes in ((jc.SpatialDropout(0.5), (1, 2)), (jc.DropPath(0.5), (1, 2, 3))):
        y = np.asarray(layer.apply({}, {}, x, key=jax.random.key(0), train=True)[0])
        np.testing.assert_array_equal(y.min(axes), y.max(axes))
        assert 0.3 < (y.min(axes) > 0).mean() < 0.7
        np.testing.assert_array_equal(layer.apply({}, {}, x)[0], x)
