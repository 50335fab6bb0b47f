"""Stochastic pooling: the distribution of what is drawn, and its expectation, by loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc


def windows(x, k, s):
    """Values [N, out, out, k*k, C] of each window."""
    n = (x.shape[1] - k) // s + 1
    rows = [[x[:, i * s : i * s + k, j * s : j * s + k] for j in range(n)] for i in range(n)]
    return np.stack([np.stack([w.reshape(len(x), k * k, -1) for w in row], 1) for row in rows], 1)


@pytest.mark.parametrize(("k", "s"), [(2, 2), (3, 2)])
def test_the_expectation(k, s, rng, assert_close):
    x = np.maximum(rng.normal(size=(2, 7, 7, 3)), 0).astype(np.float32)
    cells = windows(x, k, s)
    total = cells.sum(3)
    want = np.where(total > 0, (cells**2).sum(3) / np.where(total > 0, total, 1), 0)
    assert_close(jc.stochastic_pool(x, k, stride=s), want)


@pytest.mark.slow
def test_what_is_drawn(rng):
    """Each cell as often as its value says; the slope goes to the cell that was drawn."""
    x = np.maximum(rng.normal(size=(1, 4, 4, 2)), 0).astype(np.float32)
    x[0, :2, :2, 0] = 0
    x = np.repeat(x, 20_000, 0)
    y, pull = jax.vjp(lambda x: jc.stochastic_pool(x, 2, jax.random.key(0)), jnp.asarray(x))
    cells, y = windows(x, 2, 2), np.asarray(y)
    assert (y[:, 0, 0, 0] == 0).all()
    for at in np.ndindex(2, 2, 2):
        values = cells[0, at[0], at[1], :, at[2]]
        drawn = y[:, at[0], at[1], at[2]]
        assert set(np.unique(drawn)) <= {*values.tolist(), 0.0}
        for value in values[values > 0]:
            chance = value / values.sum()
            deviation = np.sqrt(chance * (1 - chance) / len(drawn))
            assert abs((drawn == value).mean() - chance) <= 5 * deviation
    slope = windows(np.asarray(pull(jnp.ones_like(y))[0]), 2, 2)
    np.testing.assert_array_equal((slope * cells).sum(3), y)


@pytest.mark.slow
def test_zeros_and_negative_cells_are_never_drawn(rng):
    x = -np.abs(rng.normal(size=(3, 4, 4, 2))).astype(np.float32)
    assert not np.asarray(jc.stochastic_pool(x, 2, jax.random.key(1))).any()
    assert not np.asarray(jc.stochastic_pool(x, 2)).any()
    x[:, 0, 0] = 2.5
    y = np.asarray(jc.stochastic_pool(x, 3, jax.random.key(1), stride=1, padding=1))
    assert (y[:, :2, :2] == 2.5).all()


def test_padding_is_never_drawn(rng):
    x = np.abs(rng.normal(size=(2, 5, 5, 2))).astype(np.float32) + 0.1
    y = np.asarray(jc.stochastic_pool(x, 3, jax.random.key(2), padding=1))
    assert (y > 0).all()
