"""The net of the notes, counted by hand."""

import math

import chex
import jax
import pytest

from jaxconv.models import conv_pool, registry


def shapes(net, shape):
    """Parameters and state as shapes alone: nothing is drawn or compiled."""
    return jax.eval_shape(lambda: net.init(jax.random.key(0), shape))


def count(params):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def test_parameters_on_mnist_by_hand():
    params, _ = shapes(conv_pool(), (1, 28, 28, 1))
    convs = (5 * 5 * 1 + 1) * 20 + (5 * 5 * 20 + 1) * 40
    assert count(params) == convs + (4 * 4 * 40 + 1) * 100 + (100 + 1) * 10


def test_parameters_on_digits_by_hand():
    net = conv_pool(features=(8, 16), kernel_size=3, padding="same", hidden=(32, 16), dropout=0.5, batch_norm=True)
    params, state = shapes(net, (1, 8, 8, 1))
    convs = 9 * 8 + 9 * 8 * 16 + 2 * (8 + 16)  # no bias, but the norm's scale and offset
    assert count(params) == convs + (2 * 2 * 16 + 1) * 32 + (32 + 1) * 16 + (16 + 1) * 10
    assert count(state) == 2 * (8 + 16)


@pytest.mark.parametrize("options", [{}, {"dropout": 0.5}, {"batch_norm": True}, {"hidden": ()}, {"num_classes": 3}])
def test_logits(options):
    net = registry["conv_pool"](**options)
    params, state = shapes(net, (1, 28, 28, 1))
    x = jax.ShapeDtypeStruct([2, 28, 28, 1], "float32")

    def run(params, state, x):
        return net.apply(params, state, x, key=jax.random.key(0), train=True)

    logits, after = jax.eval_shape(run, params, state, x)
    assert (logits.shape, logits.dtype) == ((2, options.get("num_classes", 10)), "float32")
    chex.assert_trees_all_equal_structs(after, state)
