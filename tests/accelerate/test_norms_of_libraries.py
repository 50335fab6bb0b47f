"""accelerate: the norms of Flax and Equinox run on the kernels, with their gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.replaced import replaced
from support.trees import assert_same

import jaxconv as jc
from jaxconv.engine import native

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not native.available(), reason="the native kernels are not compiled"),
]

SHAPE = (4, 6, 5, 8)


def train(apply, params, x):
    """The step of a net: outputs, gradients of everything, and its statistics."""

    def f(params, x):
        z, state = apply(params, x)
        return (jnp.tanh(z.astype(jnp.float32)) ** 2).sum(), state

    return jax.value_and_grad(f, (0, 1), has_aux=True)(params, x)


def linen(norm, dtype):
    import flax.linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.relu(norm(nn)(x))

    module = Net()
    variables = module.init(jax.random.key(0), jnp.zeros(SHAPE, dtype))
    params = variables.get("params", {})
    state = {name: v for name, v in variables.items() if name != "params"}
    return lambda params, x: module.apply({"params": params, **state}, x, mutable=list(state)), params


def nnx(norm, dtype):
    from flax import nnx

    module = norm(nnx)
    graph, params, state = nnx.split(module, nnx.Param, ...)

    def apply(params, x):
        new = nnx.merge(graph, params, state, copy=True)
        return jax.nn.relu(new(x)), jax.tree.leaves(nnx.split(new, nnx.Param, ...)[2])

    return apply, params


LINEN = {
    "batch": lambda nn: nn.BatchNorm(use_running_average=False),
    "batch, slow variance": lambda nn: nn.BatchNorm(use_running_average=False, use_fast_variance=False),
    "batch, no affine": lambda nn: nn.BatchNorm(use_running_average=False, use_bias=False, use_scale=False),
    "layer": lambda nn: nn.LayerNorm(),
    "layer, no bias": lambda nn: nn.LayerNorm(use_bias=False),
    "instance": lambda nn: nn.InstanceNorm(),
}
NNX = {
    "batch": lambda nnx: nnx.BatchNorm(8, rngs=nnx.Rngs(0)),
    "batch, no scale": lambda nnx: nnx.BatchNorm(8, use_scale=False, rngs=nnx.Rngs(0)),
    "layer": lambda nnx: nnx.LayerNorm(8, rngs=nnx.Rngs(0)),
}
PEERS = [(linen, norm) for norm in LINEN.items()] + [(nnx, norm) for norm in NNX.items()]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize(("build", "norm"), PEERS, ids=[f"{build.__name__} {name}" for build, (name, _) in PEERS])
def test_norms_of_flax(build, norm, dtype, rng):
    pytest.importorskip("flax")
    x = (rng.normal(size=SHAPE) + 0.5).astype(dtype)
    apply, params = build(norm[1], dtype)
    step = functools.partial(train, apply)
    got, want = (
        jax.tree.map(lambda v: v.astype(jnp.float32), jax.jit(f)(params, x)) for f in (jc.accelerate(step), step)
    )
    assert_same(got, want, 5e-5 if dtype == jnp.float32 else 3e-2)
    assert replaced(step, params, x) == (1, 1)


@pytest.mark.parametrize("name", ["mask", "evaluation"])
def test_norms_of_flax_that_stay(name, rng):
    nn = pytest.importorskip("flax.linen")
    x = rng.normal(size=SHAPE).astype(np.float32)
    module = nn.BatchNorm(use_running_average=name == "evaluation")
    mask = {"mask": jnp.ones((*SHAPE[:3], 1), bool)} if name == "mask" else {}
    variables = module.init(jax.random.key(0), x)
    step = jax.value_and_grad(lambda v, x: (module.apply(v, x, **mask, mutable=["batch_stats"])[0] ** 3).sum(), (0, 1))
    assert replaced(step, variables, x) == (0, 0)
    assert_same(jax.jit(jc.accelerate(step))(variables, x), jax.jit(step)(variables, x), 0)


@pytest.mark.parametrize("name", ["layer", "layer of an image", "batch", "batch, running averages"])
def test_norms_of_equinox(name, rng):
    """Channels come first, and examples and positions by vmap."""
    eqx = pytest.importorskip("equinox")
    x = rng.normal(size=SHAPE).astype(np.float32)
    layer, state, call = {
        "layer": (eqx.nn.LayerNorm(8), None, lambda f: jax.vmap(jax.vmap(f))),
        "layer of an image": (eqx.nn.LayerNorm(SHAPE[1:]), None, lambda f: f),
        "batch": (*eqx.nn.make_with_state(eqx.nn.BatchNorm)(6, "batch", mode="batch"), None),
        "batch, running averages": (*eqx.nn.make_with_state(eqx.nn.BatchNorm)(6, "batch", mode="ema"), None),
    }[name]

    def apply(layer, x):
        if call is not None:
            return jax.vmap(call(layer))(x), state
        return jax.vmap(layer, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)

    params, static = eqx.partition(layer, eqx.is_inexact_array)
    step = functools.partial(train, lambda params, x: apply(eqx.combine(params, static), x))
    assert_same(jax.jit(jc.accelerate(step))(params, x), jax.jit(step)(params, x), 5e-5)
    assert replaced(step, params, x) == ((0, 0) if name == "batch, running averages" else (1, 1))
