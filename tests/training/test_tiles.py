"""Sliding windows and several scales, against loops over windows in NumPy and torch's interpolation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.torch_or_skip import F, torch

import jaxconv as jc
from jaxconv._base.errors import ConfigError
from jaxconv.training import Views, multi_scale, sliding_window
from jaxconv.training.evaluation import make_log_probabilities


@pytest.fixture
def net():
    """Whose outputs depend on the border of its window."""
    return jc.chain(jc.Conv(4, 3, padding="same"), jnp.tanh, jc.Conv(3, 3, padding="same"))


@pytest.fixture
def predict(net, getkey):
    params, state = net.init(getkey(), (1, 8, 8, 2))
    return lambda x: net.apply(params, state, x)[0]


def by_loops(predict, images, size, overlap):
    """MMSegmentation's slide inference: the last window of each axis is moved back to the border."""
    total, count = 0.0, 0.0
    height, width = images.shape[1:3]
    step = max(1, round(size * (1 - overlap)))
    for row in range(max(height - size + step - 1, 0) // step + 1):
        for column in range(max(width - size + step - 1, 0) // step + 1):
            bottom, right = min(row * step + size, height), min(column * step + size, width)
            top, left = max(bottom - size, 0), max(right - size, 0)
            pads = ((0, 0), (top, height - bottom), (left, width - right), (0, 0))
            y = np.asarray(predict(images[:, top:bottom, left:right]))
            total, count = total + np.pad(y, pads), count + np.pad(np.ones_like(y), pads)
    return total / count


@pytest.mark.parametrize(("size", "overlap"), [(4, 0.5), (5, 0.0), (5, 0.3), (7, 0.9), (8, 0.5), (1, 0.0), (20, 0.5)])
def test_windows_are_those_of_loops(predict, rng, size, overlap):
    images = rng.normal(size=(2, 8, 13, 2)).astype(np.float32)
    found = jax.jit(sliding_window(predict, size, overlap))(images)
    np.testing.assert_allclose(found, by_loops(predict, images, size, overlap), rtol=1e-5, atol=1e-5)


def test_no_images_and_an_axis_shorter_than_a_window(predict, rng):
    assert sliding_window(predict, 4)(jnp.zeros([0, 9, 9, 2])).shape == (0, 9, 9, 3)
    images = rng.normal(size=(1, 3, 11, 2)).astype(np.float32)
    want = by_loops(predict, images, 4, 0.5)
    np.testing.assert_allclose(sliding_window(predict, 4)(images), want, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_several_scales_are_torchs_means(predict, rng):
    images, scales = rng.normal(size=(2, 9, 12, 2)).astype(np.float32), (0.5, 1.0, 1.7)
    want = 0
    for scale in scales:
        size, options = [round(9 * scale), round(12 * scale)], {"mode": "bilinear", "align_corners": False}
        x = F.interpolate(torch.tensor(images).movedim(-1, 1), size, **options, antialias=scale < 1)
        y = torch.tensor(np.asarray(predict(x.movedim(1, -1).numpy()))).movedim(-1, 1)
        want = want + F.interpolate(y, (9, 12), **options, antialias=scale > 1).movedim(1, -1).numpy() / len(scales)
    np.testing.assert_allclose(jax.jit(multi_scale(predict, scales))(images), want, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(multi_scale(predict, [1.0])(images), predict(images))


@pytest.mark.slow
@pytest.mark.parametrize("mean_of", ["logits", "probabilities"])
def test_views_of_pixels_are_windows_then_mirror_images_then_scales(net, rng, getkey, mean_of):
    trained = net.init(getkey(), (1, 8, 8, 2))
    images = (50 * np.abs(rng.normal(size=(2, 8, 10, 2)))).clip(0, 255).astype(np.uint8)
    options = {"dense": True, "prepare": lambda x: jnp.asarray(x, jnp.float32) / 50}
    plain = make_log_probabilities(net, **options)

    def value(x):
        log_p = np.asarray(plain(*trained, jnp.asarray(x)))
        return log_p if mean_of == "logits" else np.exp(log_p)

    def mirrored(x):
        windows = [by_loops(value, each, 6, 0.5) for each in (x, x[:, :, ::-1])]
        return (windows[0] + windows[1][:, :, ::-1]) / 2

    larger = np.asarray(jc.resize(images.astype(np.float32), (12, 15), mode="linear"))
    back = jc.resize(mirrored(larger), (8, 10), mode="linear", antialias=True)
    mean = (mirrored(images) + np.asarray(back)) / 2
    want = mean - np.log(np.exp(mean).sum(-1, keepdims=True)) if mean_of == "logits" else np.log(mean)
    views = Views(flip=True, scales=[1.0, 1.5], window=6, mean_of=mean_of)
    assert views.count == 4
    found = jax.jit(make_log_probabilities(net, views=views, **options))(*trained, images)
    np.testing.assert_allclose(found, want, rtol=2e-4, atol=2e-5)


def test_images_have_no_windows():
    for words in ({"scales": [2.0]}, {"window": 4}):
        with pytest.raises(ConfigError) as caught:
            Views(**words).averaged(lambda x: x.mean((1, 2)))
        assert str(caught.value) == "tta: scales and window must be unset for predictions of images"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sliding_window(jnp.tanh, 0), "size of a window must be an int ≥ 1\n  got: size=0"),
        (lambda: sliding_window(jnp.tanh, 4.0), "size of a window must be an int ≥ 1\n  got: size=4.0"),
        (
            lambda: sliding_window(jnp.tanh, 4, 1.0),
            "overlap of windows must be at least 0 and below 1\n  got: overlap=1.0",
        ),
        (
            lambda: sliding_window(lambda x: x[:, ::2], 4)(jnp.zeros([1, 9, 9, 2])),
            "predict must return [N, 4, 4, K]\n  got: (1, 2, 4, 2)",
        ),
        (lambda: multi_scale(jnp.tanh, []), "scales must be at least one number above 0\n  got: scales=[]"),
        (lambda: multi_scale(jnp.tanh, [1, -1]), "scales must be at least one number above 0\n  got: scales=[1, -1]"),
    ],
)
def test_messages(call, message):
    with pytest.raises(jc.ShapeError) as caught:
        call()
    assert str(caught.value) == message
