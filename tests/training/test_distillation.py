"""Distillation against torch's divergence."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.torch_or_skip import F, torch

import jaxconv as jc
from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv.data import Batch
from jaxconv.training import init_state, make_step
from jaxconv.training.distillation import distilled, teacher_divergence
from jaxconv.training.losses import cross_entropy


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_values_and_gradients_are_torchs(rng, assert_close, quick_jit, alpha, temperature):
    student, teacher = rng.normal(0, 3, (2, 7, 5)).astype(np.float32)
    labels = rng.integers(0, 5, 7)
    x, t = torch.tensor(student, dtype=torch.float64, requires_grad=True), torch.tensor(teacher, dtype=torch.float64)
    logs = F.log_softmax(x / temperature, -1), F.softmax(t / temperature, -1)
    soft = F.kl_div(*logs, reduction="batchmean") * temperature**2
    expected = alpha * soft + (1 - alpha) * F.cross_entropy(x, torch.tensor(labels))
    expected.backward()
    loss = distilled(cross_entropy, alpha, temperature)
    value, gradient = quick_jit(jax.value_and_grad(loss))(student, (labels, teacher), np.ones(7, np.float32))
    assert_close(value, expected.detach().numpy())
    assert_close(gradient, x.grad.numpy())


def test_edges():
    sure = jnp.array([[0.0, -jnp.inf]])
    value, gradient = jax.value_and_grad(teacher_divergence)(jnp.zeros([1, 2]), sure)
    assert value == pytest.approx(np.log(2))
    np.testing.assert_allclose(gradient, [[-0.5, 0.5]])
    assert teacher_divergence(jnp.zeros([1, 2]), sure, jnp.zeros(1)) == 0
    with pytest.raises(ShapeError, match="student \\[1, 3\\], teacher \\[1, 2\\]"):
        teacher_divergence(jnp.zeros([1, 3]), sure)
    with pytest.raises(ConfigError, match=r"distill\.alpha must be in \[0, 1\]"):
        distilled(cross_entropy, 1.5)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_teacher_sees_the_augmented_images(rng, accumulate):
    """A step with a teacher is one with its answers as soft labels, where alpha is 1 and the temperature too."""
    net = jc.chain(jc.flatten, jc.Dense(3))
    params, state = net.init(jax.random.key(1), (1, 2, 2, 1))
    train = init_state(net, optax.sgd(0.5), jax.random.key(0), (1, 2, 2, 1))
    batch = Batch(rng.normal(size=(6, 2, 2, 1)).astype(np.float32), rng.integers(0, 3, 6), np.ones(6, np.float32))

    def doubled(key, batch):
        return batch._replace(image=2 * batch.image)

    def teacher(images):
        return net.apply(params, state, images)[0]

    def shifted(images):
        return images - 1

    options = {"augment": doubled, "prepare": shifted, "accumulate": accumulate}
    step = make_step(net, optax.sgd(0.5), loss=distilled(cross_entropy, 1.0, 1.0), teacher=teacher, **options)
    found, metrics = jax.jit(step)(train, batch)
    soft = batch._replace(label=jax.nn.softmax(teacher(2 * batch.image)))
    expected, _ = jax.jit(make_step(net, optax.sgd(0.5), **options))(train, soft)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found.params, expected.params)
    own = net.apply(train.params, train.state, shifted(2 * batch.image))[0].argmax(-1)
    assert metrics["correct"] == (own == batch.label).sum()
