"""Auxiliary outputs: the gradient of a step against a hand-made sum, and prediction without them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxconv as jc
from jaxconv import models
from jaxconv.data import Batch
from jaxconv.layers.wrap import WithAuxiliary

ENCODER = {"name": "resnet", "blocks": [1, 1], "bottleneck": False, "width": 4}
NETS = {
    "fcn": lambda aux: models.fcn(3, encoder=ENCODER, aux=aux),
    "deeplabv3": lambda aux: models.deeplabv3(3, encoder=ENCODER, width=8, rates=(1, 2), aux=aux),
    "pspnet": lambda aux: models.pspnet(3, encoder=ENCODER, width=8, sizes=(1, 2), aux=aux),
}
SHAPE = (2, 17, 21, 3)


@pytest.fixture
def batch(rng):
    labels = rng.integers(0, 3, SHAPE[:3])
    return Batch(rng.normal(size=SHAPE).astype("f4"), labels, np.ones(2, "f4"))


@pytest.mark.parametrize(
    ("weight", "accumulate"),
    [(0.4, 1), *(pytest.param(*each, marks=pytest.mark.slow) for each in [(2.0, 1), (0.4, 2)])],
)
def test_the_gradient_is_that_of_the_sum(batch, weight, accumulate):
    """Of an auxiliary classifier at the first of two stages; the loss and both heads are written out here."""
    net, tx = NETS["fcn"](True), optax.sgd(1.0)
    train = jc.training.init_state(net, tx, jax.random.key(0), SHAPE)
    words = {"auxiliary": weight} if weight != 0.4 else {}
    sums = {"count": lambda outputs, labels, weights: weights.sum()}
    step = jax.jit(jc.training.make_step(net, tx, sums=sums, accumulate=accumulate, **words))
    after, metrics = step(train, batch)
    _, net_key = jax.random.split(jax.random.fold_in(train.key, train.step))

    def pixels(logits, labels):
        log_p = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(log_p, labels[..., None], -1).mean()

    def by_hand(params):
        total, state = 0.0, train.state
        for part in range(accumulate):
            key = net_key if accumulate == 1 else jax.random.fold_in(net_key, part)
            image, labels = batch.image[part::accumulate], batch.label[part::accumulate]
            (output, auxiliary), state = net.apply(params, state, image, key=key, train=True)
            total += pixels(output, labels) + weight * pixels(auxiliary, labels)
        return total / accumulate

    value, gradient = jax.jit(jax.value_and_grad(by_hand))(train.params)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    for old, new, own in zip(*map(jax.tree.leaves, (train.params, after.params, gradient)), strict=True):
        np.testing.assert_allclose(old - new, own, rtol=2e-4, atol=2e-5)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient["aux_classifier"])) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_prediction_is_the_program_without_it(name, batch):
    net, plain = NETS[name](True), NETS[name](False)
    params, state = net.init(jax.random.key(1), SHAPE)
    bare, own = plain.init(jax.random.key(1), SHAPE)
    assert params.keys() - bare.keys() == {"aux_classifier"}
    without = [{key: value for key, value in tree.items() if key != "aux_classifier"} for tree in (params, state)]
    jax.tree.map(np.testing.assert_array_equal, without, [bare, own])
    lowered = [
        jax.jit(lambda x, net=net, p=p, s=s: net.apply(p, s, x)[0]).lower(batch.image).as_text()
        for net, p, s in ((net, params, state), (plain, bare, own))
    ]
    assert lowered[0] == lowered[1]
    found, new = net.apply(params, state, batch.image, key=jax.random.key(2), train=True)
    assert isinstance(found, WithAuxiliary)
    assert found.output.shape == found.auxiliary.shape == (*SHAPE[:3], 3)
    assert (new["aux_classifier"]["1"]["mean"] != state["aux_classifier"]["1"]["mean"]).any()


def test_other_parts_casts_and_surgery(batch):
    net = models.fcn(3, encoder=ENCODER, aux="maxpool")
    params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), SHAPE))
    assert params["aux_classifier"]["0"]["kernel"].shape == (3, 3, 4, 1)
    cast = jc.cast(net, jnp.bfloat16)
    key = jax.random.key(0)
    found = jax.eval_shape(lambda p, s: cast.apply(p, s, batch.image, key=key, train=True)[0], params, state)
    assert isinstance(found, WithAuxiliary)
    assert found.auxiliary.dtype == jnp.float32
    frozen = jc.layers.freeze_statistics(net)
    found = jax.eval_shape(lambda p, s: frozen.apply(p, s, batch.image, key=key, train=True)[0], params, state)
    assert isinstance(found, WithAuxiliary)
    assert dataclasses.replace(net).parts.keys() == {"backbone", "classifier", "aux_classifier"}
