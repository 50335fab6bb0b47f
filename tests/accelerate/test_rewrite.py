"""accelerate: the same results, every convolution and pool replaced, everything else bit for bit."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec
from support.trees import assert_same

import jaxconv as jc
from jaxconv.engine import native

pytestmark = pytest.mark.sampled

NHWC = ("NHWC", "HWIO", "NHWC")


def conv(x, k, stride=1, groups=1):
    return lax.conv_general_dilated(x, k, (stride, stride), "SAME", dimension_numbers=NHWC, feature_group_count=groups)


def pool(x, init=-jnp.inf, op=lax.max, size=3):
    return lax.reduce_window(x, init, op, (1, size, size, 1), (1, 2, 2, 1), "SAME")


@jax.custom_vjp
def clipped(x):
    return x


clipped.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -1, 1),))


@jax.custom_jvp
def doubled(x):
    return 2 * conv(x, jnp.eye(x.shape[-1])[None, None])


doubled.defjvp(lambda p, t: (doubled(*p), 2 * t[0]))


def net(x, params):
    h = pool(conv(x, params["a"]))
    h = jax.checkpoint(lambda h: jax.nn.relu(conv(h, params["b"], 2, groups=2)))(h)
    h = jax.jit(lambda h: clipped(doubled(h)))(h)
    h = lax.cond(h.sum() > -jnp.inf, lambda h: conv(h, params["c"]), lambda h: h, h)
    return (pool(h, 0.0, lax.add, 2) ** 2).sum()


def step(params, x, lr, word="sgd"):
    """Three steps in a scan; `word` and a Python number for `lr` must come through as they are."""
    assert isinstance(word, str)

    def body(params, _):
        value, grads = jax.value_and_grad(net, 1)(x, params)
        return jax.tree.map(lambda p, g: p - lr * g, params, grads), value

    return lax.scan(body, params, None, length=3)


@pytest.fixture
def inputs(rng):
    shapes = {"a": (3, 3, 3, 8), "b": (3, 3, 4, 8), "c": (3, 3, 8, 8)}
    params = {name: (rng.normal(size=shape) / 8).astype(np.float32) for name, shape in shapes.items()}
    return params, rng.normal(size=(4, 16, 16, 3)).astype(np.float32)


def names_of(jaxpr, found=None):
    """Every primitive in a jaxpr and in those inside it."""
    found = set() if found is None else found
    for eqn in jaxpr.eqns:
        found.add(eqn.primitive.name)
        for value in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                names_of(inner, found)
    return found


REPLACED = {"conv_general_dilated", "reduce_window_max", "reduce_window_sum", "select_and_scatter_add"}


def test_a_train_step(inputs):
    params, x = inputs
    fast = jc.accelerate(step)
    assert_same(
        jax.jit(fast, static_argnums=3)(params, x, 1e-3, "sgd"), jax.jit(step, static_argnums=3)(params, x, 1e-3, "sgd")
    )
    before = names_of(jax.make_jaxpr(lambda p, x: step(p, x, 1e-3))(params, x).jaxpr)
    after = names_of(jax.make_jaxpr(lambda p, x: fast(p, x, 1e-3))(params, x).jaxpr)
    assert before >= REPLACED
    assert not after & REPLACED
    assert after - before == {"jaxconv_conv", "jaxconv_select"} | (after - before) & {
        "transpose",
        "rev",
        "optimization_barrier",
        "squeeze",
        "max",
        "or",
        "ne",
        "eq",
        "gt",
        "select_n",
        "slice",
        "iota",
        "and",
        "not",
        "pad",
    }


@pytest.mark.slow
def test_under_grad_and_vmap(inputs):
    params, x = inputs
    fast = jc.accelerate(net)
    assert_same(jax.jit(jax.grad(fast, (0, 1)))(x, params), jax.jit(jax.grad(net, (0, 1)))(x, params))
    both = jax.tree.map(lambda p: np.stack([p, -p]), params)
    assert_same(jax.jit(jax.vmap(fast, (None, 0)))(x, both), jax.jit(jax.vmap(net, (None, 0)))(x, both))
    inside = jc.accelerate(lambda x, both: jax.vmap(jax.grad(net, 1), (None, 0))(x, both))
    assert_same(jax.jit(inside)(x, both), jax.jit(jax.vmap(jax.grad(net, 1), (None, 0)))(x, both))


def test_custom_rules_are_kept(inputs):
    """clipped's gradient is cut off at 1, doubled's is its own: both also when the derivative is taken outside."""
    x = jnp.full((1, 2, 2, 2), 3.0)
    f = lambda x: 5 * clipped(doubled(x)).sum()  # noqa: E731
    np.testing.assert_array_equal(jax.grad(jc.accelerate(f))(x), jnp.full(x.shape, 2.0))
    np.testing.assert_array_equal(jc.accelerate(jax.grad(f))(x), jnp.full(x.shape, 2.0))


def test_in_while_and_shard_map(inputs):
    params, x = inputs

    def sharded(x, k):
        def part(x, k):
            grow = lambda c: (c[0] + 1, conv(c[1], k))  # noqa: E731
            y = lax.while_loop(lambda c: c[0] < 2, grow, (0, conv(x, params["a"])))[1]
            return lax.psum(pool(y).sum(), "d")

        mesh = jax.make_mesh((1,), ("d",), axis_types=(AxisType.Auto,))
        specs = PartitionSpec("d"), PartitionSpec()
        return jax.shard_map(part, mesh=mesh, in_specs=specs, out_specs=PartitionSpec())(x, k)

    fast = jc.accelerate(sharded)
    assert_same(jax.jit(fast)(x, params["c"]), jax.jit(sharded)(x, params["c"]))
    assert not names_of(jax.make_jaxpr(fast)(x, params["c"]).jaxpr) & REPLACED


def test_everything_else_is_bit_for_bit(rng):
    def f(tree, *, flag, scale=2):
        x, i = tree["x"], tree["i"]
        y = jnp.sin(x) @ jnp.cos(x).T if flag else x
        noise = jax.random.normal(jax.random.key(3), y.shape)
        return {"y": y * scale + noise, "i": lax.sort(i), "cum": jnp.cumsum(i), "none": None}

    tree = {"x": rng.normal(size=(5, 7)).astype(np.float32), "i": rng.integers(9, size=6)}
    got, want = jc.accelerate(f)(tree, flag=True), f(tree, flag=True)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.mark.slow
def test_donation_passes_through(inputs):
    params, x = inputs
    fast = jax.jit(jc.accelerate(step), static_argnums=3, donate_argnums=0)
    given = jax.tree.map(jnp.array, params)
    fast(given, x, 1e-3, "sgd")
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given))


def test_report(inputs, monkeypatch):
    params, x = inputs
    monkeypatch.setattr(native, "reason", lambda: None)
    monkeypatch.setattr(native, "available", lambda: True)
    found = jc.accelerate.report(step, params, x, 1e-3)
    assert [(row.slot, row.lhs, row.rhs) for row in found][:2] == [
        ("y", (4, 16, 16, 3), (3, 3, 3, 8)),
        ("y", (4, 8, 8, 8), (3, 3, 4, 8)),
    ]
    assert {row.slot for row in found} == {"x", "y", "k"}
    text = str(found)
    head, *lines = text.splitlines()
    assert re.split(r"\s{2,}", head) == ["where", "lhs", "rhs", "result", "XLA alone", "jaxconv"]
    assert len(lines) == len(found)
    assert "2 groups, one small contraction each" in text
    assert "2 times the work (batch groups)" in text
    assert "a naive loop (layout, in a loop body)" in text
    monkeypatch.setattr(native, "available", lambda: False)
    monkeypatch.setattr(native, "reason", lambda: "not compiled; run python -m jaxconv.engine.native")
    assert str(found) == f"{text}\nnative kernels: not available: not compiled; run python -m jaxconv.engine.native"


def test_report_of_a_kernel_larger_than_its_input():
    (row,) = jc.accelerate.report(
        conv, jax.ShapeDtypeStruct((8, 2, 2, 16), "float32"), jax.ShapeDtypeStruct((3, 3, 16, 4), "float32")
    )
    assert row.lax == "a naive loop (kernel larger than the input)"


def test_static_arguments_of_any_type(inputs):
    """Functions, strings and numbers reach the function as they came; arrays are traced."""
    params, x = inputs

    def f(x, act, times, mode=None):
        assert callable(act)
        assert type(times) is int
        assert mode is None
        for _ in range(times):
            x = act(conv(x, params["a"][..., :3]))
        return x

    assert_same(jc.accelerate(f)(x, jnp.tanh, 2), f(x, jnp.tanh, 2))


@pytest.mark.slow
def test_a_flax_train_step(rng):
    """A whole step of another library, gradients and optimizer and all."""
    nnx, optax = pytest.importorskip("flax.nnx"), pytest.importorskip("optax")
    x, y = rng.normal(size=(8, 12, 12, 3)).astype(np.float32), rng.integers(4, size=8)

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.a = nnx.Conv(3, 8, (3, 3), rngs=rngs)
            self.b = nnx.Conv(8, 8, (3, 3), feature_group_count=8, strides=2, rngs=rngs)
            self.norm, self.head = nnx.BatchNorm(8, rngs=rngs), nnx.Linear(8, 4, rngs=rngs)

        def __call__(self, x):
            h = nnx.max_pool(nnx.relu(self.a(x)), (2, 2), (2, 2))
            return self.head(nnx.relu(self.norm(self.b(h))).mean((1, 2)))

    graph, params, rest = nnx.split(Net(nnx.Rngs(0)), nnx.Param, ...)
    optimizer = optax.sgd(0.1, momentum=0.9)

    def train(params, rest, state, x, y):
        def loss(params):
            model = nnx.merge(graph, params, rest, copy=True)
            value = optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()
            return value, nnx.split(model, nnx.Param, ...)[2]

        (value, new), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), new, state, value

    args = params, rest, optimizer.init(params), x, y
    assert_same(jax.jit(jc.accelerate(train))(*args), jax.jit(train)(*args), 1e-4)


@functools.cache
def compiled_text(in_loop):
    """The compiled HLO of a step of a small net with every kind of layer, in a loop or not."""
    block = jc.chain(
        jc.Conv(8, 3, padding="same"), jc.BatchNorm(), jax.nn.relu, jc.MaxPool(3, stride=2, padding=1),
        jc.DepthwiseConv(3, stride=2, padding="same"), jc.Conv(16, 3, groups=4, padding="same"), jc.MaxPool(2),
        jc.Conv(16, 3, padding="same"), jc.ConvTranspose(4, 3, stride=2, padding="same"), jc.flatten, head=jc.Dense(3),
    )  # fmt: skip
    params, state = block.init(jax.random.key(0), (4, 16, 16, 3))

    def one(params, x):
        return jax.value_and_grad(lambda p: (block.apply(p, state, x, train=True)[0] ** 2).sum())(params)

    def many(params, x):
        sgd = lambda p, g: p - 1e-3 * g  # noqa: E731
        return lax.scan(lambda p, _: (jax.tree.map(sgd, p, one(p, x)[1]), None), params, None, length=2)

    return jax.jit(many if in_loop else one).lower(params, jnp.zeros((4, 16, 16, 3))).compile().as_text()


@pytest.mark.slow
@pytest.mark.parametrize("in_loop", [False, True])
def test_compiled_hlo_is_canonical(in_loop):
    text = compiled_text(in_loop)
    for labels in re.findall(r"dim_labels=(\S+)", text):
        assert labels.rstrip(",") in ("b01f_01io->b01f", "b0f_0io->b0f", "b012f_012io->b012f")
    for word in ("rhs_reversal", "batch_group_count", "scatter(", "lhs_dilate"):
        assert word not in text, word
