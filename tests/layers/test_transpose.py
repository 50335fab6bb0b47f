"""adjoint: the way back through a layer, with its own weights or the layer's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc

pytestmark = pytest.mark.sampled

LAYERS = {
    "conv": (jc.Conv(6, 3, stride=2, padding="same"), (2, 7, 8, 4)),
    "grouped": (jc.Conv(6, (3, 2), stride=(2, 3), groups=2, dilation=2, padding_mode="wrap", padding=1), (2, 9, 8, 4)),
    "depthwise": (jc.DepthwiseConv(3, multiplier=2, bias=False), (2, 7, 8, 4)),
    "local": (jc.LocalConv(3, 3, stride=2), (2, 7, 8, 4)),
    "transposed": (jc.ConvTranspose(3, 3, stride=2), (2, 4, 5, 4)),
    "dense": (jc.Dense(6), (2, 7)),
}


def quick(f):
    """f() in one program, compiled with little optimization."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})()


@pytest.mark.parametrize("name", LAYERS)
def test_it_is_the_transposed_matrix_and_restores_the_shape(name, rng, x64):
    layer, shape = LAYERS[name]
    params, state = layer.init(jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float64))
    x = rng.normal(size=shape)
    zero = jax.tree.map(lambda v: v, params) | ({"bias": jnp.zeros_like(params["bias"])} if "bias" in params else {})
    y = quick(lambda: layer.apply(zero, state, x)[0])
    g = rng.normal(size=y.shape)
    back = quick(lambda: jc.adjoint(layer, shape, tied=True).apply(params, state, g)[0])
    assert back.shape == shape
    np.testing.assert_allclose(jnp.vdot(back, x), jnp.vdot(g, y), rtol=1e-10)
    own = jc.adjoint(layer, shape)
    born, _ = own.init(jax.random.key(3), g)
    assert born["kernel"].shape == params["kernel"].shape
    assert born["bias"].shape == shape[-1:]
    moved = quick(lambda: own.apply({**born, "bias": born["bias"] + 2.5}, {}, g)[0] - own.apply(born, {}, g)[0])
    np.testing.assert_allclose(moved, 2.5)


def autoencoder(tied):
    encode = jc.Conv(8, 3, stride=2)
    decode = jc.adjoint(encode, (1, 12, 12, 1), tied=tied)
    if tied:
        return jc.compose("tied", {"code": encode}, lambda call, x: call("code", jnp.tanh(call("code", x)), by=decode))
    return jc.chain(encode, jnp.tanh, decode)


@pytest.mark.slow
def test_a_tied_autoencoder_has_one_kernel_and_both_directions_train_it():
    net = autoencoder(tied=True)
    x = jax.random.normal(jax.random.key(0), (4, 12, 12, 1))
    params, state = net.init(jax.random.key(1), x)
    assert sum(v.size for v in jax.tree.leaves(params)) == 3 * 3 * 8 + 8
    assert net.apply(params, state, x)[0].shape == x.shape
    untied = autoencoder(tied=False)
    twin = {
        "conv0": params["code"],
        "tanh0": {},
        "adjoint0": {"kernel": params["code"]["kernel"], "bias": jnp.zeros(1)},
    }
    empty = {"conv0": {}, "tanh0": {}, "adjoint0": {}}

    def loss(model, state):
        return lambda p: jnp.mean((model.apply(p, state, x)[0] - x) ** 2)

    both = quick(lambda: jax.grad(loss(net, state))(params)["code"]["kernel"])
    apart = quick(lambda: jax.grad(loss(untied, empty))(twin))
    np.testing.assert_allclose(both, apart["conv0"]["kernel"] + apart["adjoint0"]["kernel"], rtol=1e-4, atol=1e-6)


def test_a_borrower_needs_a_lender_that_was_called():
    back = jc.adjoint(jc.Conv(8, 3), (1, 12, 12, 1), tied=True)
    net = jc.compose("w", {"code": jc.Conv(8, 3)}, lambda call, x: call("code", x, by=back))
    with pytest.raises(jc.ShapeError, match="a part must be called itself before another layer may run on its params"):
        net.init(jax.random.key(0), (1, 10, 10, 8))
