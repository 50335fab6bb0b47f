"""Adversarial examples: equal to a loop in torch, within the ball and the range, and harmful to a trained net."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.torch_or_skip import F, torch

import jaxconv as jc
from jaxconv.explain import fgsm, pgd

LABELS = np.array([4, 0, 2])


def torch_gradient(module, images, sign):
    images = images.clone().requires_grad_()
    (sign * F.cross_entropy(module(images), torch.tensor(LABELS), reduction="sum")).backward()
    return images.grad


@pytest.mark.parametrize("targeted", [False, True])
def test_fgsm_equals_torch(pair, targeted, quick_jit, ours):
    got = quick_jit(lambda x: fgsm(pair.f, x, LABELS, epsilon=0.1, low=-1, high=1.5, targeted=targeted))(pair.x)
    slope = torch_gradient(pair.module, pair.images, -1 if targeted else 1)
    want = ours((pair.images + 0.1 * slope.sign()).clamp(-1, 1.5))
    clear = np.abs(ours(slope)) > 1e-5 * float(slope.abs().max())  # elsewhere rounding decides the sign
    np.testing.assert_allclose(np.asarray(got)[clear], want[clear], atol=1e-6)
    assert clear.mean() > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["inf", "2"])
def test_pgd_equals_a_loop_in_torch(pair, norm, quick_jit, assert_close, ours):
    epsilon, length, images = (0.05, 0.02, pair.images) if norm == "inf" else (2.0, 0.7, pair.images)
    y = images
    for _ in range(4):
        g = torch_gradient(pair.module, y, 1)
        if norm == "inf":
            d = (y + length * g.sign() - images).clamp(-epsilon, epsilon)
        else:
            d = y + length * g / g.flatten(1).norm(dim=1)[:, None, None, None] - images
            d = d * (epsilon / d.flatten(1).norm(dim=1).clamp(min=epsilon))[:, None, None, None]
        y = (images + d).clamp(-1, 2)
    words = {"epsilon": epsilon, "step_size": length, "steps": 4, "norm": norm, "low": -1, "high": 2}
    got = np.asarray(quick_jit(lambda x: pgd(pair.f, x, LABELS, **words))(pair.x))
    wrong = np.abs(got - ours(y)) > 1e-4
    assert wrong.mean() < (0.01 if norm == "inf" else 0.001)  # rounding decides the sign of a gradient of almost 0


@pytest.fixture(scope="module")
def digits():
    """A net trained on 8×8 digits: f of images in 0..1, test images and labels."""
    found = jc.data.load("digits")
    net = jc.chain(jc.Conv(8, 3, padding="same"), jax.nn.relu, jc.MaxPool(2), jc.flatten, jc.Dense(10))
    tx = optax.adamw(1e-2)
    train = jc.training.init_state(net, tx, jax.random.key(0), (1, 8, 8, 1))
    step = jax.jit(jc.training.make_step(net, tx, prepare=lambda images: images / found.peak))
    for batch in jc.training.shuffled_batches(found.train, 64, seed=0, steps=range(120)):
        train, _ = step(train, batch)
    images = jnp.asarray(found.test.images[:200], jnp.float32) / found.peak
    return lambda x: net.apply(train.params, train.state, x)[0], images, jnp.asarray(found.test.labels[:200])


def accuracy(f, x, labels):
    return float((f(x).argmax(-1) == labels).mean())


@pytest.mark.slow
def test_small_perturbations_within_the_ball_and_the_range_lower_the_accuracy(digits, quick_jit):
    f, x, labels = digits
    before = accuracy(f, x, labels)
    assert before > 0.9
    key, size = jax.random.key(0), 0.1
    attacks = {
        "fgsm": lambda x: fgsm(f, x, labels, epsilon=size),
        "pgd": lambda x: pgd(f, x, labels, epsilon=size),
        "pgd from noise": lambda x: pgd(f, x, labels, epsilon=size, key=key),
        "pgd 2": lambda x: pgd(f, x, labels, epsilon=0.8, norm="2", key=key),
    }
    found = {}
    for name, attack in attacks.items():
        y = np.asarray(quick_jit(attack)(x))
        found[name] = accuracy(f, y, labels)
        d = y - np.asarray(x)
        assert y.min() >= 0, name
        assert y.max() <= 1, name
        if name == "pgd 2":
            assert np.sqrt((d**2).sum((1, 2, 3))).max() <= 0.8 * (1 + 1e-5)
        else:
            assert np.abs(d).max() <= size * (1 + 1e-5), name
    assert found["fgsm"] < before - 0.2, found
    assert found["pgd"] <= found["fgsm"], found
    assert found["pgd 2"] < before - 0.2, found
    noise = jnp.clip(x + size * jax.random.rademacher(key, x.shape), 0, 1)
    assert accuracy(f, noise, labels) > before - 0.1  # it is the direction, not the size


@pytest.mark.slow
def test_a_targeted_attack_reaches_its_target(digits, quick_jit):
    f, x, labels = digits
    wanted = (labels + 1) % 10
    y = quick_jit(lambda x: pgd(f, x, wanted, epsilon=0.25, steps=20, targeted=True))(x)
    assert accuracy(f, y, wanted) > 0.5
    assert accuracy(f, x, wanted) < 0.1


@pytest.mark.slow
def test_a_random_start_fills_the_ball(rng):
    """Before a step of no length: uniform in the cube, and in the ball, whose radius r has r^D uniform."""
    x, key = jnp.zeros((500, 2, 1)), jax.random.key(1)
    words = {"epsilon": 0.5, "steps": 1, "step_size": 0.0, "key": key, "low": -9, "high": 9}
    cube = np.asarray(pgd(lambda x: x.sum(1) * jnp.ones(3), x, 0, **words))
    assert np.abs(np.sort(cube.ravel()) - np.linspace(-0.5, 0.5, 1000)).max() < 0.05
    ball = np.asarray(pgd(lambda x: x.sum(1) * jnp.ones(3), x, 0, norm="2", **words))
    shares = np.sort((ball**2).sum((1, 2))) / 0.25
    assert np.abs(shares - np.linspace(0, 1, 500)).max() < 0.1


@pytest.mark.slow
def test_ranges_and_sizes_of_each_channel(rng):
    x = jnp.asarray(rng.uniform(0, 1, (2, 4, 4, 3)), jnp.float32)
    size, low, high = np.array([0.0, 0.1, 5.0]), np.array([0, 0, -1.0]), np.array([1, 1, 2.0])
    d = np.asarray(fgsm(lambda x: x.mean((1, 2)), x, 1, epsilon=size, low=low, high=high)) - np.asarray(x)
    np.testing.assert_allclose(np.abs(d)[..., 0], 0, atol=1e-6)
    assert np.abs(d)[..., 1].max() <= 0.1 + 1e-6
    np.testing.assert_allclose((x + d)[..., 2], 2, atol=1e-6)


@pytest.mark.slow
def test_no_image():
    for attack in (fgsm, pgd):
        assert attack(lambda x: x.mean((1, 2)), jnp.zeros((0, 4, 4, 3)), 1, epsilon=0.1).shape == (0, 4, 4, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, x: pgd(f, x, 1, epsilon=1, norm="l2"), "norm must be one of inf, 2\n  got: 'l2'; did you mean '2'?"),
        (lambda f, x: pgd(f, x, 1, epsilon=1, steps=0), "steps must be ≥ 1\n  got: steps=0"),
        (lambda f, x: pgd(f, x, 1, epsilon=-0.5), "epsilon must be ≥ 0\n  got: epsilon=-0.5"),
        (lambda f, x: fgsm(f, x, 1, epsilon=-1), "epsilon must be ≥ 0\n  got: epsilon=-1"),
        (lambda f, x: fgsm(f, x, 3, epsilon=1), "target must be one of 3 classes: 0 to 2\n  got: 3"),
        (lambda f, x: fgsm(f, x, 1, epsilon=np.ones(2)), "epsilon must broadcast to x (1, 4, 4, 3)\n  got: (2,)"),
        (lambda f, x: fgsm(f, x[0], 1, epsilon=1),
         "the function must return class scores [N, K]\n  got: outputs (4,)\n"
         "  fix: target=lambda y: …, which returns one score for each input"),
    ],
)  # fmt: skip
def test_messages(call, message):
    with pytest.raises(jc.ShapeError) as caught:
        call(lambda x: x.mean((1, 2)), jnp.ones((1, 4, 4, 3)))
    assert str(caught.value) == message
