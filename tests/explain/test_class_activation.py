"""Grad-CAM and Grad-CAM++: known answers, torch's and Captum's numbers, any layer of any function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.torch_or_skip import F, torch

import jaxconv as jc
from jaxconv.explain import at_layer, at_split, grad_cam, grad_cam_plus_plus
from jaxconv.explain.probes import map_layers

TARGETS = np.array([4, 0, 2])


def by_hand(rng):
    """A net whose class k is the mean of channel k: its maps are the channels, its weights 1 / cells and 0."""
    net = jc.chain(maps=jc.Conv(3, 1, bias=False), pool=jc.global_avg_pool)
    params, state = net.init(jax.random.key(0), (1, 4, 6, 3))
    params = {**params, "maps": {"kernel": jnp.eye(3)[None, None]}}
    return net, params, state, rng.normal(size=(2, 4, 6, 3)).astype(np.float32)


def test_a_net_made_by_hand(rng, assert_close):
    net, params, state, x = by_hand(rng)
    probe = at_layer(net, params, state, "maps")
    for target in (0, 2):
        assert_close(grad_cam(probe, x, target), np.maximum(x[..., target], 0) / 24)
        g = 1 / 24
        alpha = g**2 / (2 * g**2 + g**3 * x[..., target].sum((1, 2), keepdims=True))
        assert_close(grad_cam_plus_plus(probe, x, target), np.maximum(x[..., target], 0) * alpha * g * 24)


def test_the_brightest_cell_is_where_the_class_is(rng):
    """A blob of channel 1 at one place and one of channel 2 at another."""
    net, params, state, _ = by_hand(rng)
    x = np.zeros([1, 4, 6, 3], np.float32)
    x[0, 1, 1, 1] = x[0, 3, 4, 2] = 1
    for target, place in ((1, (1, 1)), (2, (3, 4))):
        heat = np.asarray(grad_cam(at_layer(net, params, state, "maps"), x, target))[0]
        assert np.unravel_index(heat.argmax(), heat.shape) == place
        assert np.count_nonzero(heat) == 1


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["layer1", "layer2", "relu"])
def test_grad_cam_equals_captum(pair, layer, quick_jit, assert_close, ours):
    captum = pytest.importorskip("captum.attr")
    cam = captum.LayerGradCam(pair.module, getattr(pair.module, layer))
    want = cam.attribute(pair.images, torch.tensor(TARGETS), relu_attributions=True)
    probe = pair.probe(layer)
    assert_close(quick_jit(lambda x: grad_cam(probe, x, TARGETS, upsample=False))(pair.x), ours(want)[..., 0])
    large = ours(F.interpolate(want, pair.x.shape[1:3], mode="bilinear"))[..., 0]
    assert_close(quick_jit(lambda x: grad_cam(probe, x, TARGETS))(pair.x), large)


@pytest.mark.slow
def test_grad_cam_plus_plus_equals_torch(pair, quick_jit, assert_close):
    """By third derivatives, as the paper defines α, in torch: those of exp(s), whose layers above are linear."""
    module, images = pair.module.double(), pair.images.double()
    try:
        maps = module[:6](images).detach().requires_grad_()
        assert list(dict(module.named_children()))[5] == "layer2"
        s = module[6:](maps)[range(3), TARGETS]
        first = torch.autograd.grad(s.exp().sum(), maps, create_graph=True)[0]
        second, third = torch.zeros_like(maps), torch.zeros_like(maps)
        for place in np.ndindex(maps.shape):
            second[place] = torch.autograd.grad(first[place], maps, create_graph=True, retain_graph=True)[0][place]
        slope = first / s.exp()[:, None, None, None]
        third = first * slope**2
        np.testing.assert_allclose(second.detach(), (first * slope).detach(), rtol=1e-9)
        alpha = second / (2 * second + maps.sum((2, 3), keepdim=True) * third)
        weights = (alpha * first.clamp(min=0)).sum((2, 3), keepdim=True) / s.exp()[:, None, None, None]
        want = (weights * maps).sum(1).clamp(min=0).detach().numpy()
    finally:
        module.float()
    got = quick_jit(lambda x: grad_cam_plus_plus(pair.probe(), x, TARGETS, upsample=False))(pair.x)
    assert_close(got, want, tolerance=1e-4)


@pytest.mark.slow
def test_a_layer_within_a_residual_block_equals_captum(pair, quick_jit, assert_close, ours):
    """What goes around it counts, too: no head of the layer's output alone could compute the score."""
    captum = pytest.importorskip("captum.attr")
    want = captum.LayerGradCam(pair.module, pair.module.layer2[0].conv1).attribute(pair.images, 1)
    layers = map_layers(pair.net, pair.params, pair.state, pair.x)
    assert {"layer2/0/conv1", "layer2/0", "layer2", "relu"} <= set(layers)
    assert list(layers)[-1] == "layer2"
    got = quick_jit(lambda x: grad_cam(pair.probe("layer2/0/conv1"), x, 1, upsample=False))(pair.x)
    assert_close(got, np.maximum(ours(want)[..., 0], 0))


@pytest.mark.slow
def test_a_split_function_is_the_layer(pair, quick_jit, assert_close):
    features = jc.backbone(pair.net, upto="layer2")

    def head(h):
        return h.mean((1, 2)) @ pair.params["fc"]["kernel"] + pair.params["fc"]["bias"]

    split = at_split(lambda x: features.apply(pair.params, pair.state, x)[0], head)
    for method in (grad_cam, grad_cam_plus_plus):
        got, want = (quick_jit(lambda x, f=f, m=method: m(f, x))(pair.x) for f in (split, pair.probe()))
        assert_close(got, want)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 20, 3), (2, 7, 8, 9, 2)])
def test_signals_and_volumes(shape, rng, assert_close):
    size = (3,) * (len(shape) - 2)
    net = jc.chain(jc.Conv(4, size, stride=2), jax.nn.relu, jc.global_avg_pool, jc.Dense(3))
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    params, state = net.init(jax.random.key(0), x)
    probe = at_layer(net, params, state, "relu0")
    small = grad_cam(probe, x, 1, upsample=False)
    maps = probe(x)[1]
    weights = params["dense0"]["kernel"][:, 1] / np.prod(maps.shape[1:-1])
    assert_close(small, np.maximum(maps @ weights, 0))
    assert grad_cam(probe, x, 1).shape == shape[:-1]
    assert_close(jax.vmap(lambda one: grad_cam(probe, one[None], 1)[0])(x), grad_cam(probe, x, 1))


def test_a_layer_that_is_called_twice(rng):
    """The first call unless its number is given; a shift moves that call alone."""

    def flow(call, x):
        return call("b", call("a", call("a", x)))

    net = jc.compose("twice", {"a": jnp.tanh, "b": lambda x: x.mean((1, 2))}, flow)
    empty = {"a": {}, "b": {}}
    x = jnp.asarray(rng.normal(size=(1, 3, 3, 2)), jnp.float32)
    first, second = (at_layer(net, empty, empty, layer) for layer in ("a", "a#2"))
    np.testing.assert_allclose(first(x)[1], np.tanh(x), rtol=1e-6)
    np.testing.assert_allclose(second(x)[1], np.tanh(np.tanh(x)), rtol=1e-6)
    np.testing.assert_allclose(first(x, 1.0)[0], np.tanh(np.tanh(x) + 1).mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(second(x, 1.0)[0], (np.tanh(np.tanh(x)) + 1).mean((1, 2)), rtol=1e-5)
    with pytest.raises(jc.ShapeError, match="a is called 2 times\n  got: layer 'a#3'"):
        at_layer(net, empty, empty, "a#3")(x)


@pytest.mark.slow
def test_no_image(rng):
    net, params, state, x = by_hand(rng)
    for method in (grad_cam, grad_cam_plus_plus):
        assert method(at_layer(net, params, state, "maps"), x[:0]).shape == (0, 4, 6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, *own, x: at_layer(net, *own, "mapz"),
         "chain has maps, block, pool\n  got: path 'mapz'; did you mean 'maps'?"),
        (lambda net, *own, x: at_layer(net, *own, 3), "a path must be text like 'stage1/conv0'\n  got: 3"),
        (lambda net, *own, x: at_layer(net, *own, "maps/conv0"), "conv has no parts\n  got: path 'maps/conv0'"),
        (lambda net, *own, x: at_layer(net, *own, "block/tanh0"),
         "a layer inside of remat(chain) does not run by itself\n  got: layer 'block/tanh0'\n  fix: 'block'"),
        (lambda net, *own, x: grad_cam(at_layer(net, *own, "pool"), x),
         "Grad-CAM needs a layer with feature maps [N, *spatial, C]\n  got: (2, 3) for x (2, 4, 6, 3)\n"
         "  fix: another layer"),
        (lambda net, *own, x: grad_cam(at_split(lambda x: (x, x), lambda h: h[0]), x),
         "Grad-CAM needs a layer with feature maps [N, *spatial, C]\n  got: tuple for x (2, 4, 6, 3)\n"
         "  fix: another layer"),
        (lambda net, *own, x: at_layer(jc.cast(net, jnp.bfloat16), *own, "maps"),
         "a layer inside of cast(chain, bfloat16) does not run by itself\n  got: layer 'maps'\n"
         "  fix: the net without it"),
        (lambda net, *own, x: grad_cam(at_split(lambda x: x.reshape(2, 24, 3), lambda h: h.mean(1)), x),
         "Grad-CAM needs a layer with feature maps [N, *spatial, C]\n  got: (2, 24, 3) for x (2, 4, 6, 3)\n"
         "  fix: upsample=False"),
        (lambda net, *own, x: grad_cam(at_layer(net, *own, "maps"), x, 3),
         "target must be one of 3 classes: 0 to 2\n  got: 3"),
    ],
)  # fmt: skip
def test_messages(call, message, rng):
    _, _, _, x = by_hand(rng)
    net = jc.chain(maps=jc.Conv(3, 1), block=jc.remat(jc.chain(jnp.tanh)), pool=jc.global_avg_pool)
    params, state = net.init(jax.random.key(0), x)
    with pytest.raises(jc.ShapeError) as caught:
        call(net, params, state, x=x)
    assert str(caught.value) == message
