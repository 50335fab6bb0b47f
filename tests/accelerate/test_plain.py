"""Programs without the engine: operations of lax alone, the same values, in every composition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.families import FAMILIES, small

import jaxconv as jc
from jaxconv._base.jaxpr import map_jaxprs, opened

NET = jc.chain(
    jc.Conv(6, 3, stride=2, padding="same", bias=False),  # a bias before a norm has a gradient of rounding errors
    jc.BatchNorm(),
    jax.nn.relu,
    jc.DepthwiseConv(3),
    jc.MaxPool(3, stride=2, padding=1),
    jc.AvgPool(3, stride=1),
    jc.GroupNorm(2),
    jc.ConvTranspose(4, 3, stride=2),
    jc.Upsample(scale=2, mode="linear"),
    jc.flatten,
    jc.Dense(3),
)
SHAPE = (2, 20, 21, 3)


def primitives(jaxpr):
    """The names of all primitives in a jaxpr and those inside of it."""
    found = set()
    for eqn in opened(jaxpr)[0].eqns:
        found.add(eqn.primitive.name)
        for param in eqn.params.values():
            map_jaxprs(param, lambda inner: found.update(primitives(inner)) or inner)
    return found


def check(fn, *args, tolerance=2e-5):
    """Equal results within rounding, no primitive of ours in the one and some in the other."""
    ours = {name for name in primitives(jax.make_jaxpr(fn)(*args)) if name.startswith("jaxconv")}
    without = jc.plain(fn)
    left = {name for name in primitives(jax.make_jaxpr(without)(*args)) if name.startswith("jaxconv")}
    assert ours
    assert not left
    want, got = jax.jit(fn)(*args), jax.jit(without)(*args)
    assert jax.tree.structure(want) == jax.tree.structure(got)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        scale = float(jnp.abs(b).max()) if b.size else 0.0
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=tolerance * max(scale, 1e-3), rtol=0)


@pytest.fixture
def inputs(rng):
    params, state = NET.init(jax.random.key(0), SHAPE)
    params = jax.tree.map(lambda v: v + 0.1 * rng.normal(size=v.shape).astype("float32"), params)
    return params, state, rng.normal(size=SHAPE).astype("float32")


def loss(params, state, x):
    y, new = NET.apply(params, state, x, train=True)
    return jnp.square(y).sum(), new


WAYS = {
    "inference": lambda params, state, x: NET.apply(params, state, x)[0],
    "a step": lambda params, state, x: jax.value_and_grad(loss, has_aux=True)(params, state, x),
    "of the input": lambda params, state, x: jax.grad(lambda x: loss(params, state, x)[0])(x),
    "jvp": lambda params, state, x: jax.jvp(lambda x: NET.apply(params, state, x)[0], (x,), (x,)),
    "vmap": lambda params, state, x: jax.vmap(lambda one: NET.apply(params, state, one[None])[0])(x),
    "jit, remat": lambda params, state, x: jax.jit(jax.grad(jax.checkpoint(lambda p: loss(p, state, x)[0])))(params),
    "scan": lambda params, state, x: jax.lax.scan(
        lambda total, one: (total + NET.apply(params, state, one[None])[0], None), jnp.zeros((1, 3)), x
    )[0],
    "cond": lambda params, state, x: jax.lax.cond(
        x.sum() > 0, lambda x: NET.apply(params, state, x)[0], lambda x: NET.apply(params, state, -x)[0], x
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", [*WAYS][:2])
def test_compositions(way, inputs):
    check(WAYS[way], *inputs)


@pytest.mark.slow
@pytest.mark.parametrize("way", [*WAYS][2:])
def test_further_compositions(way, inputs):
    check(WAYS[way], *inputs)


@pytest.mark.slow
def test_derivatives_of_it_are_those_of_the_function(inputs):
    params, state, x = inputs
    plain = jc.plain(lambda params: loss(params, state, x)[0])
    want, got = (jax.grad(fn)(params) for fn in (lambda params: loss(params, state, x)[0], plain))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * float(jnp.abs(b).max()) + 1e-4, rtol=0)


def test_the_inverse_of_accelerate():
    def conv(x, k):
        return jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    x, k = jnp.ones((1, 6, 6, 4)), jnp.ones((3, 3, 4, 4))
    fast = jc.accelerate(conv)
    assert primitives(jax.make_jaxpr(fast)(x, k)) == {"jaxconv_conv"}
    assert primitives(jax.make_jaxpr(jc.plain(fast))(x, k)) == {"conv_general_dilated"}
    np.testing.assert_allclose(jc.plain(fast)(x, k), conv(x, k))


def test_what_is_not_an_array_passes_through():
    found = jc.plain(lambda x, word, *, flag: (jc.max_pool(x, 2), word, flag))(jnp.ones((1, 4, 4, 1)), "a", flag=None)
    assert found[0].shape == (1, 2, 2, 1)
    assert found[1:] == ("a", None)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family(name, rng):
    net, shape = small(name), FAMILIES[name].shape
    params, state = net.init(jax.random.key(0), shape)
    check(lambda x: net.apply(params, state, x)[0], rng.normal(size=shape).astype("float32"), tolerance=1e-4)


@pytest.mark.slow
def test_its_export_runs_without_jaxconv(inputs, tmp_path):
    """A symbolic batch, in a process that cannot import the package."""
    import subprocess
    import sys

    params, state, x = inputs
    infer = jc.plain(lambda x: NET.apply(params, state, x)[0])
    (n,) = jax.export.symbolic_shape("n")
    like = jax.ShapeDtypeStruct((n, *SHAPE[1:]), "float32")
    exported = jax.export.export(jax.jit(infer), platforms=["cpu", "cuda", "tpu"])(like)
    (tmp_path / "net").write_bytes(exported.serialize())
    np.save(tmp_path / "x.npy", x)
    code = """
import sys, numpy, jax, jax.export
sys.modules["jaxconv"] = None
net = jax.export.deserialize(open("net", "rb").read())
numpy.save("y.npy", net.call(numpy.load("x.npy")))
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), infer(x), atol=1e-4)
