"""Scores of segmentations: by hand, Seg-Grad-CAM and saliency against torch, complete integrated gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.torch_or_skip import F, torch

import jaxconv as jc
from jaxconv.explain import at_layer, grad_cam, integrated_gradients, occlusion, pixel_score, saliency
from jaxconv.explain.scores import target_scores

SHAPE = (2, 12, 10, 3)
CLASSES = 4
SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("pixel", "region")]


def test_the_score_is_the_sum_over_pixels(rng, assert_close):
    y = rng.normal(size=(3, 5, 4, 2)).astype(np.float32)
    one, each = rng.random((5, 4)) < 0.4, rng.random((3, 5, 4)) < 0.4
    found = jnp.asarray(y)
    for inside in (one, each):
        want = (y[..., 1] * inside).sum((1, 2))
        assert_close(pixel_score(1, inside)(found), want)
        assert_close(jax.jit(lambda y, k, m: target_scores(y, pixel_score(k, m)))(found, 1, inside), want)
    labels = np.array([1, 0, 1])
    chosen = np.stack([y[n, ..., k] for n, k in enumerate(labels)])
    assert_close(pixel_score(labels)(found), chosen.sum((1, 2)))
    assert_close(pixel_score(labels, each)(found), (chosen * each).sum((1, 2)))
    assert_close(jax.vmap(lambda y: pixel_score(0, one)(y[None])[0])(found), (y[..., 0] * one).sum((1, 2)))
    assert pixel_score(1)(found[:0]).shape == (0,)


@pytest.mark.parametrize("shape", [(2, 7, 3), (1, 3, 4, 5, 2)])
def test_signals_and_volumes(shape, rng, assert_close):
    y = rng.normal(size=shape).astype(np.float32)
    inside = rng.random(shape[1:-1]) < 0.5
    want = (y[..., 1] * inside).sum(tuple(range(1, len(shape) - 1)))
    assert_close(pixel_score(1, inside)(jnp.asarray(y)), want)


def test_what_is_outside_has_no_part_in_it():
    """Not even where it is infinite."""
    y = jnp.array([[[1.0, jnp.inf]]]).reshape(1, 1, 2, 1)
    inside = np.array([[True, False]])
    assert pixel_score(0, inside)(y) == 1
    gradient = jax.grad(lambda y: pixel_score(0, inside)(y).sum())(y)
    np.testing.assert_array_equal(gradient.ravel(), [1, 0])


@pytest.mark.slow
def test_covering_a_pixel_of_a_linear_net(rng, assert_close):
    """A net whose scores at a pixel are its channels: only covering that pixel changes its score."""
    x = jnp.asarray(rng.normal(size=(1, 5, 6, 3)), jnp.float32)
    inside = np.zeros([5, 6], bool)
    inside[2, 3] = True
    want = np.where(inside, x[0, ..., 1], 0)
    assert_close(occlusion(lambda x: x, x, pixel_score(1, inside), window=1)[0], want)
    assert_close(integrated_gradients(lambda x: x, x, pixel_score(1, inside))[0, ..., 1], want)


@pytest.fixture(scope="module")
def pair():
    """A small segmentation net, its weights and input, and the same function in torch of features and of all."""
    rng = np.random.default_rng(4)
    net = jc.chain(
        a=jc.Conv(6, 3, padding=1),
        act=jax.nn.relu,
        pool=jc.MaxPool(2),
        b=jc.Conv(5, 3, padding=1),
        bend=jnp.tanh,
        head=jc.Conv(CLASSES, 1),
        up=lambda y: jc.resize(y, SHAPE[1:3], mode="linear"),
    )
    params, state = net.init(jax.random.key(0), SHAPE)
    params = jax.tree.map(lambda v: jnp.asarray(rng.normal(size=v.shape) / 3, v.dtype), params)
    x = rng.normal(size=SHAPE).astype(np.float32)

    def weights(name):
        kernel, bias = (torch.tensor(np.array(params[name][leaf])) for leaf in ("kernel", "bias"))
        return kernel.permute(3, 2, 0, 1), bias

    def features(images):
        return F.max_pool2d(F.relu(F.conv2d(images, *weights("a"), padding=1)), 2)

    def head(maps):
        y = F.conv2d(torch.tanh(F.conv2d(maps, *weights("b"), padding=1)), *weights("head"))
        return F.interpolate(y, SHAPE[1:3], mode="bilinear")

    return net, params, state, x, features, head


def regions(f, x):
    """A pixel, a region, and the predicted mask of class 2."""
    pixel, region = np.zeros([2, *SHAPE[1:3]], bool)
    pixel[7, 2], region[3:9, 1:4] = True, True
    return {"pixel": pixel, "region": region, "mask": np.asarray(f(x)).argmax(-1) == 2, "image": None}


@pytest.mark.parametrize("kind", [*SLOW, pytest.param("image", marks=pytest.mark.slow), "mask"])
def test_seg_grad_cam_and_saliency_equal_torch(pair, kind, assert_close):
    """Vinogradova 2020, equation 1: weights are the means of the gradient of the sum of the scores of M's pixels."""
    net, params, state, x, features, head = pair

    def f(x):
        return net.apply(params, state, x)[0]

    where = regions(f, x)[kind]
    inside = torch.tensor(np.broadcast_to(True if where is None else where, SHAPE[:3]).copy())
    images = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    maps = features(images)
    y = head(maps)
    np.testing.assert_allclose(f(x), np.moveaxis(y.detach().numpy(), 1, -1), rtol=1e-4, atol=1e-5)
    score = y[:, 2][inside].sum()
    of_maps, of_images = torch.autograd.grad(score, (maps, images))
    want = F.relu((of_maps.mean((2, 3), keepdim=True) * maps).sum(1)).detach().numpy()
    target = pixel_score(2, where)
    got = jax.jit(lambda x: grad_cam(at_layer(net, params, state, "pool"), x, target, upsample=False))(x)
    assert_close(got, want)
    assert_close(jax.jit(lambda x: saliency(f, x, target))(x), of_images.abs().amax(1).numpy())


@pytest.mark.parametrize("kind", [*SLOW, "mask"])
def test_integrated_gradients_are_complete(pair, kind, quick_jit):
    net, params, state, x, *_ = pair

    def f(x):
        return net.apply(params, state, x)[0]

    target = pixel_score(2, regions(f, x)[kind])
    parts = quick_jit(lambda x: integrated_gradients(f, x, target, steps=300))(x)
    want = target(f(x)) - target(f(jnp.zeros_like(x)))
    np.testing.assert_allclose(parts.sum((1, 2, 3)), want, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda y: pixel_score(4)(y), "target must be one of 4 classes: 0 to 3\n  got: 4"),
        (lambda y: pixel_score(-1)(y), "target must be one of 4 classes: 0 to 3\n  got: -1"),
        (lambda y: pixel_score(1.5)(y), "target must be a class, or classes [N]\n"
         "  got: float64 () for 2 inputs\n  fix: target=3"),
        (lambda y: pixel_score([1, 2, 3])(y), "target must be a class, or classes [N]\n"
         "  got: int64 (3,) for 2 inputs\n  fix: target=3"),
        (lambda y: pixel_score(1)(y[:, 0, 0]), "the function must return scores of pixels [N, *spatial, K]\n"
         "  got: outputs (2, 4)\n  fix: target=3, a class"),
        (lambda y: pixel_score(1, np.ones([12, 9], bool))(y), "where must be bool, [*spatial] or [N, *spatial]\n"
         "  got: bool (12, 9) for outputs (2, 12, 10, 4)"),
        (lambda y: pixel_score(1, np.ones([12, 10]))(y), "where must be bool, [*spatial] or [N, *spatial]\n"
         "  got: float32 (12, 10) for outputs (2, 12, 10, 4)"),
    ],
)  # fmt: skip
def test_messages(call, message):
    with pytest.raises(jc.ShapeError) as caught:
        call(jnp.zeros([*SHAPE[:3], CLASSES]))
    assert str(caught.value) == message
