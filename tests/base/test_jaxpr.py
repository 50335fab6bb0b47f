"""The interpreter against jax.core.eval_jaxpr; liveness by what the results depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv._base.compat import bind
from jaxconv._base.jaxpr import CALLS, LOOPS, Liveness, called, interpret, map_jaxprs, opened

TABLE = np.arange(6.0, dtype=np.float32).reshape(2, 3)


def program(x):
    y = jax.jit(lambda a: (jnp.sin(a) * TABLE, a + 1))(x)
    z = jax.lax.scan(lambda c, row: (c * 2 + row, c.sum()), y[0][0], y[1])
    return jax.lax.cond(x.sum() > 0, jnp.cos, lambda a: -a, z[0]), z[1]


def test_arrays_as_jax_evaluates_them():
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    closed = jax.make_jaxpr(program)(x)
    jaxpr, consts = opened(closed)
    found = interpret(jaxpr, [*consts, x], bind, lambda literal: literal.val)
    for ours, theirs in zip(found, jax.core.eval_jaxpr(jaxpr, consts, x), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_calls_can_be_entered():
    x = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)
    names = []

    def run(program, *args):
        jaxpr, consts = opened(program)
        return interpret(jaxpr, [*consts, *args], step, lambda literal: literal.val)

    def step(eqn, operands):
        names.append(eqn.primitive.name)
        inner = called(eqn)
        return bind(eqn, operands) if inner is None else run(inner, *operands)

    found = run(jax.make_jaxpr(program)(x), x)
    for ours, theirs in zip(found, program(x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert names.index("sin") < names.index("scan") < names.index("cond")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("jit", jax.jit),
        ("checkpoint", jax.checkpoint),
        ("custom_jvp_call", lambda f: jax.custom_jvp(f)),
        ("custom_vjp_call", lambda f: jax.custom_vjp(f)),
        ("composite", lambda f: jax.lax.composite(f, "ours")),
    ],
)
def test_every_call_is_known(name, make):
    fn = make(lambda x: jnp.sin(x))
    if name.startswith("custom"):
        fn.defjvp(lambda p, t: (p[0], t[0])) if name == "custom_jvp_call" else fn.defvjp(
            lambda x: (x, None), lambda _, g: (g,)
        )
    (eqn,) = jax.make_jaxpr(fn)(1.0).jaxpr.eqns
    assert eqn.primitive.name in CALLS
    assert [e.primitive.name for e in opened(called(eqn))[0].eqns] == ["sin"]


def test_loops_and_branches_are_no_calls():
    eqns = jax.make_jaxpr(program)(TABLE).jaxpr.eqns
    other = [eqn for eqn in eqns if eqn.primitive.name in ("scan", "cond")]
    assert len(other) == 2
    assert all(called(eqn) is None for eqn in other)
    assert {eqn.primitive.name for eqn in other} & LOOPS == {"scan"}


def test_an_equation_that_is_not_run_leaves_its_results_outside():
    jaxpr = jax.make_jaxpr(lambda x: (x + 1.0, x * 2.0))(1.0).jaxpr
    live = Liveness()(jaxpr, [False, True])
    found = interpret(jaxpr, ["x"], lambda eqn, operands: [eqn.primitive.name], lambda atom: "outside", live)
    assert found == ["outside", "mul"]


def test_operands_that_a_call_ignores_are_dead():
    def fn(x):
        return jax.jit(lambda a, b: (a * 2, b * 3))(jnp.sin(x), jnp.cos(x))

    jaxpr = jax.make_jaxpr(fn)(1.0).jaxpr
    live = Liveness()(jaxpr, [False, True])
    assert [eqn.primitive.name for eqn in live] == ["cos", "jit"]
    assert list(live.values()) == [[True], [False, True]]


def test_effects_are_live():
    def fn(x):
        jax.debug.print("{}", jnp.exp(x))
        return x + 1, x - 1

    jaxpr = jax.make_jaxpr(fn)(1.0).jaxpr
    names = [eqn.primitive.name for eqn in Liveness()(jaxpr, [True, False])]
    assert "exp" in names
    assert "add" in names
    assert "sub" not in names


def test_parameters_keep_their_kind():
    (scan,) = [e for e in jax.make_jaxpr(program)(TABLE).jaxpr.eqns if e.primitive.name == "scan"]
    (cond,) = [e for e in jax.make_jaxpr(program)(TABLE).jaxpr.eqns if e.primitive.name == "cond"]
    branches = cond.params["branches"]
    assert map_jaxprs(branches, lambda jaxpr: jaxpr) == branches
    assert map_jaxprs(branches, lambda jaxpr: len(opened(jaxpr)[0].eqns)) == (1, 1)
    assert map_jaxprs(scan.params["length"], lambda jaxpr: 1 / 0) == 2
    assert map_jaxprs((1, 2), lambda jaxpr: 1 / 0) == (1, 2)
