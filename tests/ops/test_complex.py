"""Complex inputs: variances and norms are of |x|, as in NumPy; real parts alone would square to other numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc


def standard(x, axes):
    centered = x - x.mean(axes, keepdims=True)
    return centered / ((abs(centered) ** 2).mean(axes, keepdims=True) + 1e-5) ** 0.5


def groups(x):
    return standard(x.reshape(*x.shape[:-1], 2, 2), (1, 2, 4)).reshape(x.shape)


def response(x):
    power = abs(x) ** 2
    near = [sum(power[..., j] for j in (c - 1, c, c + 1) if 0 <= j < 4) for c in range(4)]
    return x / (2 + 0.1 * (jnp if isinstance(x, jax.Array) else np).stack(near, -1)) ** 0.75


def windows(x):
    return x[:, :4].reshape(2, 2, 2, 5, 4)


OPS = {
    "layer_norm": (jc.layer_norm, lambda x: standard(x, (-1,))),
    "group_norm": (lambda x: jc.group_norm(x, 2), groups),
    "instance_norm": (jc.instance_norm, lambda x: standard(x, (1, 2))),
    "rms_norm": (jc.rms_norm, lambda x: x / ((abs(x) ** 2).mean(-1, keepdims=True) + 1e-6) ** 0.5),
    "local_response_norm": (lambda x: jc.local_response_norm(x, 3, alpha=0.1), response),
    "standardize_kernel": (jc.standardize_kernel, lambda x: standard(x, (0, 1, 2)) / 50**0.5),
    "batch_norm": (lambda x: jc.BatchNorm(scale=False, bias=False).apply({}, MOMENTS, x, train=True)[0],
                   lambda x: standard(x, (0, 1, 2))),
    "l2_pool": (lambda x: jc.l2_pool(x[:, :4], (2, 1)), lambda x: (abs(windows(x)) ** 2).sum(2) ** 0.5),
    "l3_pool": (lambda x: jc.lp_pool(x[:, :4], (2, 1), p=3), lambda x: (abs(windows(x)) ** 3).sum(2) ** (1 / 3)),
    "largest": (lambda x: jc.lp_pool(x[:, :4], (2, 1), p=jnp.inf), lambda x: abs(windows(x)).max(2)),
}  # fmt: skip
MOMENTS = {"mean": jnp.zeros(4, jnp.complex64), "var": jnp.ones(4)}


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("promotion", [pytest.param("standard", marks=pytest.mark.slow), "strict"])
def test_values_and_derivatives(name, promotion, rng):
    """Values against NumPy in complex128; derivatives against JAX's of the same formula."""
    ours, formula = OPS[name]
    x, v = (rng.normal(size=(2, 5, 5, 4)) + 1j * rng.normal(size=(2, 5, 5, 4)) for _ in range(2))
    primal, tangent = jnp.asarray(x, jnp.complex64), jnp.asarray(v, jnp.complex64)
    with jax.numpy_dtype_promotion(promotion):
        y, moved = jax.jvp(ours, (primal,), (tangent,))
    right = formula(x)
    assert jnp.iscomplexobj(y) == np.iscomplexobj(right)
    np.testing.assert_allclose(y, right, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved, jax.jvp(formula, (primal,), (tangent,))[1], rtol=1e-3, atol=1e-4)


def test_running_variance_is_real(rng):
    x = jnp.asarray(rng.normal(size=(8, 4)) * (1 + 2j), jnp.complex64) + 1j
    layer = jc.BatchNorm(momentum=0.0)
    params, state = layer.init(jax.random.key(0), x)
    assert (state["mean"].dtype, state["var"].dtype) == (jnp.complex64, jnp.float32)
    y, new = layer.apply(params, state, x, train=True)
    np.testing.assert_allclose(new["mean"], np.mean(x, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(new["var"], np.var(x, 0), rtol=1e-5)
    np.testing.assert_allclose(layer.apply(params, new, x)[0], y, rtol=1e-4, atol=1e-5)
