"""The small residual net, counted by hand."""

import math

import jax
import pytest

from jaxconv.analysis.summary import summary
from jaxconv.models import registry


def shapes(net, shape):
    return jax.eval_shape(lambda: net.init(jax.random.key(0), shape))


def test_parameters_and_maps_by_hand():
    net = registry["small_residual"](stem=8, features=[16, 32], blocks=[1, 2])
    params, state = shapes(net, (1, 32, 32, 3))
    kernels = 9 * (3 * 8 + 8 * 16 + 16 * 16 + 16 * 32 + 2 * 32 * 32)
    norms = 8 + 2 * 16 + 3 * 32
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == kernels + 2 * norms + 32 * 10
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state)) == 2 * norms
    table = {row.path: row.output for row in summary(net, (1, 32, 32, 3)).rows}
    assert table["stem/max_pool0"] == (1, 16, 16, 8)
    assert table["stage0/residual0/body/relu0"] == (1, 8, 8, 16)
    assert table["stage1/residual1/body/relu0"] == (1, 4, 4, 32)
    assert table["head"] == (1, 10)


@pytest.mark.parametrize(("shape", "classes"), [((2, 28, 28, 1), 10), ((1, 33, 40, 3), 100)])
def test_other_images_and_classes(shape, classes):
    net = registry["small_residual"](classes, stem=4, features=[4, 8, 8], blocks=[0, 1, 0])
    params, state = shapes(net, shape)
    x = jax.ShapeDtypeStruct(shape, "float32")
    logits, _ = jax.eval_shape(lambda params, state, x: net.apply(params, state, x, train=True), params, state, x)
    assert logits.shape == (shape[0], classes)


def test_a_stage_needs_both_numbers():
    with pytest.raises(ValueError) as caught:
        registry["small_residual"](features=[8], blocks=[1, 1])
    assert str(caught.value) == "features and blocks must have one entry for each stage, got [8] and [1, 1]"
