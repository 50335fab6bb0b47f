"""The miniature of a program: which of its arrays are the same function of its arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv._accelerate.miniature import Miniature, Variance
from jaxconv._base.jaxpr import inlined


def miniature(f, *shapes):
    jaxpr = inlined(jax.make_jaxpr(f)(*(jnp.zeros(shape) for shape in shapes)).jaxpr)
    return Miniature((*jaxpr.constvars, *jaxpr.invars), jaxpr.eqns), jaxpr


@pytest.mark.parametrize(
    "identity",
    [
        lambda x, y: ((x + y) ** 2, x * x + 2 * x * y + y * y),
        lambda x, y: ((x - x.mean(1, keepdims=True)).sum(1) + 1 + x.sum(1), x.sum(1) + 1.0),
        lambda x, y: (x.mean(), x.mean(0).sum() / 9),
        lambda x, y: ((x * y.mean(0)).sum(0), x.sum(0) * y.sum(0) / 7),
        lambda x, y: (x.var(1), (x * x).mean(1) - x.mean(1) ** 2),
        lambda x, y: ((x * y).T.sum(0), jnp.square(y + x).sum(1) / 2 - (x * x).sum(1) / 2 - (y**2).sum(1) / 2),
        lambda x, y: (jax.jit(lambda v: v / y)(x), x * y**-1),
    ],
)
def test_equal_functions_are_found(identity):
    mini, jaxpr = miniature(identity, (7, 9), (7, 9))
    a, b = jaxpr.outvars
    assert b in mini.equal(mini.small[a], a.aval.shape)
    arrays = np.random.default_rng(0).normal(size=(2, 7, 9)) + 3
    np.testing.assert_allclose(*identity(*arrays), rtol=1e-4)


@pytest.mark.parametrize(
    "pair",
    [
        lambda x, y: (x + y, x + y + 1e-6),
        lambda x, y: (x.mean(0), x.mean(0) * (7 / 8)),
        lambda x, y: (((x - x.mean(1, keepdims=True)) ** 4).mean(1), x.var(1) ** 2 * 1.5),
        lambda x, y: (abs(x), x),
        lambda x, y: (jnp.maximum(x, -1e9), x),
        lambda x, y: (jnp.where(x < 1e9, x, 0.0), x + 0.0),
        lambda x, y: (x.astype(jnp.float8_e5m2).astype(x.dtype), x),
        lambda x, y: (jnp.floor(x), x),
        lambda x, y: (x.reshape(9, 7).T + 0.0, x + 0.0),
        lambda x, y: (x[::-1] + 0.0, x + 0.0),
    ],
)
def test_others_are_not(pair):
    mini, jaxpr = miniature(pair, (7, 9), (7, 9))
    a, b = jaxpr.outvars
    assert b not in mini.equal(mini.small[a], a.aval.shape)


def test_roots_of_variances():
    def f(x):
        v = jnp.maximum((x * x).mean((0, 2)) - x.mean((0, 2)) ** 2, 0.0)
        return 1 / jnp.sqrt(v + 0.5), x.var(2) ** -0.5, jax.lax.rsqrt((x * x).mean(1))

    mini, jaxpr = miniature(f, (6, 8, 7))
    (x,) = jaxpr.invars
    assert [found for _, found in mini.roots] == [Variance(x, (0, 2), 0.5), Variance(x, (2,), 0.0), None]
