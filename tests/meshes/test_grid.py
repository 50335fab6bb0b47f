"""Every operation on every kind of mesh under every sharding: values and gradients of one device.

Meshes with explicit, auto and manual axes, of one and two dimensions, times what is sharded. All convolutions are one
program, since compiling takes most of the time.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from meshes.test_contract import assert_alike, made
from support.table import TABLE

import jaxconv as jc

EXPLICIT, AUTO = AxisType.Explicit, AxisType.Auto
MESHES = {  # sizes of the axes "data" and "model", and their types
    "8 explicit": ((8,), (EXPLICIT,)),
    "8 auto": ((8,), (AUTO,)),
    "4x2 explicit": ((4, 2), (EXPLICIT, EXPLICIT)),
    "4x2 auto": ((4, 2), (AUTO, AUTO)),
    "4x2 explicit and auto": ((4, 2), (EXPLICIT, AUTO)),
}
SHARDINGS = {  # mesh axes of batch and channels of the input; of input and output channels of the kernel
    "nothing": (None, None, None, None),
    "batch": ("data", None, None, None),
    "batch over both axes": (("data", "model"), None, None, None),
    "output channels": (None, None, None, "model"),
    "batch and output channels": ("data", None, None, "model"),
    "input channels": (None, "model", "model", None),
    "input channels of x": ("data", "model", None, None),
    "input channels of the kernel": ("data", None, "model", None),
    "batch and input channels": ("data", "model", "model", None),
}
LINE = ("batch", "output channels", "input channels")  # on one axis, which is then called "data"
GRID = [
    pytest.param(mesh, sharding, id=f"{mesh}, {sharding}", marks=[] if quick else [pytest.mark.slow])
    for mesh, (sizes, _) in MESHES.items()
    for sharding in (SHARDINGS if len(sizes) == 2 else LINE)
    for quick in [(mesh, sharding) in (("8 explicit", "batch"), ("4x2 auto", "batch and output channels"))]
]

CONVS = {
    "3x3": ((8, 6, 5, 8), (3, 3, 8, 16), {"padding": "same"}),
    "strided": ((8, 7, 6, 8), (3, 3, 8, 16), {"stride": 2, "padding": 1}),  # jax#16894
    "dilated": ((8, 9, 8), (3, 8, 8), {"dilation": 2, "padding": "causal"}),
    "in groups": ((8, 6, 6, 16), (3, 3, 8, 16), {"stride": 2, "padding": 1, "groups": 2}),
    "depthwise": ((8, 6, 6, 16), (3, 3, 1, 16), {"padding": 1, "groups": 16}),
    "transposed": ((8, 3, 3, 8), (3, 3, 16, 8), {"stride": 2}),
}


def mesh_of(name):
    sizes, types = MESHES[name]
    return jax.make_mesh(sizes, ("data", "model")[: len(sizes)], axis_types=types)


def slots(name, x, k):
    """The convolution and both gradients."""
    function = jc.conv_transpose if name == "transposed" else jc.conv
    y, back = jax.vjp(functools.partial(function, **CONVS[name][2]), x, k)
    return y, *back(jnp.cos(y))


@functools.cache
def convolutions():
    """Operands of each convolution, and the results of one device."""
    rng = np.random.default_rng(0)
    operands = {name: [rng.normal(size=s).astype(np.float32) for s in sizes[:2]] for name, sizes in CONVS.items()}
    one = jax.device_get(jax.jit(lambda all_: {name: slots(name, *pair) for name, pair in all_.items()})(operands))
    return operands, one


def placed(v, mesh, *axes):
    """`v` with its axes sharded over these mesh axes, unless they do not divide it."""
    line = len(mesh.axis_names) == 1
    each = [None if by is None else ("data" if line else by) for by in axes]
    sizes = [1 if by is None else np.prod([mesh.shape[a] for a in np.atleast_1d(by)]) for by in each]
    spec = P(*(by if n % size == 0 else None for n, by, size in zip(v.shape, each, sizes, strict=True)))
    return jax.device_put(v, NamedSharding(mesh, spec))


@pytest.mark.parametrize(("mesh", "sharding"), GRID)
def test_convolutions(mesh, sharding, quick_jit, assert_close):
    """The result's batch is sharded as the input's, its channels as the kernel's; gradients are sharded as operands."""
    mesh, (batch, c_in, k_in, k_out) = mesh_of(mesh), SHARDINGS[sharding]
    operands, want = convolutions()
    explicit = [name for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind == EXPLICIT]
    with jax.set_mesh(mesh):
        given = {}
        for name, (x, k) in operands.items():
            spatial, of_k = (None,) * (x.ndim - 2), (k_out, k_in) if name == "transposed" else (k_in, k_out)
            given[name] = placed(x, mesh, batch, *spatial, c_in), placed(k, mesh, *spatial, *of_k)
        got = quick_jit(lambda all_: {name: slots(name, *pair) for name, pair in all_.items()})(given)
        for name, (y, dx, dk) in got.items():
            x, k = given[name]
            assert jax.typeof(dx) == jax.typeof(x)
            assert jax.typeof(dk) == jax.typeof(k)
            if batch is not None and set(np.atleast_1d(batch)) <= set(explicit):
                assert jax.typeof(y).sharding.spec[0] == batch
    for name in CONVS:
        for what, mine, right in zip(("y", "dx", "dk"), got[name], want[name], strict=True):
            assert_close(mine, right, f"{what} of {name}")


@pytest.mark.slow
@pytest.mark.parametrize("manual", [("data",), ("data", "model")], ids="+".join)
def test_convolutions_where_axes_are_manual(manual, quick_jit, assert_close):
    """Inside `shard_map`, of all axes or of one, the other sharding the output channels as the compiler likes."""
    mesh = mesh_of("4x2 auto")
    operands, want = convolutions()

    def part(all_):
        return {name: slots(name, *pair) for name, pair in all_.items()}

    batch = P(manual)
    mapped = jax.shard_map(
        part,
        mesh=mesh,
        in_specs=({name: (batch, P()) for name in CONVS},),
        out_specs={name: (batch, batch, P()) for name in CONVS},
        axis_names=set(manual),
    )
    out = None if "model" in manual else "model"
    given = {
        name: (placed(x, mesh, manual, *(None,) * (x.ndim - 1)), placed(k, mesh, *(None,) * (k.ndim - 1), out))
        for name, (x, k) in operands.items()
    }
    with jax.set_mesh(mesh):
        got = quick_jit(mapped)(given)
    for name in CONVS:
        for what, mine, right in zip(("y", "dx", "dk"), got[name], want[name], strict=True):
            assert_close(mine, right, f"{what} of {name}")


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["data", "model"])
@pytest.mark.parametrize("groups", [2, 16])
def test_gradients_of_kernels_in_groups_by_any_formulation(groups, axis, rng, quick_jit, assert_close):
    """The engine divides them itself: XLA's partitioner sums those of `lax` over too many devices."""
    mesh = mesh_of("4x2 auto")
    x = rng.normal(size=(8, 6, 6, 16)).astype(np.float32)
    k = rng.normal(size=(3, 3, 16 // groups, 16)).astype(np.float32)

    def gradients(x, k):
        def slope(impl):
            return jax.grad(lambda k: jnp.cos(jc.conv(x, k, padding=1, groups=groups, impl=impl)).sum())(k)

        return {impl: slope(impl) for impl in ("einsum", "lax", "dots", "canonical", "auto")}

    want = quick_jit(gradients)(x, k)["einsum"]
    given = placed(x, mesh, axis, None, None, None), placed(k, mesh, None, None, None, None)
    for impl, got in quick_jit(gradients)(*given).items():
        assert_close(got, want, impl)


REFUSED = {"flatten", "chain", "branch", "ECA", "SPP", "pixel_shuffle"}
"""Rows of the contract with an operation that the types of an explicit mesh cannot express."""
ROWS = [
    pytest.param(entry, id=f"{entry.names}-{i}", marks=[] if entry.names == "residual" else [pytest.mark.slow])
    for i, entry in enumerate(TABLE)
]


@pytest.mark.parametrize("entry", ROWS)
def test_layers_on_two_axes(entry, quick_jit):
    """Batch and channels of the input and the last axis of each parameter are sharded: explicit axes refuse by name
    what they cannot express, and auto axes compute everything."""
    loss, params, x = made(entry)
    slope = quick_jit(jax.value_and_grad(loss, (0, 1)))
    want = slope(params, x)
    for name in ("4x2 explicit", "4x2 auto"):
        mesh = mesh_of(name)
        spatial = (None,) * (x.ndim - 2)
        with jax.set_mesh(mesh):
            given = (
                jax.tree.map(lambda v, mesh=mesh: placed(v, mesh, *(None,) * (v.ndim - 1), "model"), params),
                placed(x, mesh, "data", *spatial, "model"),
            )
            if name == "4x2 explicit" and entry.names in REFUSED:
                with pytest.raises(jc.ShapeError) as raised:
                    slope(*given)
                assert raised.value.kind == "sharding"
                continue
            got = slope(*given)
            assert jax.tree.map(jax.typeof, got[1]) == jax.tree.map(jax.typeof, given)
        assert_alike(got, want)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [name for name in MESHES if name.startswith("4x2")])
def test_an_accelerated_flax_program(mesh, rng, quick_jit, assert_close):
    nn = pytest.importorskip("flax.linen")

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.BatchNorm(use_running_average=False)(nn.Conv(8, (3, 3), strides=2)(x)))
            x = nn.max_pool(nn.Conv(8, (3, 3), feature_group_count=8)(x), (2, 2), (2, 2))
            return nn.Dense(4)(x.mean((1, 2)))

    net, x = Net(), rng.normal(size=(8, 12, 12, 3)).astype(np.float32)
    variables = net.init(jax.random.key(0), x)

    def loss(params, x):
        return jnp.square(net.apply(variables | {"params": params}, x, mutable="batch_stats")[0]).sum()

    step = jax.value_and_grad(loss, (0, 1))
    want = quick_jit(step)(variables["params"], x)
    mesh = mesh_of(mesh)
    with jax.set_mesh(mesh):
        given = jax.device_put(variables["params"], NamedSharding(mesh, P())), placed(x, mesh, "data", None, None, None)
        got = quick_jit(jc.accelerate(step))(*given)
    assert_alike(got, want)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES)
def test_a_summary(mesh):
    net = jc.chain(jc.Conv(8, 3, padding="same"), jc.BatchNorm(), jnp.tanh, jc.MaxPool(2), jc.flatten, jc.Dense(3))
    want = str(jc.summary(net, (1, 8, 8, 3)))
    with jax.set_mesh(mesh_of(mesh)):
        assert str(jc.summary(net, (1, 8, 8, 3))) == want


def refused(layer, spec, shape):
    """The message of a layer's ShapeError on an explicit mesh of two axes."""
    params, state = layer.init(jax.random.key(0), shape)
    with jax.set_mesh(mesh_of("4x2 explicit")):
        x, params = jax.device_put(jnp.ones(shape), spec), jax.device_put(params, P())
        with pytest.raises(jc.ShapeError) as raised:
            jax.eval_shape(lambda params, x: layer.apply(params, state, x)[0], params, x)
    assert raised.value.kind == "sharding"
    return str(raised.value)


FIX = "\n  fix: jax.sharding.reshard(x, P('data')) to shard only the batch"


def test_what_explicit_axes_cannot_express_is_refused():
    rows, channels = P("data", "model"), P("data", None, None, "model")
    assert refused(jc.chain(stem=jc.Conv(4, 3)), rows, (8, 6, 6, 2)) == (
        "at stem: on an explicit mesh, spatial axes must not be sharded\n"
        f"  got: axis 1 of float32[8@data,6@model,6,2]{FIX}"
    )
    assert refused(jc.chain(jnp.tanh, flat=jc.flatten), channels, (8, 6, 6, 2)) == (
        "at flat: on an explicit mesh, flatten needs all axes but the batch unsharded\n"
        f"  got: float32[8@data,6,6,2@model]{FIX}"
    )
    assert refused(jc.chain(mix=jc.branch(jnp.sin, jc.Conv(2, 1))), channels, (8, 6, 6, 2)) == (
        "at mix: branches must be sharded alike to be merged by concat\n"
        f"  got: float32[8@data,6,6,2@model], float32[8@data,6,6,2]{FIX}"
    )
    assert refused(jc.chain(deep=jc.repeat(jc.Conv(2, 1), 2)), channels, (8, 6, 6, 2)) == (
        "at deep: a repeated layer must preserve the sharding of its input\n"
        f"  got: float32[8@data,6,6,2@model], float32[8@data,6,6,2]{FIX}"
    )


def test_a_dense_layer_sums_over_sharded_inputs(rng, quick_jit, assert_close):
    """As a convolution does: the sum over devices is completed, and gradients have their operands' types."""
    net = jc.Dense(6)
    (params, _), x = net.init(jax.random.key(0), (8, 10)), rng.normal(size=(8, 10)).astype(np.float32)

    def slopes(params, x):
        return jax.value_and_grad(lambda params, x: jnp.sin(net.apply(params, {}, x)[0]).sum(), (0, 1))(params, x)

    want = quick_jit(slopes)(params, x)
    with jax.set_mesh(mesh_of("4x2 explicit")):
        given = jax.device_put((params, x), ({"kernel": P("model"), "bias": P()}, P("data", "model")))
        assert str(jax.typeof(jax.jit(lambda p, x: net.apply(p, {}, x)[0])(*given))) == "float32[8@data,6]"
        got = quick_jit(slopes)(*given)
        assert jax.tree.map(jax.typeof, got[1]) == jax.tree.map(jax.typeof, given)
    jax.tree.map(assert_close, got, want)
