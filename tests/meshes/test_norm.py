"""Norms in programs that XLA partitions: the native kernels kept, on each device's part, with the right results."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from support.native import here

import jaxconv as jc
from jaxconv.engine import norm_primitive

pytestmark = here

COLLECTIVE = re.compile(r" (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)\(")
CALL = re.compile(r'custom_call_target="jaxconv_(\w+)"')
KINDS = {"batch": (0, 1, 2), "instance": (1, 2), "layer": (3,)}
WAYS = {  # shape of the mesh, cut of x
    "batch": ((4,), P("a")),
    "batch over both axes, the second first": ((2, 2), P(("b", "a"))),
    "batch and rows": ((2, 2), P("a", "b")),
    "batch and channels": ((2, 2), P("a", None, None, "b")),
    "nothing": ((4,), P()),
}


def mesh_of(shape, kind=AxisType.Auto):
    return jax.make_mesh(shape, ("a", "b")[: len(shape)], axis_types=(kind,) * len(shape))


def everything(axes, x, scale, bias, cts):
    """Values and gradients, that of the statistics too."""
    out, back = jax.vjp(lambda *args: norm_primitive.normalize(args[0], axes, 1e-3, *args[1:]), x, scale, bias)
    return out, back(cts)


def given(rng, axes, shape=(8, 4, 6, 8)):
    """Values with a large mean, scale, bias, and cotangents of z, mean and var."""
    of_mean = [1 if axis in axes else n for axis, n in enumerate(shape)]
    x = rng.normal(200, 10, shape)
    arrays = x, *rng.normal(size=(2, shape[-1])), tuple(rng.normal(size=s) for s in (shape, of_mean, of_mean))
    return jax.tree.map(jnp.float32, arrays)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_ways_to_cut(kind, way, rng, assert_close):
    axes, (shape, cut) = KINDS[kind], WAYS[way]
    x, *others = given(rng, axes)
    want = jax.jit(functools.partial(everything, axes))(x, *others)
    put = jax.device_put(x, NamedSharding(mesh_of(shape), cut))
    program = jax.jit(functools.partial(everything, axes)).lower(put, *others).compile()
    calls, collectives = (pattern.findall(program.as_text()) for pattern in (CALL, COLLECTIVE))
    assert sorted(calls) == (["layer_norm", "layer_norm_gradient"] if kind == "layer" else ["moments", "sums"])
    if kind == "batch" or "channels" not in way:  # whose rows are whole, or summed over
        assert set(collectives) <= {"all-reduce"}
    if way == "batch":
        assert collectives.count("all-reduce") <= (6 if kind == "batch" else 2)
    jax.tree.map(assert_close, program(put, *others), want)


@pytest.mark.parametrize("kind", KINDS)
def test_an_explicit_mesh(kind, rng, assert_close):
    axes = KINDS[kind]
    x, scale, bias, cts = given(rng, axes)
    want = jax.jit(functools.partial(everything, axes))(x, scale, bias, cts)
    with jax.set_mesh(mesh_of((4,), AxisType.Explicit)):
        where = [P("a", *[None] * 3) if v.shape[0] == 8 else P(*[None] * 4) for v in cts]
        cut = jax.device_put((x, scale, bias, cts), (P("a"), P(), P(), tuple(where)))
        program = jax.jit(functools.partial(everything, axes)).lower(*cut).compile()
        (z, *_), (dx, dscale, _) = results = program(*cut)
        assert [jax.typeof(v).sharding.spec[0] for v in (z, dx, dscale)] == ["a", "a", None]
    assert len(CALL.findall(program.as_text())) == 2
    jax.tree.map(assert_close, results, want)


def test_a_batch_that_does_not_divide(rng, assert_close):
    x, scale, bias, _ = given(rng, KINDS["batch"])
    cut = NamedSharding(mesh_of((4,)), P("a"))

    def seven(x, scale, bias):
        v = jax.lax.with_sharding_constraint(x[:7], cut)
        return norm_primitive.normalize(v, KINDS["batch"], 1e-3, scale, bias)

    got = jax.jit(seven)(jax.device_put(x, cut), scale, bias)
    jax.tree.map(assert_close, got, norm_primitive.normalize(x[:7], KINDS["batch"], 1e-3, scale, bias))


def test_a_row_for_each_device(rng, assert_close):
    """Each device has one value a channel, which the kernels do not take."""
    x, scale, bias, cts = given(rng, (0,), (4, 8))
    want = jax.jit(functools.partial(everything, (0,)))(x, scale, bias, cts)
    put = jax.device_put(x, NamedSharding(mesh_of((4,)), P("a")))
    jax.tree.map(assert_close, jax.jit(functools.partial(everything, (0,)))(put, scale, bias, cts), want)


def test_steps_of_members_in_a_loop(rng, assert_close):
    net = jc.chain(
        jc.Conv(4, 3, bias=False), jc.BatchNorm(), jax.nn.gelu, jc.Conv(4, 3), jc.GroupNorm(2), jc.global_avg_pool
    )
    x = rng.normal(size=(8, 6, 6, 3)).astype("f")
    params, state = jax.vmap(lambda key: net.init(key, x))(jax.random.split(jax.random.key(0), 2))

    def steps(params, state, x):
        def one(carry, _):
            def loss(p, s):
                y, s = net.apply(p, s, x, train=True)
                return jnp.sum(y**2), s

            grads, s = jax.vmap(jax.grad(loss, has_aux=True))(*carry)
            return (jax.tree.map(lambda p, g: p - 1e-3 * g, carry[0], grads), s), None

        return jax.lax.scan(one, (params, state), None, length=3)[0]

    put = jax.device_put(x, NamedSharding(mesh_of((4,)), P("a")))
    program = jax.jit(steps).lower(params, state, put).compile()
    assert set(CALL.findall(program.as_text())) >= {"moments", "sums"}
    assert "all-gather(" not in program.as_text()
    jax.tree.map(assert_close, program(params, state, put), jax.jit(steps)(params, state, x))


def test_what_is_exported_holds_no_call_of_ours():
    cut = NamedSharding(mesh_of((4,)), P("a"))
    like = jax.ShapeDtypeStruct((8, 5, 5, 3), "float32", sharding=cut)
    step = jax.jit(jax.grad(lambda x: jnp.sum(norm_primitive.normalize(x, (0, 1, 2), 1e-3)[0] ** 3)))
    assert set(re.findall(r"custom_call @(\w+)", jax.export.export(step)(like).mlir_module())) <= {"Sharding"}
