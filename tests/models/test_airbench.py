"""The airbench net: counts as published, numbers as torch's, whitening by its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv import models
from jaxconv.models import whitening_kernel


def test_parameters_as_published_and_multiplications_by_hand():
    """1.97 million parameters (Jordan, 2024, section 3.1); maps are 31×31, 15×15, 7×7 and 3×3."""
    found = jc.summary(models.airbench(), (1, 32, 32, 3))
    assert round(found.parameters / 1e6, 2) == 1.97
    groups = [(31, 24, 64), (15, 64, 64), (15, 64, 256), (7, 256, 256), (7, 256, 256), (3, 256, 256)]
    assert found.macs == 31 * 31 * 12 * 24 + sum(n * n * 9 * a * b for n, a, b in groups) + 256 * 10
    assert found.parameters == 13 * 24 + sum(9 * a * b + b for _, a, b in groups) + 256 * 10


def test_width_is_short_for_widths():
    nets = models.airbench(width=4), models.airbench(widths=(4, 16, 16))
    one, other = (jax.eval_shape(lambda net=net: net.init(jax.random.key(0), (1, 9, 9, 3))) for net in nets)
    assert one == other


def test_parameters_of_airbench96_by_hand():
    net = models.airbench(widths=(128, 384, 512), depth=3)
    found = jc.summary(net, (1, 32, 32, 3))
    groups = [(24, 128), (128, 384), (384, 512)]
    assert found.parameters == 13 * 24 + sum(9 * (a * b + 2 * b * b) + 3 * b for a, b in groups) + 512 * 10


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3])
def test_a_narrow_one_equals_torch(rng, depth):
    pytest.importorskip("torch")
    from models.parity import check
    from models.torch_nets.small import Airbench

    widths = (4, 8, 12)
    check(models.airbench(7, widths=widths, depth=depth), Airbench(widths, 7, depth), (4, 32, 32, 3), rng)


def smooth_images(rng, shape):
    """Neighbors that are alike, as those of photographs are."""
    x = rng.normal(size=shape)
    return x + 0.8 * np.roll(x, 1, 1) + 0.7 * np.roll(x, 1, 2) + 0.5 * x[..., :1]


def test_whitened_patches_have_variance_1_and_no_correlation(rng):
    images = smooth_images(rng, (40, 16, 16, 3))
    y = jc.conv(images.astype(np.float32), whitening_kernel(images, eps=0.0))
    flat = np.asarray(y, np.float64).reshape(-1, 24)
    np.testing.assert_allclose(flat[:, :12].T @ flat[:, :12] / len(flat), np.eye(12), atol=2e-3)
    np.testing.assert_array_equal(flat[:, 12:], -flat[:, :12])


def test_whitening_is_the_eigenvectors_of_patches_one_by_one(rng):
    """The largest first, over the root of their eigenvalue + eps, from patches cut out by loops."""
    images = smooth_images(rng, (3, 5, 6, 2)).astype(np.float32)
    patches = [im[i : i + 2, j : j + 2].ravel() for im in images.astype(np.float64) for i in range(4) for j in range(5)]
    values, vectors = np.linalg.eigh(np.mean([np.outer(p, p) for p in patches], axis=0))
    order = np.argsort(-values)
    want = vectors[:, order] / np.sqrt(values[order] + 0.1)
    got = np.asarray(whitening_kernel(images, eps=0.1)).reshape(8, 16)[:, :8]
    np.testing.assert_allclose(np.abs(got), np.abs(want), atol=2e-4)


def test_the_whitening_kernel_gets_no_gradient_and_its_bias_does(rng, quick_jit):
    net = models.airbench(upto="gelu")
    x = rng.normal(size=(4, 16, 16, 3)).astype(np.float32)
    params, state = net.init(jax.random.key(0), x.shape)
    params["whiten"]["kernel"] = whitening_kernel(x)
    grads = quick_jit(jax.grad(lambda params: jnp.square(net.apply(params, state, x)[0]).sum()))(params)
    assert not np.any(grads["whiten"]["kernel"])
    assert np.abs(np.asarray(grads["whiten"]["bias"])).min() > 0


def test_convolutions_start_as_the_identity(rng):
    net = models.airbench(widths=(32, 32, 32), upto="group1/conv1")
    x = rng.normal(size=(1, 9, 9, 3)).astype(np.float32)
    params, state = net.init(jax.random.key(0), x.shape)
    before, _ = models.airbench(widths=(32, 32, 32), upto="gelu").apply(
        {n: params[n] for n in ("whiten", "gelu")}, {n: state[n] for n in ("whiten", "gelu")}, x
    )
    y, _ = net.apply(params, state, x)
    np.testing.assert_allclose(y[..., :24], before, atol=1e-6)
    rest = np.asarray(params["group1"]["conv1"]["kernel"])[..., 24:]
    assert np.abs(rest).max() <= 1 / np.sqrt(9 * 24)  # torch's own start: uniform, variance 1 / (3 fan in)
    np.testing.assert_allclose(rest.var(), 1 / (3 * 9 * 24), rtol=0.1)


def test_any_image_that_three_halvings_leave_something_of():
    net = models.airbench(3, widths=(4, 8, 8))
    for shape in ((1, 9, 9, 3), (2, 28, 33, 1)):
        params, state = jax.eval_shape(lambda shape=shape: net.init(jax.random.key(0), shape))
        assert params["whiten"]["kernel"].shape == (2, 2, shape[-1], 8 * shape[-1])
        y, _ = jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct(shape, "float32"))
        assert y.shape == (shape[0], 3)


def test_the_kernel_is_computed_from_given_images(rng):
    images = smooth_images(rng, (8, 12, 12, 3)).astype(np.float32)
    net = models.airbench(widths=(4, 8, 8), images=images)
    params, _ = jax.jit(net.init, static_argnums=1)(jax.random.key(0), (1, 12, 12, 3))
    np.testing.assert_array_equal(params["whiten"]["kernel"], whitening_kernel(images))
    other, _ = jax.jit(models.airbench(widths=(4, 8, 8)).init, static_argnums=1)(jax.random.key(0), (1, 12, 12, 3))
    for path in ("group1", "group3", "head"):
        jax.tree.map(np.testing.assert_array_equal, params[path], other[path])


def test_images_of_other_channels_than_the_input(rng):
    net = models.airbench(widths=(4, 8, 8), images=rng.normal(size=(8, 12, 12, 1)))
    with pytest.raises(jc.ShapeError, match="airbench needs `images` of as many channels as its input"):
        net.init(jax.random.key(0), (1, 12, 12, 3))


def test_messages():
    with pytest.raises(jc.ShapeError) as caught:
        whitening_kernel(np.zeros((4, 1, 8, 3)))
    assert str(caught.value) == "whitening_kernel needs images [N, H, W, C] of at least 2×2\n  got: (4, 1, 8, 3)"
    with pytest.raises(jc.ShapeError) as caught:
        models.airbench(width=0)
    assert str(caught.value) == "width must be ≥ 1\n  got: width=0"
    with pytest.raises(jc.ShapeError) as caught:
        models.airbench(widths=(4, 0, 4))
    assert str(caught.value) == "widths must be ≥ 1\n  got: widths=0"
    with pytest.raises(jc.ShapeError) as caught:
        models.airbench(widths=(4, 8))
    assert str(caught.value) == ("widths must be three numbers, the channels of each group\n  got: widths=(4, 8)")
    with pytest.raises(jc.ShapeError) as caught:
        models.airbench(depth=4)
    assert str(caught.value) == "depth, the convolutions of a group, must be 2 or 3\n  got: depth=4"
