"""Which weights stand beside a flattened image, read off the program; the orders by loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.port.weights.leaves import leaves_of


def by_loops(*maps):
    """For each place of [*spatial, C] in a row its place in [C, *spatial] in a row."""
    *spatial, channels = maps
    order = []
    for cell in np.ndindex(*spatial):
        for channel in range(channels):
            place = channel
            for n, i in zip(spatial, cell, strict=True):
                place = place * n + i
            order.append(place)
    return order


def orders(net, *shape):
    """{path: {axis: order}} of the leaves that have one."""
    return {leaf.path: {a: o.tolist() for a, o in leaf.orders.items()} for leaf in leaves_of(net, shape) if leaf.orders}


def turned(x):
    return jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)


@pytest.mark.parametrize(
    ("shape", "maps"), [((2, 7, 6, 3), (5, 4, 4)), ((1, 9, 2), (7, 4)), ((2, 4, 5, 3, 1), (2, 3, 1, 4))]
)
def test_rows_behind_a_flatten(shape, maps):
    net = jc.chain(jc.Conv(4, (3,) * (len(shape) - 2)), jax.nn.relu, jc.flatten, jc.Dense(5), jax.nn.relu, jc.Dense(3))
    assert orders(net, *shape) == {"dense0/kernel": {0: by_loops(*maps)}}


def test_all_that_runs_along_the_row():
    net = jc.chain(jc.Conv(4, 3), jc.flatten, jc.BatchNorm(), jc.Dropout(0.5), jax.nn.gelu, jc.LayerNorm(), jc.Dense(2))
    order = {0: by_loops(3, 2, 4)}
    alike = [f"{norm}0/{leaf}" for norm in ("batch_norm", "layer_norm") for leaf in ("scale", "bias")]
    alike += ["batch_norm0/mean", "batch_norm0/var", "dense0/kernel"]
    assert orders(net, 1, 5, 4, 2) == dict.fromkeys(alike, order) | {"dense0/kernel": order}


def test_columns_before_maps_are_unfolded():
    def unfold(x):
        return x.reshape(x.shape[0], 2, 3, 4)

    net = jc.chain(jc.Dense(24), jax.nn.relu, unfold, jc.ConvTranspose(2, 3))
    order = by_loops(2, 3, 4)
    assert orders(net, 2, 5) == {"dense0/kernel": {1: order}, "dense0/bias": {0: order}}


def test_a_way_back_through_flatten_and_dense():
    down = jc.Dense(3)
    up = jc.adjoint(down, (1, 12))
    net = jc.chain(jc.flatten, down=down, up=up, maps=lambda x: x.reshape(-1, 3, 2, 2), out=jc.Conv(1, 2))
    order = by_loops(3, 2, 2)
    assert orders(net, 1, 3, 2, 2) == {"down/kernel": {0: order}, "up/kernel": {0: order}, "up/bias": {0: order}}


def test_rows_put_together():
    beside = jc.branch(jc.chain(jc.Conv(2, 2), jc.flatten), jc.global_avg_pool, jc.flatten)
    first, last = by_loops(2, 1, 2), by_loops(3, 2, 3)
    want = [*first, *range(4, 7), *(7 + i for i in last)]
    assert orders(jc.chain(beside, jc.Dense(2)), 1, 3, 2, 3) == {"dense0/kernel": {0: want}}


@pytest.mark.parametrize(
    "net",
    [
        jc.chain(jc.Conv(4, 3), jc.global_avg_pool, jc.Dense(2)),
        jc.chain(jc.Conv(4, 3), jc.AdaptiveAvgPool(1), jc.flatten, jc.Dense(2)),
        jc.chain(jc.Conv(4, 3), turned, jc.Dense(2)),
        jc.chain(jc.global_avg_pool, jc.Dense(8), jc.GroupNorm(2), jc.Dense(2)),
        jc.chain(
            jc.global_avg_pool, jc.Dense(24), lambda x: x.reshape(-1, 4, 2, 3).transpose(0, 2, 3, 1), jc.Conv(1, 2)
        ),
        jc.chain(jc.global_avg_pool, jc.Dense(8), lambda x: jax.nn.softmax(x.reshape(-1, 2, 4), 1), lambda x: x.sum(1)),
    ],
    ids=[
        "pooled",
        "pooled to one cell",
        "turned by hand",
        "a norm of groups",
        "unfolded by hand",
        "a softmax of pairs",
    ],
)
def test_what_has_torchs_order_already(net):
    assert orders(net, 2, 6, 5, 3) == {}
