"""Batch statistics computed anew: those of the images, in inference, whatever the momentum or the grouping."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv._base.errors import ConfigError
from jaxconv.training import recompute_statistics


@pytest.mark.parametrize("norm", [jc.BatchNorm(), jc.BatchNorm(momentum=0.0), jc.BatchNorm(momentum=0.99, group=5)])
def test_statistics_are_those_of_all_inputs(norm, rng):
    net = jc.chain(conv=jc.Conv(3, 3), drop=jc.Dropout(0.5), norm=norm, head=jc.chain(jc.flatten, jc.Dense(2)))
    params, state = net.init(jax.random.key(0), (1, 6, 6, 2))
    x = rng.normal(2, 3, [40, 6, 6, 2]).astype("float32")
    new = recompute_statistics(net, params, state, np.split(x, 4), prepare=lambda images: images / 2)
    kernel = np.asarray(params["conv"]["kernel"], np.float64)
    y = sum(x[:, i : i + 4, j : j + 4] / 2 @ kernel[i, j] for i in range(3) for j in range(3))
    np.testing.assert_allclose(new["norm"]["mean"], y.mean((0, 1, 2)), rtol=1e-5, atol=1e-5)
    variance = y.var((0, 1, 2))
    if "group" not in (norm.call or ""):  # in groups, the spread of their means within a batch is left out
        np.testing.assert_allclose(new["norm"]["var"], variance, rtol=1e-5)
    else:
        assert (np.abs(np.asarray(new["norm"]["var"]) / variance - 1) < 0.1).all()
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert new["norm"]["mean"].dtype == state["norm"]["mean"].dtype


def test_deeper_norms_see_inputs_normalized_by_the_batch(rng):
    net = jc.chain(a=jc.BatchNorm(), double=lambda x: 2 * x + 1, b=jc.BatchNorm())
    params, state = net.init(jax.random.key(0), (1, 2))
    new = recompute_statistics(net, params, state, [rng.normal(50, 9, [64, 2]).astype("float32") for _ in range(3)])
    np.testing.assert_allclose(new["b"]["mean"], [1, 1], atol=1e-4)
    np.testing.assert_allclose(new["b"]["var"], [4, 4], rtol=1e-4)


def test_a_net_without_statistics_needs_no_images():
    net = jc.Dense(2)
    params, state = net.init(jax.random.key(0), (1, 2))
    assert recompute_statistics(net, params, state, iter(())) is state
    norm = jc.BatchNorm()
    params, state = norm.init(jax.random.key(0), (1, 2))
    with pytest.raises(ConfigError, match="needs at least one batch of images, got none"):
        recompute_statistics(norm, params, state, [])
    assert jnp.all(state["var"] == 1)
