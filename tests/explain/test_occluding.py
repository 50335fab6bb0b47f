"""Occlusion: known drops, and Captum's numbers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.torch_or_skip import torch

import jaxconv as jc
from jaxconv.explain import occlusion


def by_loop(f, x, target, window, stride, value):
    """Every window in turn, in NumPy."""
    total, count = np.zeros(x.shape[:-1]), np.zeros(x.shape[1:-1])
    firsts = [range(0, -(-(n - w) // s) * s + 1, s) for n, w, s in zip(x.shape[1:-1], window, stride, strict=True)]
    for place in itertools.product(*firsts):
        cells = tuple(slice(i, i + w) for i, w in zip(place, window, strict=True))
        covered = x.copy()
        covered[(slice(None), *cells)] = value
        total[(slice(None), *cells)] += (f(x) - f(covered))[:, target].reshape(-1, *[1] * len(window))
        count[cells] += 1
    assert count.min() > 0
    return total / count


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [
        ((2, 7, 9, 3), (3, 3), (2, 2)),
        ((2, 7, 9, 3), (4, 2), (3, 1)),
        ((1, 5, 5, 1), (5, 5), (5, 5)),
        ((3, 11, 2), (4,), (3,)),
        ((1, 4, 5, 6, 2), (2, 3, 3), (1, 2, 3)),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_each_window_in_turn(shape, window, stride, batch_size, rng, assert_close):
    weights = rng.normal(size=(*shape[1:], 4)).astype(np.float32)

    def f(x):
        return np.tanh(np.asarray(x, float).reshape(len(x), -1) @ weights.reshape(-1, 4) / 9)

    def g(x):
        return jnp.tanh(x.reshape(len(x), -1) @ weights.reshape(-1, 4) / 9)

    x, value = rng.normal(size=shape).astype(np.float32), rng.normal(size=shape[-1:]).astype(np.float32)
    got = occlusion(g, x, 2, window=window, stride=stride, value=value, batch_size=batch_size)
    assert_close(got, by_loop(f, x, 2, window, stride, value))


@pytest.mark.slow
@pytest.mark.parametrize("stride", [3, 2])
def test_occlusion_equals_captum(pair, stride, quick_jit, assert_close, ours):
    captum = pytest.importorskip("captum.attr")
    x = pair.x[:, :12, :15]
    images, window = pair.images[:, :, :12, :15], (3, 6, 6)
    targets = np.array([1, 0, 4])
    want = captum.Occlusion(pair.module).attribute(
        images, window, (3, stride, stride), baselines=0.5, target=torch.tensor(targets)
    )
    got = quick_jit(lambda x: occlusion(pair.f, x, targets, window=6, stride=stride, value=0.5))(x)
    assert_close(got, ours(want)[..., 0], tolerance=1e-4)


@pytest.mark.slow
def test_the_predicted_class_is_that_of_the_uncovered_image():
    def f(x):
        return jnp.stack([x[:, 0, 0, 0], jnp.full(len(x), 0.5)], -1)

    x = jnp.ones((1, 2, 2, 1))
    np.testing.assert_array_equal(occlusion(f, x, window=1)[0], [[1, 0], [0, 0]])
    np.testing.assert_array_equal(occlusion(f, x * 0, window=1)[0], np.zeros([2, 2]))
    assert occlusion(f, x[:0], window=1).shape == (0, 2, 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"window": 5}, "window must fit into x of 4 cells\n  got: window=5, stride=None"),
        ({"window": 2, "stride": 3}, "stride must be at most the window, 2\n  got: window=2, stride=3"),
        ({"window": 0}, "window must be ≥ 1\n  got: window=0"),
        ({"window": 2, "batch_size": 0}, "batch_size must be ≥ 1\n  got: batch_size=0"),
        ({"window": 2, "value": np.zeros(2)}, "value must broadcast to x (1, 4, 4, 3)\n  got: (2,)"),
    ],
)
def test_messages(words, message):
    with pytest.raises(jc.ShapeError) as caught:
        occlusion(lambda x: x.mean((1, 2)), jax.numpy.ones((1, 4, 4, 3)), **words)
    assert str(caught.value) == message
