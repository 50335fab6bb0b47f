"""Attributions by gradients: equal to torch's and Captum's, complete, and dependent on the weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.torch_or_skip import torch

import jaxconv as jc
from jaxconv.explain import grad_cam, guided_backprop, integrated_gradients, saliency, smooth_grad
from jaxconv.explain.scores import target_scores
from jaxconv.layers.combine import numbered

TARGETS = np.array([4, 0, 2])


def torch_gradient(module, images, classes=None):
    """[N, H, W, C] of the class scores, of the predicted class by default."""
    images = images.clone().requires_grad_()
    y = module(images)
    classes = y.argmax(1) if classes is None else torch.as_tensor(classes)
    y.gather(1, classes[:, None]).sum().backward()
    return np.moveaxis(images.grad.numpy(), 1, -1)


@pytest.mark.parametrize(
    "target", [pytest.param(TARGETS, marks=pytest.mark.slow), None, pytest.param(3, marks=pytest.mark.slow)]
)
def test_saliency_equals_torch(pair, target, quick_jit, assert_close):
    classes = np.full(3, target) if isinstance(target, int) else target
    want = np.abs(torch_gradient(pair.module, pair.images, classes)).max(-1)
    got = quick_jit(lambda x: saliency(pair.f, x, target))(pair.x)
    assert_close(got, want)
    assert got.shape == pair.x.shape[:3]


@pytest.mark.slow
def test_smooth_grad_equals_a_loop_in_torch(pair, quick_jit, assert_close):
    key = jax.random.key(5)
    got = quick_jit(lambda x: smooth_grad(pair.f, x, key=key, samples=4, noise=0.2))(pair.x)
    classes = pair.module(pair.images).argmax(1)  # of the images without noise
    sigma = 0.2 * np.ptp(pair.x, axis=(1, 2, 3), keepdims=True)
    noise = [np.asarray(jax.random.normal(k, pair.x.shape)) for k in jax.random.split(key, 4)]
    noisy = [torch.tensor(np.moveaxis(pair.x + sigma * e, -1, 1).astype(np.float32)) for e in noise]
    want = np.mean([torch_gradient(pair.module, images, classes) for images in noisy], 0)
    assert_close(got, want)


@pytest.mark.slow
def test_integrated_gradients_equal_captum_and_are_complete(pair, quick_jit, assert_close, rng, ours):
    captum = pytest.importorskip("captum.attr")
    baseline = rng.normal(size=(1, *pair.x.shape[1:])).astype(np.float32)
    got = quick_jit(lambda x: integrated_gradients(pair.f, x, TARGETS, baseline=baseline, steps=20))(pair.x)
    before = torch.tensor(np.moveaxis(baseline, -1, 1).copy())
    want = captum.IntegratedGradients(pair.module).attribute(
        pair.images, before, torch.tensor(TARGETS), n_steps=20, method="gausslegendre"
    )
    assert_close(got, ours(want), tolerance=1e-4)
    fine = quick_jit(lambda x: integrated_gradients(pair.f, x, TARGETS, baseline=baseline, steps=400))(pair.x)
    difference = np.asarray(pair.f(pair.x) - pair.f(jnp.asarray(baseline)))[range(3), TARGETS]
    np.testing.assert_allclose(fine.sum((1, 2, 3)), difference, atol=0.02 * np.abs(difference).max())


@pytest.mark.slow
def test_integrated_gradients_of_a_smooth_net_are_complete_to_rounding(rng, x64):
    """Also on one and three spatial axes, with a baseline for each channel."""
    for shape in [(2, 9, 3), (2, 5, 4, 3), (1, 4, 3, 5, 2)]:
        net = jc.chain(jc.Conv(4, (3,) * (len(shape) - 2), padding="same"), jnp.tanh, jc.global_avg_pool, jc.Dense(3))
        x = rng.normal(size=shape)
        params, state = net.init(jax.random.key(0), x)
        baseline = rng.normal(size=shape[-1:])

        def f(x, net=net, params=params, state=state):
            return net.apply(params, state, x)[0]

        found = integrated_gradients(f, x, 1, baseline=baseline)
        want = f(jnp.asarray(x))[:, 1] - f(jnp.broadcast_to(baseline, shape))[:, 1]
        np.testing.assert_allclose(found.sum(tuple(range(1, len(shape)))), want, atol=1e-12)


def guided_gradient(module, images, classes, monkeypatch):
    """By torch's hooks at `nn.ReLU`, and by a function of its own at `Tensor.relu`, which has no hooks."""

    class Guided(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx, g):
            return g.clamp(min=0) * (ctx.saved_tensors[0] > 0)

    monkeypatch.setattr(torch.Tensor, "relu", lambda x: Guided.apply(x))
    relus = [part for part in module.modules() if isinstance(part, torch.nn.ReLU)]
    hooks = [part.register_full_backward_hook(lambda part, got, given: (got[0].clamp(min=0),)) for part in relus]
    found = torch_gradient(module, images, classes)
    for hook in hooks:
        hook.remove()
    return found


def test_guided_backprop_equals_torch_hooks(pair, monkeypatch, quick_jit, assert_close):
    got = quick_jit(lambda x: guided_backprop(pair.f, x, TARGETS))(pair.x)
    want = guided_gradient(pair.module, pair.images, TARGETS, monkeypatch)
    assert_close(got, want)
    assert not np.allclose(want, torch_gradient(pair.module, pair.images, TARGETS))


@pytest.mark.slow
def test_guided_backprop_equals_captum(assert_close, ours, rng):
    """On a net of modules alone, as Captum needs it."""
    captum, nn = pytest.importorskip("captum.attr"), torch.nn
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
    net = numbered(jc.Conv(4, 3), jax.nn.relu, jc.Conv(4, 3), jax.nn.relu, jc.flatten, jc.Dense(3))
    params, state = jc.port.load(net, module, x=(1, 7, 7, 2))
    x = rng.normal(size=(2, 7, 7, 2)).astype(np.float32)
    images = torch.tensor(np.moveaxis(x, -1, 1).copy()).requires_grad_()
    with pytest.warns(UserWarning, match="backward hooks"):
        want = captum.GuidedBackprop(module).attribute(images, torch.tensor([0, 2]))
    assert_close(guided_backprop(lambda x: net.apply(params, state, x)[0], x, np.array([0, 2])), ours(want))


@pytest.mark.slow
def test_relus_are_found_wherever_they_are(rng):
    """In jit, scan, cond, remat and vmap, written with maximum, of either order; a ReLU6's lower bound, too."""
    x = jnp.asarray(rng.normal(size=(2, 3, 4)), jnp.float32)

    def score(relu, f=lambda relu, x: relu(x)):
        return lambda x: -2 * f(relu, 3 * x)[..., 0].sum(1)

    wrapped = [
        lambda relu, x: jax.jit(relu)(x),
        lambda relu, x: jax.lax.scan(lambda c, _: (relu(c), None), x, length=2)[0],
        lambda relu, x: jax.lax.cond(x.sum() > -1e9, relu, jnp.sin, x),
        lambda relu, x: jax.checkpoint(relu)(x),
        lambda relu, x: jax.vmap(relu)(x),
    ]
    kinds = [jax.nn.relu, lambda x: jnp.maximum(x, 0), lambda x: jnp.maximum(0.0, x), jax.nn.relu6]
    programs = [score(jax.nn.relu, f) for f in wrapped] + [score(relu) for relu in kinds]
    for program in programs:
        np.testing.assert_array_equal(guided_backprop(program, x), jnp.zeros_like(x))  # -2 < 0 stops at the ReLU
        assert np.abs(saliency(program, x)).max() > 0
        found = guided_backprop(lambda x, program=program: -program(x), x)
        np.testing.assert_array_equal(found, jax.grad(lambda x, program=program: -program(x).sum())(x))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "smooth_grad", "grad_cam", "guided_backprop"])
def test_sanity_check_by_randomized_weights(method, rng):
    """Adebayo et al. 2018: an attribution that explains the net changes when the head's weights are drawn anew, and
    cascading, those of more and more layers below. Signs count: |x - x'| alone makes integrated gradients alike."""
    from scipy.stats import spearmanr

    parts = {"a": jc.Conv(8, 3, padding="same"), "b": jc.Conv(8, 3, padding="same"), "head": jc.Dense(4)}
    net = jc.chain(
        a=parts["a"], r=jax.nn.relu, b=parts["b"], s=jax.nn.relu, pool=jc.global_avg_pool, head=parts["head"]
    )
    rows = np.stack(np.meshgrid(*[np.linspace(-3, 3, 16)] * 2), -1)
    x = np.exp(-((rows - rng.uniform(-2, 2, (6, 1, 1, 2))) ** 2).sum(-1, keepdims=True)).astype(np.float32)
    x = np.concatenate([x, rng.normal(size=x.shape).astype(np.float32)], -1)
    trained, state = net.init(jax.random.key(1), x)
    other, _ = net.init(jax.random.key(2), x)
    methods = {
        "saliency": saliency,
        "integrated_gradients": integrated_gradients,
        "smooth_grad": lambda f, x, target: smooth_grad(f, x, target, key=jax.random.key(0), samples=8),
        "guided_backprop": guided_backprop,
    }

    @jax.jit
    def explain(params):
        if method == "grad_cam":
            return grad_cam(jc.explain.at_layer(net, params, state, "s"), x, 1, upsample=False)
        return methods[method](lambda x: net.apply(params, state, x)[0], x, 1)

    first, likeness = np.asarray(explain(trained)), []
    randomized = dict(trained)
    for name in ("head", "b", "a"):
        randomized[name] = other[name]
        again = np.asarray(explain(randomized))
        likeness.append(np.mean([spearmanr(p.ravel(), q.ravel())[0] for p, q in zip(first, again, strict=True)]))
    assert max(likeness[1:]) < 0.75, likeness


@pytest.mark.slow
def test_jit_vmap_and_grad(rng, assert_close):
    """One image at a time by vmap is the batch; an attribution has a gradient of its own."""
    net = jc.chain(jc.Conv(4, 3), jnp.tanh, jc.global_avg_pool, jc.Dense(3))
    x = jnp.asarray(rng.normal(size=(3, 6, 5, 2)), jnp.float32)
    params, state = net.init(jax.random.key(0), x)

    def f(x):
        return net.apply(params, state, x)[0]

    for method in (saliency, integrated_gradients):
        want = method(f, x, 1)
        assert_close(jax.jit(lambda x, t, method=method: method(f, x, t))(x, 1), want)
        assert_close(jax.vmap(lambda one, method=method: method(f, one[None], 1)[0])(x), want)
    slope = jax.grad(lambda x: integrated_gradients(f, x, 1, steps=8).sum())(x)
    assert_close(slope, jax.grad(lambda x: f(x)[:, 1].sum())(x), tolerance=1e-4)  # completeness, differentiated


@pytest.mark.slow
def test_no_image_and_integers():
    def f(x):
        return x.mean((1, 2))

    for method in (saliency, integrated_gradients, lambda f, x: smooth_grad(f, x, key=jax.random.key(0))):
        assert method(f, jnp.zeros((0, 4, 5, 3))).shape[:3] == (0, 4, 5)
        assert method(f, np.zeros((1, 4, 5, 3), np.uint8)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, x: saliency(f, x, 3), "target must be one of 3 classes: 0 to 2\n  got: 3"),
        (lambda f, x: saliency(f, x, -1), "target must be one of 3 classes: 0 to 2\n  got: -1"),
        (lambda f, x: saliency(f, x, [0, 1]),
         "target must be a class, or classes [N]\n  got: int64 (2,) for 1 input\n  fix: target=3"),
        (lambda f, x: saliency(f, x, 0.5),
         "target must be a class, or classes [N]\n  got: float64 () for 1 input\n  fix: target=3"),
        (lambda f, x: saliency(f, x[0, 0]), "x must be [N, *spatial, C] of real numbers\n  got: float32 (5, 3)"),
        (lambda f, x: saliency(lambda x: x, x),
         "the function must return class scores [N, K]\n  got: outputs (1, 4, 5, 3)\n"
         "  fix: target=lambda y: …, which returns one score for each input"),
        (lambda f, x: saliency(f, x, lambda y: y),
         "target must return one score for each input: [N]\n  got: outputs (1, 3), scores (1, 3)"),
        (lambda f, x: integrated_gradients(f, x, baseline=np.zeros(2)),
         "baseline must broadcast to x (1, 4, 5, 3)\n  got: (2,)"),
        (lambda f, x: integrated_gradients(f, x, baseline=np.zeros((2, 4, 5, 3))),
         "baseline must broadcast to x (1, 4, 5, 3)\n  got: (2, 4, 5, 3)"),
        (lambda f, x: integrated_gradients(f, x, steps=0), "steps must be ≥ 1\n  got: steps=0"),
        (lambda f, x: smooth_grad(f, x, key=jax.random.key(0), noise=-1),
         "noise must be a number ≥ 0\n  got: noise=-1"),
        (lambda f, x: smooth_grad(f, x, key=0), "key must be one jax.random key\n  got: 0\n  fix: jax.random.key(0)"),
        (lambda f, x: guided_backprop(f, x),
         "guided backpropagation needs a function with ReLUs: jax.nn.relu or jnp.maximum(x, 0)\n  got: none\n"
         "  fix: saliency, smooth_grad or integrated_gradients, which need none"),
    ],
)  # fmt: skip
def test_messages(call, message):
    with pytest.raises(jc.ShapeError) as caught:
        call(lambda x: x.mean((1, 2)), jnp.ones((1, 4, 5, 3)))
    assert str(caught.value) == message


def test_a_class_out_of_range_inside_jit_is_nan():
    """Nobody can check it there; it must not be another class."""
    scores = jax.jit(target_scores)(jnp.ones((1, 3)), 7)
    assert np.isnan(scores).all()
