"""Magnitude pruning: masks against sorting in NumPy, exact zeros over many steps, the schedule, and messages."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv.training import optim

pytestmark = pytest.mark.sampled

SHAPES = {"a": {"kernel": (3, 3, 2, 4), "bias": (4,)}, "b": {"kernel": (7, 5)}, "c": {"kernel": (1, 1, 5, 3)}}


def random_params(rng):
    def is_shape(x):
        return isinstance(x, tuple)

    return jax.tree.map(lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32), SHAPES, is_leaf=is_shape)


def kernels(tree):
    return [np.asarray(tree[name]["kernel"]) for name in "abc"]


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.29, 0.5, 0.9, 1.0])
def test_the_smallest_of_all_weights_are_pruned(sparsity, rng):
    params = random_params(rng)
    masks = jax.jit(optim.magnitude_masks)(params, sparsity)
    assert masks["a"]["bias"].all()
    flat, kept = (np.concatenate([k.ravel() for k in kernels(tree)]) for tree in (params, masks))
    assert (~kept).sum() == int(np.floor(sparsity * len(flat) + 1e-4))
    assert np.abs(flat[~kept]).max(initial=0) <= np.abs(flat[kept]).min(initial=np.inf)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 1.0])
def test_each_layer_by_itself(sparsity, rng):
    params = random_params(rng)
    masks = optim.magnitude_masks(params, sparsity, scope="layer")
    for weights, kept in zip(kernels(params), kernels(masks), strict=True):
        assert (~kept).sum() == int(np.floor(sparsity * weights.size + 1e-4))
        assert np.abs(weights[~kept]).max(initial=0) <= np.abs(weights[kept]).min(initial=np.inf)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_whole_output_channels(scope, rng):
    params = random_params(rng)
    masks = optim.magnitude_masks(params, 0.5, scope=scope, structured=True)
    pairs = []
    for weights, kept in zip(kernels(params), kernels(masks), strict=True):
        own = kept.reshape(-1, kept.shape[-1])
        assert (own == own[0]).all()
        scores = np.sqrt((weights.reshape(own.shape) ** 2).mean(0))
        pairs.append([(score, keep, len(own)) for score, keep in zip(scores, own[0], strict=True)])
    for group in pairs if scope == "layer" else [[each for pair in pairs for each in pair]]:
        pruned = [score for score, keep, _ in group if not keep]
        assert max(pruned, default=0) <= min(score for score, keep, _ in group if keep)
        share = sum(count for _, keep, count in group if not keep) / sum(count for *_, count in group)
        most = max(count for *_, count in group) / sum(count for *_, count in group)
        assert 0.5 - most < share <= 0.5


def test_equal_weights_are_pruned_in_their_number():
    masks = optim.magnitude_masks({"kernel": jnp.ones(10)}, 0.3)
    assert int(masks["kernel"].sum()) == 7


@pytest.mark.parametrize(
    "make", [lambda tx: optim.pruned(tx, 0.5), lambda tx: optim.hold_pruned(tx, {"kernel": jnp.ones(4, bool)})]
)
def test_updates_without_parameters_are_refused(make):
    params = {"kernel": jnp.ones(4)}
    tx = make(optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"pruning needs the parameters: tx\.update\(updates, state, params\)"):
        tx.update(params, tx.init(params))


def test_patterns_of_parameters(rng):
    masks = optim.magnitude_masks(random_params(rng), 1.0, patterns=["b", "a/bias"])
    counts = jax.tree.map(lambda mask: int(mask.sum()), masks)
    assert counts == {"a": {"kernel": 72, "bias": 0}, "b": {"kernel": 0}, "c": {"kernel": 15}}
    with pytest.raises(ShapeError, match="a pattern must match at least one parameter"):
        optim.magnitude_masks(random_params(rng), 0.5, patterns=["d"])


def test_the_schedule_is_zhu_and_guptas():
    schedule = optim.cubic_sparsity(0.9, begin=10, end=50, initial=0.2)
    for step in (0, 10, 11, 30, 49, 50, 1000):
        t = min(max(step, 10), 50)
        assert float(schedule(step)) == pytest.approx(0.9 + (0.2 - 0.9) * (1 - (t - 10) / 40) ** 3, abs=1e-6)


@pytest.mark.parametrize("make", [lambda: optax.sgd(0.1, momentum=0.9), lambda: optax.adamw(0.1)])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_pruned_weights_are_zero_and_stay_it(make, scope, rng):
    params = random_params(rng)
    target = random_params(rng)
    tx = optim.pruned(make(), optim.cubic_sparsity(0.8, 4, 40), every=4, scope=scope)

    def loss(params):
        return sum(jnp.sum((a - b) ** 2) for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(target), strict=True))

    @jax.jit
    def step(params, state):
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    state, zeros, shares = tx.init(params), None, []
    for _ in range(60):
        params, state = step(params, state)
        flat = np.concatenate([k.ravel() for k in kernels(params)])
        now = flat == 0
        assert zeros is None or (now | ~zeros).all()
        zeros = now
        shares.append(now.mean())
    assert shares[3] == 0
    assert shares[-1] == pytest.approx(0.8, abs=0.02)
    assert np.diff(shares).min() >= 0
    assert not (np.asarray(params["a"]["bias"]) == 0).any()
    masks = np.concatenate([k.ravel() for k in kernels(state.masks)])
    np.testing.assert_array_equal(~masks, zeros)


def test_fixed_masks_and_what_the_optimizer_sees(rng):
    """Moments of pruned weights stay zero; all others move as without a mask."""
    params = random_params(rng)
    masks = optim.magnitude_masks(params, 0.5)
    grads = random_params(rng)
    tx, plain = optim.hold_pruned(optax.adam(0.1), masks), optax.adam(0.1)
    updates, state = tx.update(grads, tx.init(params), params)
    want, _ = plain.update(grads, plain.init(params), params)
    new = optax.apply_updates(params, updates)
    for got, move, own, keep in zip(*map(kernels, (new, want, params, masks)), strict=True):
        np.testing.assert_allclose(got, np.where(keep, own + move, 0), rtol=1e-6, atol=1e-7)
    for moment, keep in zip(kernels(state[0].mu), kernels(masks), strict=True):
        assert not moment[~keep].any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optim.magnitude_masks({"kernel": jnp.ones(2)}, 1.5), "sparsity must be a share from 0 to 1, got 1.5"),
        (lambda: optim.magnitude_masks({"kernel": jnp.ones(2)}, 0.5, scope="layers"),
         "scope: must be one of global, layer; got 'layers'; did you mean 'layer'?"),
        (lambda: optim.magnitude_masks({"kernel": jnp.ones(2)}, 0.5, patterns=[]),
         "pruning needs patterns of the parameters to prune, got none"),
        (lambda: optim.cubic_sparsity(2.0, 0, 3), "sparsity must be a share from 0 to 1, got 0.0 to 2.0"),
        (lambda: optim.cubic_sparsity(0.5, 3, 3), "sparsity must increase between two steps, got begin=3, end=3"),
        (lambda: optim.pruned(optax.sgd(1.0), 0.5, every=0), "every must be a number of steps ≥ 1, got 0"),
        (lambda: optim.pruned(optax.sgd(1.0), -0.5), "sparsity must be a share from 0 to 1, got -0.5"),
    ],
)  # fmt: skip
def test_messages(call, message):
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value) == message
