"""What the package relies on outside the stable public API of JAX, on the version that is installed."""

import ast
import importlib.metadata
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv._base import compat

ROOT = pathlib.Path(compat.__file__).parents[1]
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in ROOT.rglob("*.py")}
UNSTABLE = re.compile(r"jax\.(_src|core|dtypes|extend|interpreters|lib)\b|jaxlib\b|jax\.__version__")


def dotted(node):
    """The names that an import or an attribute access uses, as jax.core.Tracer."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return [ast.unparse(node)] if isinstance(node, ast.Attribute) else []


@pytest.mark.parametrize("name", sorted(TREES))
def test_one_module_alone_uses_unstable_names(name):
    used = {found for node in ast.walk(TREES[name]) for found in dotted(node) if UNSTABLE.match(found)}
    assert bool(used) == (name == "_base/compat.py"), f"{name} uses {used}: import them from jaxconv._base.compat"


@pytest.mark.parametrize(
    "name",
    [
        "ad.Zero", "ad.defbilinear", "ad.defjvp", "ad.instantiate_zeros", "ad.is_undefined_primal", "ad.primitive_jvps",
        "ad.primitive_transposes", "batching.primitive_batchers",
        "mlir.lower_fun", "mlir.register_lowering", "Primitive.def_abstract_eval", "Primitive.def_impl",
        "Primitive.bind", "Primitive.get_bind_params",
    ],
)  # fmt: skip
def test_names_that_jax_may_move(name):
    module, attribute = name.split(".")
    assert hasattr(getattr(compat, module), attribute)


def test_every_attribute_of_the_interpreters_is_listed_above():
    used = {
        ast.unparse(node)
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("ad", "batching", "mlir")
    }
    (listed,) = test_names_that_jax_may_move.pytestmark[0].args[1:]
    assert used == {name for name in listed if not name.startswith("Primitive")}


def test_the_exports_exist():
    for name in compat.__all__:
        assert getattr(compat, name) is not None, name


def test_versions_are_those_that_are_installed():
    assert compat.jax_version() == importlib.metadata.version("jax")
    assert compat.jaxlib_version() == importlib.metadata.version("jaxlib")


def test_the_fields_of_a_jaxpr():
    closed = jax.make_jaxpr(lambda x: jnp.sin(x) * np.float32(2))(jnp.ones(3))
    assert isinstance(closed, compat.ClosedJaxpr)
    assert isinstance(closed.jaxpr, compat.Jaxpr)
    sin, mul = closed.jaxpr.eqns
    assert isinstance(sin, compat.JaxprEqn)
    assert (sin.primitive.name, mul.primitive.name) == ("sin", "mul")
    assert isinstance(mul.invars[1], compat.Literal)
    assert sin.invars == closed.jaxpr.invars
    assert sin.outvars[0].aval.shape == (3,)
    assert not sin.effects
    np.testing.assert_array_equal(compat.bind(sin, [jnp.ones(3)])[0], jnp.sin(jnp.ones(3)))
    np.testing.assert_array_equal(compat.jaxpr_as_fun(closed)(jnp.ones(3))[0], 2 * jnp.sin(jnp.ones(3)))


def test_a_call_is_bound_with_its_functions():
    closed = jax.make_jaxpr(jax.nn.relu)(jnp.array([-1.0, 2.0]))
    (call,) = closed.jaxpr.eqns
    assert call.primitive.name.startswith("custom_jvp_call")
    np.testing.assert_array_equal(compat.bind(call, [jnp.array([-1.0, 2.0])])[0], [0, 2])


def test_the_manual_axes_of_a_shard_map():
    mesh = jax.make_mesh((1,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("devices")
    mapped = jax.shard_map(lambda x: x * 2, mesh=mesh, in_specs=spec, out_specs=spec)
    (eqn,) = jax.make_jaxpr(mapped)(jnp.ones(3)).jaxpr.eqns
    assert compat.manual_axes(eqn) == {"devices"}


def test_the_operands_of_a_scan():
    def f(a, b, w, xs):
        return jax.lax.scan(lambda c, x: ((c[0] * w + x[0], c[1] + 1), x[1]), (a, b), (xs, xs))

    (eqn,) = jax.make_jaxpr(f)(*[jnp.ones(2)] * 3, jnp.ones((5, 2))).jaxpr.eqns
    assert compat.scan_operands(eqn) == (1, 2)


def test_settings_are_read():
    with jax.default_matmul_precision("highest"):
        assert compat.default_precision() == "highest"
    assert compat.default_precision() is None


def test_tracers_and_keys_are_recognized():
    assert not isinstance(jnp.ones(3), compat.Tracer)
    seen = []
    jax.eval_shape(lambda x: seen.append(isinstance(x, compat.Tracer)), jnp.ones(3))
    assert seen == [True]
    key = jax.random.key(0)
    assert jnp.issubdtype(key.dtype, compat.prng_key)
    assert jax.dtypes.issubdtype(key.dtype, compat.extended)


def test_flax_has_what_accelerate_needs():
    nnx = pytest.importorskip("flax.nnx")
    assert all(map(callable, compat.nnx_inputs()))
    assert compat.is_nnx_object(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
    assert not compat.is_nnx_object({"kernel": jnp.ones(2)})
