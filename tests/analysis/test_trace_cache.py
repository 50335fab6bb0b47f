"""Layers traced once for all their copies: the same table as without, and no layer taken for another."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.table import COMBINATORS, LAYERS, OPS

import jaxconv as jc
from jaxconv.analysis import summary as module
from jaxconv.analysis.summary import summary
from jaxconv.analysis.trace_cache import key_of, shapes_only
from jaxconv.layers.layer import Layer, lift

relu = jax.nn.relu


def numbers(net, shape, train):
    found = summary(net, shape, train=train)
    memory = (found.peak_bytes, found.peak_at, found.training.kept, found.training.peak)
    return found.rows, found.parameters, found.notes, memory


def held_to_every_trace(net, shape, monkeypatch, modes=(False, True)):
    once = [numbers(net, shape, train) for train in modes]
    with monkeypatch.context() as patch:
        patch.setattr(module, "shapes_only", lambda net: net)
        assert once == [numbers(net, shape, train) for train in modes]


def deep():
    def block(features, stride=1):
        body = jc.chain(
            jc.Conv(features, 3, stride=stride, padding=1, bias=False), jc.BatchNorm(), relu, jc.Dropout(0.1)
        )
        return jc.residual(body, None if stride == 1 else jc.Conv(features, 1, stride=stride))

    twice = jc.compose("twice", {"half": jc.BatchNorm()}, lambda call, x: call("half", jnp.tanh(call("half", x))))
    tail = jc.remat(jc.chain(jc.Conv(4, 3, padding=1), jc.GroupNorm(2)))
    return jc.chain(jc.Conv(4, 3, padding=1), block(4), block(4), block(8, 2), twice, tail, jc.repeat(block(4), 2),
                    jc.flatten, head=jc.Dense(3))  # fmt: skip


@pytest.mark.slow
def test_a_deep_net_has_the_same_numbers(monkeypatch):
    held_to_every_trace(deep(), (2, 8, 8, 3), monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("entry", OPS + LAYERS + COMBINATORS, ids=lambda entry: entry.names)
def test_every_layer_has_the_same_numbers(entry, monkeypatch):
    held_to_every_trace(entry.layer, entry.shape, monkeypatch)


def test_copies_share_a_trace_and_others_do_not(monkeypatch):
    traced = []

    def watched(features):
        inner = jc.Dense(features)

        def apply(params, state, x, *, key=None, train=False):
            traced.append((features, x.shape))
            return inner.apply(params, state, x, key=key, train=train)

        return Layer("watched", inner.init, apply)

    traced_layers = [watched(4), watched(4), watched(4), watched(3), watched(4)]
    found = summary(jc.chain(*traced_layers), (1, 4))
    assert [row.parameters for row in found.rows] == [20, 20, 20, 15, 16]
    assert set(traced) == {(4, (1, 4)), (3, (1, 4)), (4, (1, 3))}


def test_nets_that_hold_arrays_are_left_alone(monkeypatch):
    weights = jnp.ones((4, 3))
    layers = [lift(lambda x: x @ weights), lift(np.ones(3).__add__), Layer("own", jc.Dense(3).init, _Call(weights))]
    for layer in layers:
        assert shapes_only(layer) is layer
    net = jc.chain(layers[0], jc.Dense(2))
    assert summary(net, (1, 4)).parameters == 12 + 8
    held_to_every_trace(net, (1, 4), monkeypatch)


class _Call:
    def __init__(self, weights):
        self.weights = weights


def settings(value):
    return lambda x: (x, value)


class _Loop:
    pass


def test_keys_are_alike_only_for_the_same_code_on_the_same_settings():
    same = [
        lambda: settings(3),
        lambda: settings((1, "same", None)),
        lambda: settings({"a": [1.5, True]}),
        lambda: settings(settings(settings(2))),
        lambda: functools.partial(settings, value=(1, 2)),
        lambda: settings(jnp.float32),
        lambda: settings(relu),
        lambda: jc.Conv(3, (3, 5), stride=2, padding="same", groups=1).apply,
        lambda: jc.GroupNorm(2).init,
    ]
    keys = [key_of(make()) for make in same]
    assert keys == [key_of(make()) for make in same]
    assert len(set(keys)) == len(keys)
    for one, other in [
        (settings(1), settings(True)),
        (settings(1), settings(1.0)),
        (settings(0.0), settings(-0.0)),
        (settings((1, 2)), settings([1, 2])),
        (settings({"a": 1, "b": 2}), settings({"b": 2, "a": 1})),
        (settings(_Loop()), settings(_Loop())),
        (jc.Conv(3, 3).apply, jc.Conv(3, 3, padding=1).apply),
        (jc.Dense(3).init, jc.Dense(3, bias=False).init),
    ]:
        assert key_of(one) != key_of(other)


def test_a_key_of_what_holds_itself_ends():
    def loop(n):
        return loop(n - 1)

    assert hash(key_of(loop)) == hash(key_of(loop))
    layer = Layer("loop", jc.Dense(3).init, loop)
    assert shapes_only(layer) is layer
