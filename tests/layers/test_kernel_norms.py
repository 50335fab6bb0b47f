"""Weight and spectral normalization against torch's parametrizations: values, gradients and state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc

pytestmark = pytest.mark.usefixtures("x64")


def torch_modules():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    return torch, {
        "Conv": (jc.Conv(5, (3, 2)), nn.Conv2d(4, 5, (3, 2)), (2, 6, 5, 4)),
        "Dense": (jc.Dense(5), nn.Linear(4, 5), (3, 4)),
        "ConvTranspose": (jc.ConvTranspose(5, 3, stride=2), nn.ConvTranspose2d(4, 5, 3, stride=2), (2, 3, 4, 4)),
    }


def made(layer, shape, rng):
    """Random parameters, state and input in float64."""
    x = rng.normal(size=shape)
    params, state = layer.init(jax.random.key(0), x)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params), state, x


def loss_of(layer, state, train):
    def loss(params, x):
        y, new = layer.apply(params, state, x, train=train)
        return (jnp.sin(y) * jnp.arange(1.0, y.size + 1).reshape(y.shape)).sum(), new

    return jax.value_and_grad(loss, (0, 1), has_aux=True)


def torch_loss(torch, module, x):
    """Torch's loss by the same weights of each output, and the input with its gradient."""
    leaf = torch.tensor(x, requires_grad=True)
    y = module(leaf.movedim(-1, 1) if leaf.ndim == 4 else leaf)
    y = y.movedim(1, -1) if y.ndim == 4 else y
    loss = (torch.sin(y) * torch.arange(1.0, y.numel() + 1, dtype=y.dtype).reshape(y.shape)).sum()
    loss.backward()
    return loss, leaf.grad


def turned(kernel):
    """Ours as torch's weight."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


@pytest.mark.parametrize("name", ["Conv", "Dense", "ConvTranspose"])
def test_weight_norm(name, rng, assert_close):
    torch, modules = torch_modules()
    inner, module, shape = modules[name]
    layer = jc.weight_norm(inner)
    params, state, x = made(layer, shape, rng)
    out = 1 if name == "ConvTranspose" else 0
    module = torch.nn.utils.parametrizations.weight_norm(module.double(), dim=out)
    lengths, directions = module.parametrizations.weight.original0, module.parametrizations.weight.original1
    with torch.no_grad():
        directions.copy_(torch.tensor(turned(params["kernel"])))
        lengths.copy_(torch.tensor(params["scale"]).reshape(lengths.shape))
        module.bias.copy_(torch.tensor(params["bias"]))
    (loss, _), (slopes, dx) = loss_of(layer, state, True)(params, x)
    want, dx_want = torch_loss(torch, module, x)
    assert_close(loss, want.detach().numpy())
    assert_close(dx, dx_want.numpy())
    assert_close(jnp.asarray(turned(slopes["kernel"])), directions.grad.numpy())
    assert_close(slopes["scale"], lengths.grad.numpy().ravel())


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", ["Conv", "Dense", "ConvTranspose"])
def test_spectral_norm(name, train, rng, assert_close):
    torch, modules = torch_modules()
    inner, module, shape = modules[name]
    layer = jc.spectral_norm(inner, iterations=2)
    params, state, x = made(layer, shape, rng)
    module = torch.nn.utils.parametrizations.spectral_norm(module.double(), n_power_iterations=2).train(train)
    vectors = module.parametrizations.weight[0]
    weight = module.parametrizations.weight.original
    with torch.no_grad():
        weight.copy_(torch.tensor(turned(params["kernel"])))
        module.bias.copy_(torch.tensor(params["bias"]))
        taps = params["kernel"].shape[:-2]
        if taps:  # ours are [*k, C_in], torch's [C_in, *k]
            order = np.arange(state["v"].size).reshape(*taps, -1)
            order = np.moveaxis(order, -1, 0).ravel()
        else:
            order = np.arange(state["v"].size)
        vectors._u.copy_(torch.tensor(np.array(state["u"])))
        vectors._v.copy_(torch.tensor(np.array(state["v"])[order]))
    (loss, new), (slopes, dx) = loss_of(layer, state, train)(params, x)
    want, dx_want = torch_loss(torch, module, x)
    assert_close(loss, want.detach().numpy())
    assert_close(dx, dx_want.numpy())
    assert_close(jnp.asarray(turned(slopes["kernel"])), weight.grad.numpy())
    assert_close(new["u"], vectors._u.numpy())
    assert_close(new["v"][order], vectors._v.numpy())


def test_the_lengths_at_init_leave_the_kernel_as_it_is(rng, assert_close):
    layer, x = jc.Conv(5, 3), rng.normal(size=(2, 6, 6, 3))
    params, state = layer.init(jax.random.key(0), x)
    normal, _ = jc.weight_norm(layer).init(jax.random.key(0), x)
    assert_close(jc.weight_norm(layer).apply(normal, state, x)[0], layer.apply(params, state, x)[0])


def test_a_dead_kernel_stays_finite(rng):
    layer, x = jc.weight_norm(jc.Conv(2, 3)), rng.normal(size=(1, 5, 5, 3))
    params, state = layer.init(jax.random.key(0), x)
    params = {**params, "kernel": params["kernel"].at[..., 0].set(0)}
    slopes = jax.grad(lambda params: (layer.apply(params, state, x)[0] ** 2).sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


def test_the_largest_singular_value_is_one_after_many_steps(rng, quick_jit):
    layer = jc.spectral_norm(jc.Conv(6, 3))
    params, state, x = made(layer, (1, 5, 5, 4), rng)
    step = quick_jit(lambda state: layer.apply(params, state, x, train=True)[1])
    for _ in range(300):
        state = step(state)
    matrix = np.asarray(params["kernel"]).reshape(-1, 6)
    largest = state["v"] @ matrix @ state["u"]
    np.testing.assert_allclose(largest, np.linalg.norm(matrix, 2), rtol=1e-6)
