"""The primitive under JAX's transformations: each derivative is a form, too."""

import functools
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import jet
from jax.extend.core import jaxpr_as_fun
from support import oracle

import jaxconv as jc
from jaxconv.engine import Form, bind
from jaxconv.engine.primitive import conv_p

FORMS = {
    "dense": Form("y", (2, 6, 5, 3), (3, 2, 3, 4), (1, 1), ((1, 1), (0, 1)), (1, 1)),
    "strided": Form("y", (2, 7, 6, 4), (3, 3, 2, 6), (2, 3), ((1, 0), (2, 1)), (1, 1), groups=2),
    "depthwise": Form("y", (3, 6, 6, 5), (3, 3, 1, 5), (2, 1), ((1, 1), (1, 1)), (1, 1), groups=5),
    "dilated": Form("y", (2, 9, 4), (3, 1, 8), (1,), ((4, 0),), (2,), groups=4),
    "deep": Form("y", (1, 4, 3, 4, 2), (2, 1, 3, 2, 3), (1, 1, 2), ((0, 1), (0, 0), (1, 1)), (1, 1, 1)),
}
WORDS = ("stride", "padding", "dilation", "groups")


def arrays(form, rng, *lead):
    return [rng.normal(size=(*lead, *getattr(form, s))).astype(np.float32) for s in "xky"]


def expected(form, x, k, y):
    """The three slots by the oracle."""
    words = {word: getattr(form, word) for word in WORDS}
    dx, dk = oracle.conv_grads(x, k, y, **words)
    return {"y": oracle.conv(x, k, **words), "x": dx, "k": dk}


@pytest.mark.sampled
@pytest.mark.parametrize("slot", "xky")
@pytest.mark.parametrize(
    "name", ["strided", *(pytest.param(name, marks=pytest.mark.slow) for name in FORMS if name != "strided")]
)
def test_vmap_over_either_operand_and_both_and_twice(name, slot, rng, assert_close):
    form = FORMS[name].open(slot)
    sets = [[arrays(form, rng) for _ in range(2)] for _ in range(3)]
    stack = {s: np.stack([[m["xky".index(s)] for m in row] for row in sets]) for s in "xky"}
    first, second = form.operands
    f = functools.partial(bind, form=form)

    def want(i, j):  # indices of the operands along the two mapped axes
        given = {first: stack[first][i], second: stack[second][j], slot: np.zeros(getattr(form, slot))}
        return expected(form, *(given[s] for s in "xky"))[slot]

    @jax.jit
    def program(a, b):
        twice = jax.vmap(jax.vmap(f))
        crossed = jax.vmap(jax.vmap(f, (0, None)), (None, 0))
        return (
            jax.vmap(f, (0, None))(a[0], b[0, 0]),
            jax.vmap(f, (None, 0))(a[0, 0], b[0]),
            twice(a, b),
            crossed(a[0], b[1]),
        )

    left, right, both, crossed = program(stack[first], stack[second])
    for j in range(2):
        assert_close(left[j], want((0, j), (0, 0)), "first operand")
        assert_close(right[j], want((0, 0), (0, j)), "second operand")
    for i in range(3):
        for j in range(2):
            assert_close(both[i, j], want((i, j), (i, j)), "both, twice")
    for i in range(2):
        for j in range(2):
            assert_close(crossed[i, j], want((0, j), (1, i)), "crossed")


@pytest.mark.parametrize("slot", "xky")
def test_vmap_over_an_empty_axis(slot, quick_jit):
    """Over either operand, over both, and inside and outside of an axis of size two."""
    form = FORMS["strided"].open(slot)
    a, b = (np.ones(getattr(form, s), np.float32) for s in form.operands)
    out, f = getattr(form, slot), functools.partial(bind, form=form)
    stacked = [np.ones((count, *v.shape), np.float32) for count in (0, 2) for v in (a, b)]

    @quick_jit
    def program(a0, b0, a2, b2):
        return (
            (jax.vmap(f, (0, None))(a0, b), (0, *out)),
            (jax.vmap(f, (None, 0))(a, b0), (0, *out)),
            (jax.vmap(f)(a0, b0), (0, *out)),
            (jax.vmap(jax.vmap(f, (None, 0)), (0, None))(a2, b0), (2, 0, *out)),
            (jax.vmap(jax.vmap(f, (0, None)), (None, 0))(a0, b2), (2, 0, *out)),
            (jax.vmap(jax.vmap(f))(jnp.stack([a0, a0]), jnp.stack([b0, b0])), (2, 0, *out)),
            (jax.vmap(jax.vmap(f), (1, 1))(jnp.stack([a0, a0]), jnp.stack([b0, b0])), (0, 2, *out)),
        )

    for number, (got, shape) in enumerate(program(*stacked)):
        assert got.shape == tuple(shape), number
        assert got.dtype == "float32"


@pytest.mark.slow
def test_without_jit(rng, assert_close):
    """`jax.disable_jit` is for debugging the caller's code: the primitives still run compiled."""
    x, k = rng.normal(size=(2, 6, 5, 3)).astype("f"), rng.normal(size=(3, 2, 3, 4)).astype("f")

    def loss(x, k):
        return (jc.max_pool(jc.conv(x, k, padding="same"), 2) ** 2).sum()

    want = jax.jit(jax.grad(loss, (0, 1)))(x, k)
    with jax.disable_jit():
        got = jax.grad(loss, (0, 1))(x, k)
        y = jax.jit(lambda x, k: jc.conv(x, k, padding="same"))(x, k)
    assert_close(y, oracle.conv(x, k, padding="same"))
    for one, right in zip(got, want, strict=True):
        assert_close(one, right)


@pytest.mark.sampled
@pytest.mark.parametrize("name", FORMS)
def test_every_derivative_is_a_form(name, rng):
    """Derivatives of any order in either mode have no other convolution in the jaxpr than the primitive."""
    form, (x, k, _) = FORMS[name], arrays(FORMS[name], rng)
    energy = lambda x, k: (bind(x, k, form) ** 2).sum()  # noqa: E731
    for derivative in (
        jax.grad(energy, (0, 1)),
        jax.jacfwd(lambda x, k: bind(x, k, form).sum(), 1),
        jax.hessian(energy, 1),
        jax.grad(lambda x, k: (jax.grad(energy, 1)(x, k) ** 2).sum()),
        lambda x, k: jax.linearize(energy, x, k)[1](x, k),
    ):
        text = str(jax.make_jaxpr(derivative)(x, k))
        assert conv_p.name in text
        assert "conv_general_dilated" not in text


@pytest.mark.parametrize("name", ["strided", pytest.param("depthwise", marks=pytest.mark.slow)])
def test_hessian_and_remat_and_control_flow(name, rng, assert_close):
    """∂²/∂k² of |A(x, k)|²/2 along w is A's adjoint of A(x, w); the same in remat, cond, while and scan."""
    form, (x, k, _), (_, w, _) = FORMS[name], arrays(FORMS[name], rng), arrays(FORMS[name], rng)
    grad = jax.grad(lambda k: (bind(x, k, form) ** 2).sum() / 2)
    remat = jax.grad(lambda k: (jax.checkpoint(lambda k: bind(x, k, form))(k) ** 2).sum() / 2)

    @jax.jit
    def program(k, w):
        hessian = jax.jvp(grad, (k,), (w,))[1]
        reverse = jax.grad(lambda k: (grad(k) * w).sum())(k)
        cond = jax.lax.cond(k.sum() > -jnp.inf, grad, lambda k: k, k)
        loop = jax.lax.while_loop(lambda c: c[0] < 1, lambda c: (c[0] + 1, grad(c[1])), (0, k))[1]
        scan = jax.lax.scan(lambda c, _: (grad(c), None), k, None, length=1)[0]
        return hessian, reverse, cond, loop, scan, remat(k)

    want = expected(form, x, k, expected(form, x, k, np.zeros(form.y))["y"])["k"]
    curve = expected(form, x, k, expected(form, x, w, np.zeros(form.y))["y"])["k"]
    hessian, reverse, *rest = program(k, w)
    assert_close(hessian, curve, "hessian, forward over reverse")
    assert_close(reverse, curve, "hessian, reverse over reverse")
    for what, got in zip(("cond", "while", "scan", "remat"), rest, strict=True):
        assert_close(got, want, what)


@pytest.mark.slow
def test_the_trilinear_form_is_one_number(rng):
    """⟨conv(x, k), y⟩ = ⟨x, dx(k, y)⟩ = ⟨k, dk(x, y)⟩."""
    for form in FORMS.values():
        given = dict(zip("xky", arrays(form, rng), strict=True))
        sums = [float((given[s] * bind(*(given[o] for o in form.open(s).operands), form.open(s))).sum()) for s in "xky"]
        np.testing.assert_allclose(sums, sums[0], rtol=1e-4, atol=1e-3)


def test_operands_must_match_the_shapes_of_the_form():
    form = FORMS["dense"]
    message = r"expected k of shape \(3, 2, 3, 4\) for Form\(slot='y'.*, got \(3, 2, 4, 4\)"
    with pytest.raises(ValueError, match=message):
        bind(jnp.zeros(form.x), jnp.zeros((3, 2, 4, 4)), form)


def test_export_has_no_custom_call(rng, assert_close):
    """Exported programs run anywhere: no call into this machine's libraries."""
    form, (x, k, y) = FORMS["depthwise"], arrays(FORMS["depthwise"], rng)

    def slots(x, k, y):
        out, back = jax.vjp(functools.partial(bind, form=form), x, k)
        return (out, *back(y))

    exported = jax.export.export(jax.jit(slots))(x, k, y)
    assert "jaxconv_" not in exported.mlir_module()
    for s, got in zip("yxk", exported.call(x, k, y), strict=True):
        assert_close(got, expected(form, x, k, y)[s], s)


@pytest.mark.slow
def test_eight_devices():
    """Sharded by jit and by shard_map, equal to one device."""
    code = """
    import jax, jax.numpy as jnp, numpy as np, jaxconv as jc
    from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
    rng = np.random.default_rng(0)
    x, k = rng.normal(size=(16, 8, 8, 6)).astype("f"), rng.normal(size=(3, 3, 6, 4)).astype("f")
    d = rng.normal(size=(3, 3, 1, 6)).astype("f")

    def loss(x, k, d):
        h = jc.max_pool(jc.conv(x, d, padding="same", groups=6), 2)
        return (jc.conv(h, k, stride=2, padding="same") ** 2).sum()

    want = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(x, k, d)
    near = lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())
    close = lambda got: jax.tree.map(near, got, want)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    put = lambda a, *spec: jax.device_put(a, NamedSharding(mesh, P(*spec)))
    close(jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(put(x, "data"), put(k), put(d)))
    def part(x, k, d):
        value, (dx, dk, dd) = jax.value_and_grad(loss, (0, 1, 2))(x, k, d)
        return jax.lax.psum(value, "data"), (dx, dk, dd)
    specs = P("data"), P(), P()
    got = jax.jit(jax.shard_map(part, mesh=mesh, in_specs=specs, out_specs=(P(), specs)))(x, k, d)
    close(got)
    print("equal")
    """
    flags = "--xla_force_host_platform_device_count=8"
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env={"XLA_FLAGS": flags, "PATH": "", "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.stdout.strip() == "equal", run.stderr[-3000:]


def test_the_jaxpr_can_be_run_again(rng, assert_close):
    """A jaxpr with the primitive in it is a jaxpr like any other."""
    x, k, _ = arrays(FORMS["dense"], rng)
    closed = jax.make_jaxpr(lambda x, k: jc.conv(x, k, padding="same"))(x, k)
    assert_close(jaxpr_as_fun(closed)(x, k)[0], oracle.conv(x, k, padding="same"))


@pytest.mark.slow
def test_taylor_series_of_a_convolution_and_of_a_choice(rng):
    """jet agrees with finite sums of the polynomials themselves: both sides computed in NumPy by the oracle."""
    words = {"stride": (2, 1), "padding": ((1, 0), (1, 1)), "dilation": (1, 1), "groups": 2}
    xs = [rng.normal(size=(2, 6, 5, 4)).astype(np.float32) for _ in range(4)]
    ks = [rng.normal(size=(3, 3, 2, 6)).astype(np.float32) for _ in range(4)]
    f = functools.partial(jc.conv, **words)
    first, rest = jax.jit(lambda x, k: jet.jet(f, (x[0], k[0]), (x[1:], k[1:]), factorial_scaled=False))(xs, ks)
    want = [sum(oracle.conv(xs[i], ks[n - i], **words) for i in range(n + 1)) for n in range(4)]
    for got, right in zip((first, *rest), want, strict=True):
        np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-4)

    def largest(x):
        return jc.max_pool_with_indices(x, 2)[0]

    first, rest = jet.jet(largest, (xs[0],), (xs[1:],), factorial_scaled=False)
    at = np.asarray(jc.max_pool_with_indices(xs[0], 2)[1])
    for got, x in zip((first, *rest), xs, strict=True):
        cells = x.reshape(2, 30, 4)
        np.testing.assert_array_equal(got, np.take_along_axis(cells, at.reshape(2, -1, 4), 1).reshape(at.shape))


@pytest.mark.slow
def test_taylor_series_along_a_curve_is_the_derivative_of_the_composition(rng):
    """Third derivatives of conv(x + t v + t² w, k + t u) by nested jvp."""
    x, v, w = (jnp.asarray(rng.normal(size=(1, 5, 5, 2)).astype(np.float32)) for _ in range(3))
    k, u = (jnp.asarray(rng.normal(size=(3, 3, 2, 3)).astype(np.float32)) for _ in range(2))

    def along(t):
        return jnp.tanh(jc.conv(x + t * v + t * t * w, k + t * u))

    derivatives = [along]
    for _ in range(3):
        derivatives.append(lambda t, f=derivatives[-1]: jax.jvp(f, (t,), (1.0,))[1])
    zero = jnp.zeros_like
    first, rest = jet.jet(lambda x, k: jnp.tanh(jc.conv(x, k)), (x, k), ([v, 2 * w, zero(v)], [u, zero(u), zero(u)]))
    for got, f in zip((first, *rest), derivatives, strict=True):
        np.testing.assert_allclose(got, f(0.0), rtol=1e-3, atol=1e-3)
