"""accelerate: arguments and results of any kind, and what a function updates in place."""

import dataclasses
import functools
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from support.trees import assert_same

import jaxconv as jc

pytestmark = pytest.mark.sampled


def conv(x, k):
    return lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.fixture
def x(rng):
    return rng.normal(size=(4, 6, 6, 3)).astype(np.float32)


# ---------------------------------------------------------------- what is no array


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclasses.dataclass
class Record:
    value: Any
    name: str = "record"


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    value: Any
    inside: Any = None


def test_results_of_any_kind(x):
    table, k = np.arange(3), jnp.ones((3, 3, 3, 2))

    def f(x):
        y = conv(x, k)
        return {
            "y": y, "text": "text", "none": None, "number": 3, "yes": True, "function": jnp.tanh, "type": Record,
            "table": table, "constant": k, "pair": Pair(y.sum(), "second"), "record": Record([y + 1], "mine"),
            "frozen": Frozen({"y": 2 * y}, Record(y - 1)),
        }  # fmt: skip

    got, y = jc.accelerate(f)(x), np.asarray(conv(x, k))
    assert list(map(got.get, ("text", "none", "number", "yes", "function", "type"))) == [
        "text", None, 3, True, jnp.tanh, Record,
    ]  # fmt: skip
    assert type(got["number"]) is int
    assert got["table"] is table
    assert got["constant"] is k
    assert isinstance(got["pair"], Pair)
    assert (got["pair"].second, got["record"].name) == ("second", "mine")
    arrays = got["y"], got["pair"].first, got["record"].value[0], got["frozen"].value["y"], got["frozen"].inside.value
    assert_same(arrays, (y, y.sum(), y + 1, 2 * y, y - 1))


def test_results_of_any_kind_under_grad_and_vmap(x):
    k = jnp.ones((3, 3, 3, 2))
    loss = jc.accelerate(lambda k, x: ((conv(x, k) ** 2).sum(), {"name": "aux", "record": Record(k)}))
    names = []

    def value(k):
        y, aux = loss(k, x)
        names.append((aux["name"], aux["record"].value is k))
        return y

    assert_same(jax.grad(value)(k), jax.grad(lambda k: (conv(x, k) ** 2).sum())(k))
    assert names == [("aux", True)]
    assert_same(jax.vmap(lambda x: loss(k, x[None])[0])(x), jax.vmap(lambda x: (conv(x[None], k) ** 2).sum())(x))


# ---------------------------------------------------------------- updates in place


@jax.tree_util.register_pytree_node_class
class Counter:
    """A mutable class that JAX knows."""

    def __init__(self, total, name="counter"):
        self.total, self.name = total, name

    def tree_flatten(self):
        return (self.total,), self.name

    @classmethod
    def tree_unflatten(cls, name, children):
        return cls(*children, name)

    def add(self, x):
        self.total, self.name = self.total + x, "added"


def update(args):
    held, listed, record, counter = args["held"], args["list"], args["record"], args["counter"]
    held["new"] = held.pop("old") * 2
    listed[0] = listed[0] + 1
    listed.append(held["new"])
    record.value, record.name = record.value + held["new"], "updated"
    counter.add(held["kept"])
    args["times"] += 1
    return held["new"]


def updatable():
    return {
        "held": {"old": jnp.arange(2.0), "kept": jnp.ones(2)}, "list": [jnp.zeros(1)], "record": Record(jnp.ones(2)),
        "counter": Counter(jnp.ones(2)), "times": 1,
    }  # fmt: skip


def test_containers_are_updated_in_place():
    want, got = updatable(), updatable()
    parts = {name: got[name] for name in ("held", "list", "record", "counter")}
    kept = got["held"]["kept"]
    assert_same(jc.accelerate(update)(got), update(want))
    assert all(got[name] is part for name, part in parts.items())
    assert got["held"]["kept"] is kept
    assert (got["record"].name, got["counter"].name, got["times"]) == ("updated", "added", 2)
    for tree in (got, want):
        tree.update(record=tree["record"].value, counter=tree["counter"].total)
    assert_same(got, want)


def test_a_bound_method_updates_its_object():
    counter = Counter(jnp.ones(2))
    jc.accelerate(counter.add)(jnp.arange(2.0))
    np.testing.assert_array_equal(counter.total, [1, 2])


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_references_of_jax_are_updated(wrap):
    def f(ref, x):
        ref[...] += x
        return x

    ref = jax.new_ref(jnp.ones(2))
    wrap(jc.accelerate(f))(ref, jnp.arange(2.0))
    np.testing.assert_array_equal(ref[...], [1, 2])


class Opaque:
    """A mutable class that JAX does not know."""

    def __init__(self):
        self.weight = jnp.ones(2)

    def step(self, x):
        self.weight = self.weight + x
        return self.weight.sum()


ANYWHERE = Opaque()


def leaks():
    opaque, log, total = Opaque(), [], jnp.zeros(())

    def counted(x):
        nonlocal total
        total = total + x.sum()

    return {
        "an argument": (lambda x, opaque: opaque.step(x), "Opaque.weight"),
        "a default": (lambda x, held=opaque: held.step(x), "Opaque.weight"),
        "a method": (opaque.step, "Opaque.weight"),
        "a closure": (lambda x: opaque.step(x), "Opaque.weight"),
        "a global": (lambda x: ANYWHERE.step(x), "Opaque.weight"),
        "a partial function": (functools.partial(Opaque.step, opaque), "Opaque.weight"),
        "a list around": (lambda x: log.append(x * 2), "log"),
        "a name around": (counted, "total"),
        "a result": (lambda x: lambda y: x + y, "x"),
    }


@pytest.mark.parametrize("place", leaks())
def test_arrays_left_elsewhere_are_refused(place):
    fn, name = leaks()[place]
    message = (
        "accelerate traces a function: what it computes must reach its caller by its results, or by dicts, lists, "
        "dataclasses, pytrees and Flax NNX objects among its arguments\n"
        f"  got: values of the trace in {name}\n"
        "  fix: return them; a class of your own can be registered with jax.tree_util.register_dataclass"
    )
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        jc.accelerate(fn)(jnp.ones(2), *[Opaque()] * (place == "an argument"))


def test_an_object_that_holds_arrays_is_read_where_it_is(x):
    """Its arrays, traced ones of an outer trace as well, are constants of the trace."""
    opaque = Opaque()
    opaque.weight = jnp.ones((3, 3, 3, 2))

    def outer(k):
        opaque.weight = k
        return jc.accelerate(lambda x, opaque: (conv(x, opaque.weight) ** 2).sum())(x, opaque)

    k = opaque.weight
    assert_same(jax.grad(outer)(k), jax.grad(lambda k: (conv(x, k) ** 2).sum())(k))
