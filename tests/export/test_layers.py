"""Every layer, op, combinator and family of nets of the library as an ONNX model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export.run_onnx import check, operators
from layers.test_folding import trained
from models.families import FAMILIES, small
from support.table import TABLE

import jaxconv as jc

REFUSED = {"max_pool_with_indices max_unpool": "scatter of float32[n,4,30]", "dropout": "random_bits of key<fry>[]"}
"""Entries that ONNX cannot express, and the operation that is named."""


@pytest.mark.sampled
@pytest.mark.parametrize("entry", [e for e in TABLE if e.names not in REFUSED], ids=lambda entry: entry.names)
def test_every_layer(entry, rng):
    layer = entry.layer
    params, state = layer.init(jax.random.key(0), entry.shape)
    check(lambda x: layer.apply(params, state, x)[0], rng.normal(size=entry.shape).astype(np.float32), tolerance=1e-4)


@pytest.mark.parametrize("names", REFUSED)
def test_what_onnx_cannot_express(names):
    (entry,) = (e for e in TABLE if e.names == names)
    with pytest.raises(jc.ConfigError) as raised:
        jc.export.to_onnx(lambda x: entry.layer.apply({}, {}, x)[0], ("n", *entry.shape[1:]))
    assert f"\n  got: {REFUSED[names]}" in str(raised.value)


def folded(net, params, state, shape):
    """A net without its batch norms, as a function of images alone."""
    net, params, state = jc.fold_batch_norms(net, params, state, shape)
    return lambda x: net.apply(params, state, x)[0]


@pytest.mark.slow
@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family(name, fold, rng):
    """One image and three, near the largest output; nets with statistics of their own for each channel."""
    net, shape = small(name), (3, *FAMILIES[name].shape[1:])
    params, state = trained(net, shape, rng)
    fn = folded(net, params, state, shape) if fold else lambda x: net.apply(params, state, x)[0]
    x = rng.normal(size=shape).astype(np.float32)
    scale = float(jnp.abs(fn(x)).max())
    model = check(lambda x: fn(x) / scale, x, tolerance=1e-4)
    assert not {"Scan", "Loop", "If"} & {*operators(model)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet_cifar", "mobilenet_v2"])
def test_a_folded_net_is_a_short_graph(name, rng):
    """Convolutions, biases, activations and sums: nothing is left of the norms."""
    net, shape = small(name), (3, *FAMILIES[name].shape[1:])
    model = check(
        folded(net, *trained(net, shape, rng), shape), rng.normal(size=shape).astype(np.float32), tolerance=1e-3
    )
    assert not {"Sub", "Sqrt", "Mul"} & {*operators(model)}
