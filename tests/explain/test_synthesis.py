"""Activation maximization and feature inversion: known optima, and torch's steps of Adam."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.torch_or_skip import torch

import jaxconv as jc
from jaxconv.explain import invert_features, maximize_activation, total_variation


def test_the_best_input_of_a_linear_unit_is_its_kernel(rng):
    """argmax of <w, x> - λ mean(x²) is w D / (2 λ)."""
    w = rng.normal(size=(4, 5, 2)).astype(np.float32)
    x = jnp.zeros((2, 4, 5, 2))
    found = maximize_activation(lambda x: (x * w).sum((1, 2, 3)), x, steps=600, learning_rate=0.02, decay=20.0)
    np.testing.assert_allclose(found, np.broadcast_to(w * 40 / 40, x.shape), atol=2e-3)
    bounded = maximize_activation(lambda x: (x * w).sum((1, 2, 3)), x, low=-0.25, high=np.array([0.5, 0.75]))
    np.testing.assert_allclose(bounded[0], np.where(w < 0, -0.25, [0.5, 0.75]), atol=1e-6)


@pytest.mark.slow
def test_steps_equal_torchs_adam(pair, quick_jit):
    x = 0.1 * pair.x[:, :9, :11]
    images = torch.tensor(np.moveaxis(x, -1, 1).copy()).requires_grad_()
    adam = torch.optim.Adam([images], lr=0.02)
    for _ in range(6):
        adam.zero_grad()
        variation = sum(images.diff(dim=d).abs().mean((1, 2, 3)) for d in (2, 3))
        cost = 0.3 * (images**2).mean((1, 2, 3)) + 0.7 * variation - pair.module(images)[:, 2]
        cost.sum().backward()
        adam.step()
    words = {"steps": 6, "learning_rate": 0.02, "decay": 0.3, "variation": 0.7}
    got = quick_jit(lambda x: maximize_activation(pair.f, x, 2, **words))(x)
    wrong = np.abs(got - np.moveaxis(images.detach().numpy(), 1, -1)) > 2e-4
    assert wrong.mean() < 0.005  # where two neighbors are equal, rounding decides the sign of their difference


@pytest.mark.slow
def test_a_channel_of_a_layer_is_maximized_with_jitter(pair, quick_jit):
    def channel(x):
        return pair.probe("layer1")(x)[1][..., 1].mean((1, 2))

    start = 0.01 * pair.x
    key = jax.random.key(0)
    found = quick_jit(lambda x: maximize_activation(channel, x, steps=20, jitter=2, key=key, low=-1, high=1))(start)
    assert (channel(found) > 2 * channel(start)).all()
    assert np.abs(found).max() <= 1
    other = quick_jit(lambda x: maximize_activation(channel, x, steps=20, low=-1, high=1))(start)
    assert not np.allclose(found, other)


@pytest.mark.slow
def test_an_image_is_found_from_features_that_determine_it(rng):
    """An invertible linear map; a constant one gives the smallest image instead."""
    net = jc.chain(jc.Conv(8, 3, padding="same"))
    image = jnp.asarray(rng.uniform(-1, 1, (2, 6, 7, 1)), jnp.float32)
    params, state = net.init(jax.random.key(0), image)

    def features(x):
        return net.apply(params, state, x)[0]

    found = invert_features(features, features(image), jnp.zeros_like(image), steps=600, learning_rate=0.02)
    np.testing.assert_allclose(found, image, atol=0.02)
    wide = jnp.asarray(rng.normal(size=(1, 4, 4, 1)), jnp.float32)
    still = invert_features(lambda x: 0 * x, jnp.zeros_like(wide), wide, decay=1.0, steps=500)
    np.testing.assert_allclose(still, 0, atol=1e-2)


@pytest.mark.slow
def test_total_variation_of_signals_images_and_volumes(rng):
    for shape in [(2, 7, 3), (2, 4, 1, 2), (1, 3, 4, 5, 2)]:
        x = rng.normal(size=shape).astype(np.float32)
        axes = [a for a in range(1, len(shape) - 1) if shape[a] > 1]
        want = sum(np.abs(np.diff(x, axis=a)).mean(tuple(range(1, len(shape)))) for a in axes)
        np.testing.assert_allclose(total_variation(jnp.asarray(x)), want, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, x: maximize_activation(f, x, jitter=1),
         "jitter needs a random key\n  got: jitter=1, key=None\n  fix: key=jax.random.key(0)"),
        (lambda f, x: maximize_activation(f, x, jitter=-1), "jitter must be ≥ 0\n  got: jitter=-1"),
        (lambda f, x: maximize_activation(f, x, steps=0), "steps must be ≥ 1\n  got: steps=0"),
        (lambda f, x: maximize_activation(f, x, low=np.zeros(4)), "low must broadcast to x (1, 4, 4, 3)\n  got: (4,)"),
        (lambda f, x: invert_features(f, jnp.zeros((1, 2)), x),
         "wanted must have the shape of features(x)\n  got: (1, 2) and (1, 3)"),
    ],
)  # fmt: skip
def test_messages(call, message):
    with pytest.raises(jc.ShapeError) as caught:
        call(lambda x: x.mean((1, 2)), jnp.ones((1, 4, 4, 3)))
    assert str(caught.value) == message
