"""Every op, layer and combinator in `shard_map` and on an explicit mesh: values and gradients of one device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from support.quick import QUICK
from support.table import TABLE

KEY = jax.random.key(3)
QUICK_ROWS = {"conv", "max_pool", "l2_pool", "ConvTranspose", "adjoint", "BatchNorm", "chain"}
ROWS = [
    pytest.param(entry, id=f"{entry.names}-{i}", marks=[] if entry.names in QUICK_ROWS else [pytest.mark.slow])
    for i, entry in enumerate(TABLE)
]
pytestmark = [pytest.mark.parametrize("entry", ROWS), pytest.mark.sampled]


def made(entry):
    """loss(params, x) of a layer, its parameters, and a batch of eight."""
    net = entry.layer
    shape = (8, *entry.shape[1:])
    params, state = net.init(jax.random.key(1), shape)
    x = jax.random.normal(jax.random.key(2), shape)

    def loss(params, x):
        y, _ = net.apply(params, state, x, key=KEY, train=True)
        return (y**2).sum() + jnp.sin(y).sum()

    return loss, params, x


def assert_alike(got, want):
    """Within rounding of the largest gradient: that of a bias before a norm is zero but for it."""
    largest = max(np.abs(v).max(initial=1e-3) for v in jax.tree.leaves(want[1:]))

    def near(a, b):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * largest)

    jax.tree.map(near, got, want)


def test_shard_map(entry, auto_mesh, quick_jit):
    """Each device's part is what one device computes of that part; parameters' gradients are summed once."""
    loss, params, x = made(entry)
    parts = [
        jax.jit(jax.value_and_grad(loss, (0, 1)), compiler_options=QUICK)(params, part) for part in jnp.split(x, 4)
    ]
    values, grads = [value for value, _ in parts], [grad for _, grad in parts]
    want = (
        sum(values),
        jax.tree.map(lambda *g: sum(g), *(dparams for dparams, _ in grads)),
        jnp.concatenate([dx for _, dx in grads]),
    )

    def implied(params, x):  # parameters that do not vary: JAX sums their gradients
        value, (dparams, dx) = jax.value_and_grad(loss, (0, 1))(params, x)
        return jax.lax.psum(value, "data"), dparams, dx

    def vary(v):
        return jax.lax.pcast(v, "data", to="varying")

    def explicit(params, x):  # parameters that vary: each device has a gradient of its own
        value, (dparams, dx) = jax.value_and_grad(loss, (0, 1))(jax.tree.map(vary, params), x)
        return *jax.lax.psum((value, dparams), "data"), dx

    mapped = [
        jax.shard_map(f, mesh=auto_mesh, in_specs=(P(), P("data")), out_specs=(P(), P(), P("data")))
        for f in (implied, explicit)
    ]
    one, other = quick_jit(lambda params, x: [f(params, x) for f in mapped])(params, x)
    assert_alike(one, want)
    assert_alike(other, want)


def test_explicit_mesh(entry, mesh, quick_jit):
    """A split batch on JAX's default mesh: the loss of the whole batch, gradients of the operands' own types."""
    loss, params, x = made(entry)
    want = quick_jit(jax.value_and_grad(loss, (0, 1)))(params, x)
    with jax.set_mesh(mesh):
        operands = jax.device_put(params, P()), jax.device_put(x, P("data"))
        got = quick_jit(jax.value_and_grad(loss, (0, 1)))(*operands)
        types = jax.tree.map(lambda v: str(jax.typeof(v)), (got[1], operands))
    assert types[0] == types[1]
    assert_alike(got, want)
