"""The autoencoder: its way back is the transpose of its way in, and all of it equals torch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.quick import QUICK

import jaxconv as jc
from jaxconv import models


def drawn(net, shape, rng):
    params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), shape))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32) * 0.5, params), state


def count(net, shape):
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(lambda: net.init(jax.random.key(0), shape))[0]))


def test_parameters_by_hand():
    """28×28×1 goes through 14×14×16 and 7×7×32 to 32 numbers."""
    kernels, dense = 9 * (1 * 16 + 16 * 32), 7 * 7 * 32 * 32
    there, back = 16 + 32 + 32, 7 * 7 * 32 + 16 + 1
    assert count(models.autoencoder(), (1, 28, 28, 1)) == 2 * (kernels + dense) + there + back
    assert count(models.autoencoder(tied=True), (1, 28, 28, 1)) == kernels + dense + there + back


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True])
def test_values_and_gradients_equal_torch(tied, rng):
    torch = pytest.importorskip("torch")
    from models.torch_nets.small import autoencode

    net, shape = models.autoencoder(6, widths=(4, 5), tied=tied), (2, 9, 12, 2)  # to 5×6 and 3×3
    params, state = drawn(net, shape, rng)
    x = rng.normal(size=shape).astype(np.float32)
    along = rng.normal(size=shape).astype(np.float32)

    def value(params, x):
        y = net.apply(params, state, x)[0]
        return jnp.vdot(y, along), y

    grads, y = jax.jit(jax.grad(value, argnums=(0, 1), has_aux=True), compiler_options=QUICK)(params, x)
    theirs = jax.tree.map(lambda leaf: torch.tensor(leaf, requires_grad=True), (params, x))
    want = autoencode(*theirs, tied)
    (want * torch.tensor(along)).sum().backward()
    assert y.shape == shape
    np.testing.assert_allclose(y, want.detach(), rtol=0, atol=1e-5 * float(want.detach().abs().max()))
    for (path, got), tensor in zip(jax.tree.leaves_with_path(grads), jax.tree.leaves(theirs), strict=True):
        want = tensor.grad.numpy()
        assert np.linalg.norm(got - want) <= 1e-4 * np.linalg.norm(want), jax.tree_util.keystr(path)


def test_one_code_layer_is_its_own_adjoint(rng):
    """<code(x), c> = <x, back(c)>, the biases apart: the tied way back is the transpose."""
    net = models.autoencoder(5, widths=(), tied=True)
    params, state = drawn(net, (1, 3, 4, 2), rng)
    params = {
        **params,
        "code": {**params["code"], "bias": np.zeros(5, np.float32)},
        "decode_code": {"bias": np.zeros(24, np.float32)},
    }
    x = rng.normal(size=(1, 3, 4, 2)).astype(np.float32)
    matrix = params["code"]["kernel"]
    want = (x.reshape(1, 24) @ matrix @ matrix.T).reshape(x.shape)
    np.testing.assert_allclose(net.apply(params, state, x)[0], want, rtol=1e-4, atol=1e-5)


def test_its_encoder_is_a_backbone():
    net = models.autoencoder(6, upto="code")
    params, state = net.init(jax.random.key(0), (1, 11, 13, 3))
    assert list(params) == ["encode1", "encode2", "code"]
    assert net.apply(params, state, jnp.ones((4, 11, 13, 3)))[0].shape == (4, 6)


def test_another_size_than_init_saw_is_refused():
    net = models.autoencoder(6)
    params, state = net.init(jax.random.key(0), (1, 12, 12, 1))
    with pytest.raises(jc.ShapeError, match="dense needs 288 inputs"):
        net.apply(params, state, jnp.ones((1, 28, 28, 1)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.autoencoder(0), "features must be ≥ 1\n  got: features=0"),
        (
            lambda: models.autoencoder(upto="cod"),
            "autoencoder has encode1, encode2, code, decode_code, decode2, decode1\n"
            "  got: path 'cod'; did you mean 'code'?",
        ),
    ],
)
def test_messages(call, message):
    with pytest.raises(jc.ShapeError) as caught:
        call()
    assert str(caught.value) == message
