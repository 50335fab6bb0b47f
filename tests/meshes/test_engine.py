"""The primitives in `shard_map` and on explicit meshes, by every formulation, against the oracle."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from support import oracle

import jaxconv as jc
from jaxconv.engine.rules import FORMULATIONS

CASES = {
    "1x1": ((8, 5, 4, 3), (1, 1, 3, 2), {}),
    "2x2 stride 2": ((8, 6, 6, 3), (2, 2, 3, 2), {"stride": 2}),
    "3x3 same": ((8, 5, 4, 2), (3, 3, 2, 3), {"padding": "same"}),
    "3x3 in two groups": ((8, 6, 5, 4), (3, 3, 2, 4), {"padding": 1, "groups": 2, "stride": (2, 1)}),
    "depthwise": ((8, 6, 5, 3), (3, 3, 1, 3), {"padding": "same", "groups": 3}),
    "dilated, one axis": ((8, 9, 2), (3, 2, 2), {"dilation": 2, "padding": "causal"}),
}
POOLS = {
    "stride 2": ((8, 6, 4, 2), (2, 2), {}),
    "overlapping": ((8, 7, 5, 2), (3, 3), {"stride": 2, "padding": 1}),
    "dilated": ((8, 9, 2), (3,), {"stride": 1, "dilation": 2}),
    "three axes": ((8, 4, 4, 5, 2), (2, 2, 2), {"stride": 1}),
}


def drawn(rng, *shapes):
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("impl", ["auto", *(pytest.param(name, marks=pytest.mark.slow) for name in FORMULATIONS)])
def test_a_convolution_in_shard_map(impl, rng, auto_mesh, quick_jit, assert_close):
    """Gradients of an operand that varies over the devices are each device's own; of one that does not, the sum."""
    drawn_cases = {name: tuple(drawn(rng, x, k)) for name, (x, k, _) in CASES.items()}

    def slots(name, x, k):
        y, back = jax.vjp(functools.partial(jc.conv, **CASES[name][2], impl=impl), x, k)
        return y, *back(y)

    def device(arrays):
        found = {}
        for name, (x, k) in arrays.items():
            y, dx, dk = slots(name, x, k)
            own = slots(name, x, jax.lax.pcast(k, "data", to="varying"))[2]
            found[name] = y, dx, dk, jax.lax.psum(own, "data")
        return found

    specs = {name: (P("data"), P()) for name in CASES}
    out = {name: (P("data"), P("data"), P(), P()) for name in CASES}
    mapped = jax.shard_map(device, mesh=auto_mesh, in_specs=(specs,), out_specs=out)
    for name, (y, dx, dk, own) in quick_jit(mapped)(drawn_cases).items():
        x, k = drawn_cases[name]
        words = CASES[name][2]
        want = oracle.conv(x, k, **words)
        want_dx, want_dk = oracle.conv_grads(x, k, want, **words)
        assert_close(y, want, f"y of {name}")
        assert_close(dx, want_dx, f"dx of {name}")
        assert_close(dk, want_dk, f"dk of {name}")
        assert_close(own, want_dk, f"the sum of each device's own dk of {name}")


def test_an_input_that_all_devices_share(rng, auto_mesh, quick_jit, assert_close):
    """Kernels of its own on each device, one input: its gradient is the sum of the devices'."""
    (x,), kernels = drawn(rng, (2, 5, 4, 3)), drawn(rng, (4, 3, 3, 3, 2))[0]

    def device(x, k):
        y, back = jax.vjp(lambda x: jc.conv(x, k[0], padding="same"), x)
        return y[None], back(y)[0]

    mapped = jax.shard_map(device, mesh=auto_mesh, in_specs=(P(), P("data")), out_specs=(P("data"), P()))
    y, dx = quick_jit(mapped)(x, kernels)
    want = [oracle.conv(x, k, padding="same") for k in kernels]
    assert_close(y, np.stack(want))
    assert_close(dx, sum(oracle.conv_grads(x, k, g, padding="same")[0] for k, g in zip(kernels, want, strict=True)))


@pytest.mark.sampled
@pytest.mark.parametrize("name", POOLS)
def test_a_max_pool_s_gradient(name, rng, mesh, auto_mesh, quick_jit, assert_close):
    shape, size, words = POOLS[name]
    x = rng.integers(-3, 4, shape).astype(np.float32)

    def slope(x):
        y, back = jax.vjp(lambda x: jc.max_pool(x, size, **words), x)
        return back(y)[0]

    stride = words.get("stride", size)
    want = oracle.max_pool_grad(
        x, oracle.max_pool(x, size, **{**words, "stride": stride}), size, **{**words, "stride": stride}
    )
    assert_close(quick_jit(jax.shard_map(slope, mesh=auto_mesh, in_specs=P("data"), out_specs=P("data")))(x), want)
    with jax.set_mesh(mesh):
        got = quick_jit(slope)(jax.device_put(x, P("data")))
        assert jax.typeof(got).sharding.spec[0] == "data"
    assert_close(got, want)


@pytest.mark.sampled
@pytest.mark.parametrize("name", CASES)
def test_types_on_an_explicit_mesh(name, rng, mesh, quick_jit, assert_close):
    """y and dx are split as x is, dk is not; the same under jit, op by op, and mapped over another axis."""
    shape, size, words = CASES[name]
    x, k = drawn(rng, shape, size)

    def slots(x, k):
        y, back = jax.vjp(functools.partial(jc.conv, **words), x, k)
        return y, *back(y)

    y = oracle.conv(x, k, **words)
    want = (y, *oracle.conv_grads(x, k, y, **words))
    with jax.set_mesh(mesh):
        split, whole = jax.device_put(x, P("data")), jax.device_put(k, P())
        twice = jnp.stack([whole, whole])
        results = quick_jit(slots)(split, whole), slots(split, whole)
        mapped = quick_jit(jax.vmap(slots, (None, 0)))(split, twice)
        specs = [[jax.typeof(v).sharding.spec for v in result] for result in (*results, mapped)]
    for result, spec in zip(results, specs, strict=False):
        assert [s[0] for s in spec] == ["data", "data", None]
        assert all(by is None for s in spec for by in s[1:])
        for what, got, right in zip(("y", "dx", "dk"), result, want, strict=True):
            assert_close(got, right, f"{what} of {name}")
    assert [s[1] for s in specs[2]] == ["data", "data", None]
    for what, got, right in zip(("y", "dx", "dk"), mapped, want, strict=True):
        assert_close(got[1], right, f"{what} of {name}, mapped")


def test_kernels_split_by_their_maps(rng, mesh, quick_jit, assert_close):
    """The maps of y follow the kernel's; each gradient has its operand's type; a mesh axis splits one axis alone."""
    x, k = drawn(rng, (8, 5, 4, 3), (3, 3, 3, 8))

    def slots(x, k):
        y, back = jax.vjp(functools.partial(jc.conv, padding="same"), x, k)
        return y, *back(y)

    y = oracle.conv(x, k, padding="same")
    want = (y, *oracle.conv_grads(x, k, y, padding="same"))
    with jax.set_mesh(mesh):
        by_maps = P(None, None, None, "data")
        for spec, expected in ((P(), "float32[8,5,4,8@data]"), (P("data"), "float32[8@data,5,4,8]")):
            operands = jax.device_put(x, spec), jax.device_put(k, by_maps)
            got = quick_jit(slots)(*operands)
            types = [str(jax.typeof(v)) for v in got]
            assert types == [expected, *(str(jax.typeof(v)) for v in operands)]
            for what, one, right in zip(("y", "dx", "dk"), got, want, strict=True):
                assert_close(one, right, what)


def test_a_sharded_spatial_axis_is_an_error(mesh):
    with jax.set_mesh(mesh):
        x = jax.device_put(jnp.ones((2, 8, 8, 3)), P(None, "data"))
        with pytest.raises(jc.ShapeError) as raised:
            jax.jit(jc.conv)(x, jnp.ones((3, 3, 3, 2)))
    assert str(raised.value) == (
        "on an explicit mesh, spatial axes must not be sharded\n"
        "  got: axis 1 of float32[2,8@data,8,3]\n"
        "  fix: jax.sharding.reshard(x, P('data')) to shard only the batch"
    )


@pytest.mark.sampled
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "wrap"])
def test_conv_transpose(padding_mode, rng, mesh, auto_mesh, quick_jit, assert_close):
    """The adjoint of the convolution: ⟨conv(a), y⟩ = ⟨a, conv_transpose(y)⟩, on every mesh."""
    y, k = drawn(rng, (8, 3, 3, 4), (2, 2, 3, 4))
    words = {"stride": 2, "padding": (1, 0), "padding_mode": padding_mode}
    a = drawn(rng, (8, 5, 5, 3))[0]

    def back(y, k):
        return jc.conv_transpose(y, k, **words)

    want = np.asarray(quick_jit(back)(y, k))
    mine = float((np.asarray(quick_jit(functools.partial(jc.conv, **words))(a, k)) * y).sum())
    np.testing.assert_allclose(float((want * a).sum()), mine, rtol=1e-4)
    mapped = jax.shard_map(back, mesh=auto_mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    assert_close(quick_jit(mapped)(y, k), want)
    with jax.set_mesh(mesh):
        got = quick_jit(back)(jax.device_put(y, P("data")), jax.device_put(k, P()))
        assert str(jax.typeof(got)) == "float32[8@data,5,5,3]"
    assert_close(got, want)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_kernel_gradient_of_one_by_one(dtype, rng, auto_mesh, assert_close):
    """The sums over the batch and both spatial axes are in the order of the axes, which Shardy verifies."""
    net = jc.Conv(6, 1)
    params, state = net.init(jax.random.key(0), (8, 5, 7, 3))
    x = rng.normal(size=(8, 5, 7, 3)).astype(dtype)

    def loss(params, x):
        return (net.apply(jax.tree.map(lambda leaf: leaf.astype(dtype), params), state, x)[0] ** 2).sum()

    gradient = jax.jit(jax.grad(loss))
    put = jax.device_put(x, NamedSharding(auto_mesh, P("data")))
    jax.tree.map(assert_close, gradient(params, put), gradient(params, x))
