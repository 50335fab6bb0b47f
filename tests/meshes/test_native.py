"""Native kernels in programs that XLA partitions: kept, on each device's part, with the right results."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from support import oracle

import jaxconv as jc
from jaxconv.engine import native
from jaxconv.engine.partitioning import _digits_of
from jaxconv.layers import Dense

pytestmark = pytest.mark.skipif(not native.available(), reason=f"no native kernels: {native.reason()}")

COLLECTIVE = re.compile(r" (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)\(")
CALL = re.compile(r'custom_call_target="jaxconv_\w+_(\w)"')


def slots(x, k, impl="native", **words):
    y, back = jax.vjp(functools.partial(jc.conv, padding=1, impl=impl, **words), x, k)
    return y, *back(y)


def compiled(function, *arrays):
    """The results, the slots of the native calls in the program, and its collectives."""
    program = jax.jit(function).lower(*arrays).compile()
    text = program.as_text()
    return program(*arrays), sorted(CALL.findall(text)), COLLECTIVE.findall(text)


def check(results, x, k, assert_close, **words):
    y = oracle.conv(x, k, padding=1, **words)
    want = y, *oracle.conv_grads(x, k, y, padding=1, **words)
    for what, got, right in zip(("y", "dx", "dk"), results, want, strict=True):
        assert_close(got, right, what)


def mesh_of(shape, kind=AxisType.Auto):
    return jax.make_mesh(shape, ("a", "b")[: len(shape)], axis_types=(kind,) * len(shape))


@pytest.mark.parametrize("cut", [P("a"), P(None, "a"), P(None, None, "a"), P("b", "a")])
def test_dense_layers(cut, rng, assert_close):
    """Rows cut along any axes: products of each device's part, and one sum for the kernel's gradient."""
    mesh = mesh_of((2, 2))
    x, k = rng.normal(size=(4, 8, 16, 64)).astype("f"), rng.normal(size=(64, 48)).astype("f")
    given = jax.device_put((x, k), (NamedSharding(mesh, cut), NamedSharding(mesh, P())))

    def slots(x, k):
        y, back = jax.vjp(lambda x, k: Dense(48, bias=False).apply({"kernel": k}, {}, x)[0], x, k)
        return y, *back(y)

    (y, dx, dk), calls, collectives = compiled(slots, *given)
    assert calls == ["k"]
    assert collectives == ["all-reduce"]
    flat, wide = x.reshape(-1, 64).astype("d"), k.astype("d")
    assert_close(y, (flat @ wide).reshape(y.shape), "y")
    assert_close(dx, (flat @ wide @ wide.T).reshape(x.shape), "dx")
    assert_close(dk, flat.T @ (flat @ wide), "dk")


def test_pools(rng, assert_close):
    """Of a batch that is cut: by the formulas, which XLA divides without a collective."""
    mesh = mesh_of((4,))
    x = rng.normal(size=(8, 9, 9, 32)).astype("f")
    cut = jax.device_put(x, NamedSharding(mesh, P("a")))
    for pool in (jc.max_pool, jc.avg_pool):
        gradient = jax.grad(lambda x, pool=pool: jnp.sum(jnp.sin(pool(x, 3, stride=2, padding=1))))
        got, calls, collectives = compiled(gradient, cut)
        assert (calls, collectives) == ([], [])
        assert_close(got, gradient(x), pool.__name__)


WAYS = {  # shape of the mesh, cuts of x and of k, collectives
    "batch": ((4,), P("a"), P(), ["all-reduce"]),
    "batch over the second axis": ((2, 2), P("b"), P(), ["all-reduce"]),
    "batch over both axes, the second first": ((2, 2), P(("b", "a")), P(), ["all-reduce"]),
    "output channels": ((4,), P(), P(None, None, None, "a"), ["all-reduce"]),
    "batch and output channels": ((2, 2), P("a"), P(None, None, None, "b"), ["all-reduce"] * 2),
    "batch and input channels": ((2, 2), P("a", None, None, "b"), P(None, None, "b"), ["all-reduce"] * 2),
    "rows": ((4,), P(None, "a"), P(), ["all-gather"]),
    "nothing": ((4,), P(), P(), []),
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_cut(way, rng, assert_close):
    shape, of_x, of_k, expected = WAYS[way]
    mesh = mesh_of(shape)
    x, k = rng.normal(size=(8, 8, 5, 8)).astype("f"), rng.normal(size=(3, 3, 8, 12)).astype("f")
    given = jax.device_put((x, k), (NamedSharding(mesh, of_x), NamedSharding(mesh, of_k)))
    results, calls, collectives = compiled(slots, *given)
    assert calls == ["k", "x", "y"]
    assert collectives == expected
    check(results, x, k, assert_close)


def test_winograds_kernels(rng, assert_close):
    mesh = mesh_of((4,))
    x, k = rng.normal(size=(20, 8, 8, 32)).astype("f"), rng.normal(size=(3, 3, 32, 32)).astype("f")
    given = jax.device_put((x, k), (NamedSharding(mesh, P("a")), NamedSharding(mesh, P())))
    program = jax.jit(functools.partial(slots, impl="winograd")).lower(*given).compile()
    assert {f"jaxconv_winograd4_{slot}" for slot in "yxk"} <= set(re.findall(r'"(jaxconv_\w+)"', program.as_text()))
    check(program(*given), x, k, assert_close)


@pytest.mark.parametrize("axis", [0, 3])
@pytest.mark.parametrize("groups", [4, 8])
def test_groups(groups, axis, rng, assert_close):
    """Channels may be cut where each is its own group; else they are gathered."""
    x, k = rng.normal(size=(4, 5, 5, 8)).astype("f"), rng.normal(size=(3, 3, 8 // groups, 8)).astype("f")
    mesh, cut = mesh_of((4,)), P(*[None] * axis, "a")
    given = jax.device_put((x, k), (NamedSharding(mesh, cut), NamedSharding(mesh, P() if axis == 0 else cut)))
    results, calls, collectives = compiled(functools.partial(slots, groups=groups), *given)
    assert calls == ["k", "x", "y"]
    assert set(collectives) == ({"all-reduce"} if axis == 0 else set() if groups == 8 else {"all-gather"})
    check(results, x, k, assert_close, groups=groups)


def test_an_explicit_mesh(rng, assert_close):
    x, k = rng.normal(size=(8, 5, 5, 3)).astype("f"), rng.normal(size=(3, 3, 3, 4)).astype("f")
    with jax.set_mesh(mesh_of((4,), AxisType.Explicit)):
        results, calls, collectives = compiled(slots, jax.device_put(x, P("a")), jax.device_put(k, P()))
        assert [jax.typeof(v).sharding.spec[0] for v in results] == ["a", "a", None]
    assert calls == ["k", "x", "y"]
    assert collectives == ["all-reduce"]
    check(results, x, k, assert_close)


def test_a_batch_that_does_not_divide_is_gathered(rng, assert_close):
    x, k = rng.normal(size=(8, 5, 5, 3)).astype("f"), rng.normal(size=(3, 3, 3, 4)).astype("f")
    cut = NamedSharding(mesh_of((4,)), P("a"))

    def seven(x, k):
        return slots(jax.lax.with_sharding_constraint(x[:7], cut), k)

    results, calls, _ = compiled(seven, jax.device_put(x, cut), k)
    assert calls == ["k", "x", "y"]
    check(results, x[:7], k, assert_close)


def test_in_scan_and_of_members(rng, assert_close):
    """Gradient steps of two members in a loop; the sum over devices of half precision is one of float32."""
    x, k = rng.normal(size=(8, 5, 5, 3)).astype("f"), rng.normal(size=(2, 3, 3, 3, 4)).astype("f")
    cut = NamedSharding(mesh_of((4,)), P("a"))

    def steps(impl, x, k):
        def one(k, _):
            loss = lambda k: jnp.sum(jc.conv(x, k, padding=1, impl=impl) ** 2)  # noqa: E731
            return k - 1e-3 * jax.vmap(jax.grad(loss))(k), None

        return jax.lax.scan(one, k, None, length=3)[0]

    got, calls, _ = compiled(functools.partial(steps, "native"), jax.device_put(x, cut), k)
    assert calls == ["k", "y"]
    assert_close(got, jax.jit(functools.partial(steps, "einsum"))(x, k))
    halves = jnp.asarray(x, jnp.bfloat16), jnp.asarray(k[0], jnp.bfloat16)
    got, calls, _ = compiled(slots, jax.device_put(halves[0], cut), halves[1])
    assert calls == ["k", "x", "y"]
    for part, alone in zip(got, jax.jit(slots)(*halves), strict=True):
        np.testing.assert_allclose(np.float32(part), np.float32(alone), rtol=2**-7, atol=1e-5)


def test_what_is_exported_holds_no_call_of_ours():
    cut = NamedSharding(mesh_of((4,)), P("a"))
    like = jax.ShapeDtypeStruct((8, 5, 5, 3), "float32", sharding=cut), jax.ShapeDtypeStruct((3, 3, 3, 4), "float32")
    text = jax.export.export(jax.jit(slots))(*like).mlir_module()
    assert set(re.findall(r"custom_call @(\w+)", text)) <= {"Sharding"}


def test_the_axes_of_a_mesh_that_cut_an_array():
    digits = np.indices((2, 3, 2)).reshape(3, -1)
    assert _digits_of([0, 0, 1, 1, 2, 2] * 2, digits) == (1,)
    assert _digits_of([0, 3, 1, 4, 2, 5] * 2, digits) == (2, 1)
    assert _digits_of(list(range(12)), digits) == (0, 1, 2)
    assert _digits_of([0, 1, 1, 0, 2, 2] * 2, digits) == ()
