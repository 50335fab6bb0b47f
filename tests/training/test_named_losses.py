"""Losses by name, with class weights and label smoothing, tested against torch and a loop of Keras's focal loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.torch_or_skip import F, torch

from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv.training.losses import cross_entropy, focal
from jaxconv.training.named import loss_problems, losses, make_loss

N, C = 9, 5
EXAMPLES = [name for name in losses if name not in ("dice", "lovasz", "boundary")]  # means over examples
WEIGHTS = [0.5, 2.0, 0.0, 1.0, 1.5]


@pytest.fixture
def logits(rng):
    return rng.normal(0, 3, (N, C)).astype(np.float32)


@pytest.fixture
def hard(rng):
    return rng.integers(0, C, N)


def soften(labels, smoothing):
    one_hot = np.eye(C)[labels] if labels.ndim == 1 else labels
    return torch.tensor((1 - smoothing) * one_hot + smoothing / C)


def torchs(name, logits, labels, smoothing, weights):
    x, w = logits, torch.tensor(weights, dtype=torch.float64)
    target = soften(labels, smoothing)
    if name == "cross_entropy":
        labels = torch.tensor(labels)
        return F.cross_entropy(x, labels, weight=w, label_smoothing=smoothing, reduction="sum") / N
    if name == "bce":
        return F.binary_cross_entropy_with_logits(x, target, weight=w)
    if name == "mse":
        return (w * F.mse_loss(x, target, reduction="none")).mean()
    p = F.softmax(x, -1)  # keras.losses.CategoricalFocalCrossentropy(alpha=weights, gamma=2)
    return (w * (1 - p) ** 2 * -target * torch.log(p)).sum(-1).mean()


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("weights", [WEIGHTS, [1.0] * C])
def test_values_and_gradients(rng, logits, hard, assert_close, quick_jit, name, smoothing, soft, weights):
    labels = rng.dirichlet([1] * C, N) if soft else hard
    given = jnp.asarray(labels, jnp.float32 if soft else jnp.int32)
    x = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    loss = make_loss(name, smoothing=smoothing, class_weights=weights)
    value, gradient = quick_jit(jax.value_and_grad(loss))(jnp.asarray(logits), given, jnp.ones(N))
    expected = torchs(name, x, labels, smoothing, weights)
    expected.backward()
    assert_close(value, expected.detach().numpy())
    assert_close(gradient, x.grad.numpy())


@pytest.mark.parametrize("name", EXAMPLES)
def test_of_one_class_as_of_its_one_hot_label(logits, hard, name):
    for smoothing in (0.0, 0.1):
        loss = make_loss(name, smoothing=smoothing, class_weights=WEIGHTS)
        one, other = (loss(jnp.asarray(logits), y, jnp.ones(N)) for y in (jnp.asarray(hard), jnp.eye(C)[hard]))
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_no_weight_and_labels_outside_the_classes(logits, hard, name):
    loss = make_loss(name, class_weights=WEIGHTS)
    weights = np.ones(N, np.float32)
    weights[3:] = 0
    some = loss(jnp.asarray(logits), jnp.asarray(np.where(weights > 0, hard, C)), jnp.asarray(weights))
    np.testing.assert_allclose(some, loss(jnp.asarray(logits[:3]), jnp.asarray(hard[:3]), jnp.ones(3)), rtol=1e-6)
    assert np.isnan(loss(jnp.asarray(logits[:1]), jnp.array([C]), jnp.ones(1)))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 5.0])
def test_the_focal_loss_of_certain_examples_has_a_gradient(gamma):
    x = jnp.array([[200.0, 0.0], [-200.0, 0.0], [0.0, 0.0]])
    value, gradient = jax.value_and_grad(focal)(x, jnp.array([0, 0, 1]), gamma=gamma)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient[1], [-1 / 3, 1 / 3], rtol=1e-5)  # as of the cross-entropy
    if gamma == 0:
        np.testing.assert_allclose(value, cross_entropy(x, jnp.array([0, 0, 1])), rtol=1e-6)


def test_more_logits_than_classes_and_a_loss_of_the_users_own(tmp_path, monkeypatch):
    loss = make_loss(class_weights=[2.0, 2.0])
    assert loss(jnp.zeros([1, 4]), jnp.array([1]), jnp.ones(1)) == pytest.approx(2 * np.log(4))
    (tmp_path / "my_losses.py").write_text(
        "def linear(logits, labels, weights, slope: float = 1.0):\n"
        "    return slope * (logits.mean(-1) * weights).sum()\n"
    )
    monkeypatch.chdir(tmp_path)
    assert make_loss("my_losses:linear", {"slope": 2.0})(jnp.ones([3, 4]), None, jnp.ones(3)) == 6
    for options, key in [({"smoothing": 0.1}, "train.label_smoothing"), ({"class_weights": [1]}, "loss.class_weights")]:
        with pytest.raises(ConfigError) as caught:
            make_loss("my_losses:linear", **options)
        assert str(caught.value) == (f"{key} must be unset for loss.name=my_losses:linear, which has no such argument")


def test_problems():
    assert loss_problems("focale", {}) == [
        'loss.name: must be one of cross_entropy, bce, focal, mse, dice, lovasz, boundary, or "module:function"; '
        "got 'focale'; did you mean 'focal'?"
    ]
    assert loss_problems("focal", {"gamma": "2"}) == ["loss.gamma: must be a number, got '2'"]
    assert loss_problems("mse", {"labels": 2}) == ["loss.labels: mse takes no arguments"]
    with pytest.raises(ConfigError, match="gamma must be a number of at least 0, got -1"):
        focal(jnp.zeros([1, 2]), jnp.array([0]), gamma=-1)
    with pytest.raises(ShapeError) as caught:
        cross_entropy(jnp.zeros([1, 2]), jnp.array([0]), class_weights=jnp.ones(3))
    assert str(caught.value) == (
        "class_weights must be [C], one for each class\n  got: class_weights [3] for 2 classes"
    )
