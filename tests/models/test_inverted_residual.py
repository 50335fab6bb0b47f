"""The blocks that the MobileNets and EfficientNet share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.models._inverted_residual import eighths, inverted_residual


def test_eighths_is_the_nearest_multiple_that_loses_no_more_than_a_tenth(rng):
    for channels in [*rng.uniform(0.5, 2000, 400), *range(1, 200)]:
        multiples = [m for m in range(8, 2200, 8) if m >= 0.9 * channels]
        nearest = min(multiples, key=lambda m: (abs(m - channels), -m))
        assert eighths(channels) == nearest, channels


@pytest.mark.parametrize("adds", [True, False])
def test_a_dropped_block_leaves_the_example_as_it_came(adds, rng):
    """Stochastic depth: in training an example goes past its block, or through it 1 / (1 - rate) times."""
    net = inverted_residual(jc.Conv(4, 1), adds=adds, drop=jc.DropPath(0.25))
    params, state = net.init(jax.random.key(0), (1, 3, 3, 4))
    x = rng.normal(size=(64, 3, 3, 4)).astype(np.float32)
    through = np.asarray(jc.conv(x, params["block"]["kernel"], params["block"]["bias"]))
    y = np.asarray(net.apply(params, state, x, key=jax.random.key(1), train=True)[0])
    still, _ = net.apply(params, state, x)
    if not adds:
        np.testing.assert_allclose(y, through, rtol=1e-5, atol=1e-6)
        return
    np.testing.assert_allclose(still, x + through, rtol=1e-5, atol=1e-6)
    past = np.abs(y - x).max((1, 2, 3)) == 0
    assert 5 <= past.sum() <= 28  # of 64 at a rate of 1/4: further off once in 10⁵ draws
    np.testing.assert_allclose(y[~past], (x + through / 0.75)[~past], rtol=1e-5, atol=1e-5)


def test_a_body_of_other_maps_cannot_be_added():
    net = inverted_residual(jc.Conv(4, 1), adds=True)
    with pytest.raises(TypeError, match="incompatible shapes"):
        net.init(jax.random.key(0), (1, 3, 3, 5))
    assert jnp.shape(net.init(jax.random.key(0), (1, 3, 3, 4))[0]["block"]["kernel"]) == (1, 1, 4, 4)
