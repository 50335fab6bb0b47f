"""ShapeError: its kinds and numbers, for programs; and that it survives pickling and copying."""

import copy
import pickle
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv._base.errors import Kind

X = np.zeros((1, 8, 8, 3), np.float32)
K = np.zeros((3, 3, 3, 4), np.float32)


def net():
    return jc.chain(jc.Conv(4, 3), jc.flatten, jc.Dense(2))


def applied(x):
    params, state = net().init(jax.random.key(0), X)
    return net().apply(params, state, x)


def with_sharded_rows():
    with jax.set_mesh(jax.make_mesh((1,), ("data",))):
        return jax.jit(jc.conv)(jax.device_put(X, jax.P(None, "data")), K)


CASES = {
    "argument": (lambda: jc.conv(X, K, stride=0), {}),
    "channels": (lambda: jc.conv(X[..., :2], K), {"expected": 3, "found": 2}),
    "dtype": (lambda: jc.dropout(np.zeros(3, int), 0.5, jax.random.key(0)), {}),
    "empty": (lambda: jc.conv(X[:, :0], K), {"axis": 0}),
    "inputs": (lambda: applied(np.zeros((1, 9, 8, 3))), {"expected": 144, "found": 168}),
    "key": (lambda: jc.dropout(X, 0.5, None), {}),
    "layout": (lambda: jc.conv(np.zeros((1, 3, 8, 8)), K), {"expected": 3, "found": 8}),
    "padding": (
        lambda: jc.pad(X, ((0, 0), (9, 1)), (3, 3), padding_mode="wrap"), {"axis": 1, "n": 8, "padding": (9, 1)},
    ),
    "params": (lambda: net().apply({}, {}, X), {}),
    "path": (lambda: jc.replace(net(), "conv7", jnp.tanh), {}),
    "rank": (lambda: jc.conv(X[0, 0], K), {}),
    "shape": (lambda: jc.residual(jc.Conv(3, 3)).init(jax.random.key(0), X), {}),
    "sharding": (with_sharded_rows, {}),
    "window": (
        lambda: jc.max_pool(X, (3, 5), stride=2, padding=((0, 0), (1, 0)), dilation=(1, 3)),
        {"axis": 1, "n": 8, "kernel_size": 5, "stride": 2, "padding": (1, 0), "dilation": 3},
    ),
}  # fmt: skip


def test_every_kind_has_a_case():
    assert set(CASES) == set(typing.get_args(Kind))


@pytest.mark.parametrize("kind", CASES)
def test_kinds_and_numbers(kind):
    call, numbers = CASES[kind]
    with pytest.raises(jc.ShapeError) as caught:
        call()
    assert (caught.value.kind, caught.value.numbers) == (kind, numbers)


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_copy_is_the_same_error(twin):
    with pytest.raises(jc.ShapeError) as caught:
        jc.chain(body=net()).init(jax.random.key(0), (1, 2, 2, 3))
    error = caught.value
    error.add_note("a note")
    again = twin(error)
    assert type(again) is jc.ShapeError
    assert str(again) == str(error)
    assert str(again).startswith("at body/conv0: conv: a kernel of 3 must fit")
    assert (again.kind, again.numbers, again.path, again.__notes__) == ("window", error.numbers, error.path, ["a note"])


def test_the_name_in_a_traceback_is_the_one_to_catch_it_by():
    for error in (jc.ShapeError, jc.ConfigError, jc.DataError):
        assert error.__module__ == "jaxconv"
        assert issubclass(error, ValueError)
