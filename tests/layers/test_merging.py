"""Parallel convolutions merged into one: the same outputs, the sums that are merged, and those that must stay."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layers.test_folding import trained
from models.families import FAMILIES, small

import jaxconv as jc
from jaxconv.layers.composition import compose


def check(net, shape, rng, merged, dtype="float32"):
    """Equal outputs, not all the same, also of other sizes; `merged`: parts that became a convolution, by path."""
    params, state = trained(net, shape, rng, dtype)
    x = rng.normal(size=shape).astype(dtype)
    before = jax.tree.map(jnp.copy, (params, state))
    new, own, left = jc.reparameterize(net, params, state, jax.typeof(jnp.asarray(x)))
    jax.tree.map(np.testing.assert_array_equal, (params, state), before)  # its arguments stay as they are
    assert convolutions(new) - convolutions(net) == merged
    larger = rng.normal(size=(shape[0], *(n + 3 for n in shape[1:-1]), shape[-1])).astype(dtype)
    for images in (x, larger):
        want, got = (np.asarray(v) for v in (net.apply(params, state, images)[0], new.apply(own, left, images)[0]))
        assert want.std() > 1e-3 * np.abs(want).max()
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        np.testing.assert_allclose(got, want, atol=(1e-5 if dtype == "float32" else 1e-12) * np.abs(want).max(), rtol=0)
    assert jax.tree.map(jnp.shape, (own, left)) == jax.tree.map(jnp.shape, new.init(jax.random.key(0), shape))
    return new, own, left


def convolutions(net, path=""):
    """The paths of its convolutions."""
    if not net.parts:
        return {path} if net.name == "conv" else set()
    return set().union(*(convolutions(part, f"{path}/{name}".strip("/")) for name, part in net.parts.items()))


def normed(*layers):
    return jc.chain(*layers, jc.BatchNorm())


def wide(size=3, **words):
    return jc.Conv(4, size, padding=size // 2 * words.get("dilation", 1), bias=False, **words)


def narrow(**words):
    return jc.Conv(4, 1, **words)


SUMS = {
    "RepVGG": [normed(wide()), normed(narrow()), jc.BatchNorm()],
    "strided": [normed(wide(stride=2)), normed(narrow(stride=2))],
    "the input itself": [wide(), lambda x: x],
    "ACNet": [normed(wide()), jc.Conv(4, (1, 3), padding="same"), jc.Conv(4, (3, 1), padding="same")],
    "off center": [jc.Conv(4, 3, padding="causal"), narrow()],
    "causal and not": [jc.Conv(4, (1, 3), padding=((0, 0), (2, 0))), jc.Conv(4, (1, 3), padding=((0, 0), (0, 2))),
                       jc.Conv(4, (1, 2), padding=((0, 0), (1, 0)))],
    "dilated": [wide(dilation=2), normed(narrow(bias=False)), lambda x: x],
    "same": [jc.Conv(4, 5, padding="same"), jc.Conv(4, 3, padding="same")],
    "valid": [jc.Conv(4, 3), jc.Conv(4, 3, bias=False)],
    "grouped": [wide(groups=2), narrow(groups=2), jc.BatchNorm()],
    "depthwise": [jc.DepthwiseConv(3, padding=1), jc.DepthwiseConv(1), lambda x: x],
    "more groups in fewer": [wide(groups=2), narrow(groups=4), wide(groups=4)],
    "standardized": [wide(transform=jc.standardize_kernel), narrow()],
    "scaled": [lambda x: 0.5 * x, jc.chain(wide(), lambda y: -y / 3), jc.chain(narrow(), lambda y: 2 - y)],
    "dropped": [wide(), jc.chain(narrow(), jc.DropPath(0.5), jc.Dropout(0.1))],
}  # fmt: skip


@pytest.mark.sampled
@pytest.mark.parametrize("name", SUMS)
def test_sums_that_are_merged(name, rng):
    check(jc.chain(body=jc.branch(*SUMS[name], merge="sum"), act=jnp.tanh), (2, 8, 10, 4), rng, {"body"})


@pytest.mark.sampled
@pytest.mark.parametrize("rank", [1, 3])
def test_signals_and_volumes(rank, rng):
    sums = [jc.Conv(4, (3,) * rank, padding=1), jc.Conv(4, (1,) * rank), jc.BatchNorm()]
    check(jc.chain(body=jc.branch(*sums, merge="sum"), act=jnp.tanh), (2, *(5,) * rank, 4), rng, {"body"})


@pytest.mark.slow
def test_double_precision(rng, x64):
    net = jc.chain(body=jc.branch(*SUMS["RepVGG"], merge="sum"), act=jnp.tanh)
    check(net, (2, 7, 8, 4), rng, {"body"}, dtype="float64")


def test_a_whole_net(rng):
    check(jc.chain(jc.residual(wide()), jc.BatchNorm()), (2, 7, 8, 4), rng, {""})


def test_residuals_nested_in_wrappers_and_each_other(rng):
    """The largest part that is linear becomes the convolution."""
    inner = jc.residual(wide(), jc.BatchNorm())
    net = jc.chain(a=jc.remat(jc.chain(inner, jnp.tanh)), b=jc.branch(inner, narrow(), merge="sum"), c=jnp.tanh)
    check(net, (2, 6, 6, 4), rng, {"a/residual0", "b"})


def test_a_part_that_runs_twice_is_merged_once(rng):
    body = jc.residual(wide(), jc.BatchNorm())
    net = compose("twice", {"body": body}, lambda call, x: call("body", jnp.tanh(call("body", x))))
    check(net, (2, 6, 6, 4), rng, {"body"})


def subtracted(call, x):
    return call("a", x) - call("b", x)


def test_any_flow(rng):
    check(jc.chain(d=compose("d", {"a": wide(), "b": narrow()}, subtracted), e=jnp.tanh), (2, 6, 6, 4), rng, {"d"})


STAY = {
    "an activation in a branch": jc.branch(jc.chain(wide(), jnp.tanh), narrow(), merge="sum"),
    "two convolutions in a row": jc.branch(jc.chain(wide(), wide()), narrow(), merge="sum"),
    "a product": compose("product", {"a": wide(), "b": narrow()}, lambda call, x: call("a", x) * call("b", x)),
    "concatenated": jc.branch(wide(), narrow()),
    "a pool": jc.branch(wide(), jc.AvgPool(3, stride=1, padding=1), merge="sum"),
    "padding of the size": jc.branch(jc.Conv(4, 3, stride=2, padding="same"), narrow(stride=2), merge="sum"),
    "reflection": jc.branch(jc.Conv(4, 3, padding=1, padding_mode="reflect"), narrow(), merge="sum"),
    "more multiplications": jc.branch(jc.DepthwiseConv(3, padding=1), narrow(), merge="sum"),
    "far apart": jc.branch(wide(), wide(dilation=4), merge="sum"),
    "another norm": jc.branch(wide(), jc.GroupNorm(2), merge="sum"),
    "one convolution": jc.chain(wide(), jc.BatchNorm()),
    "in a scan": jc.repeat(jc.residual(wide()), 2),
    "an image added": compose("image", {"a": wide()}, lambda call, x: call("a", x) + jnp.ones(x.shape[1:])),
    "half precision": jc.cast(jc.branch(wide(), narrow(), merge="sum"), "bfloat16"),
}  # fmt: skip


@pytest.mark.sampled
@pytest.mark.parametrize("name", STAY)
def test_sums_that_must_stay(name, rng):
    net = jc.chain(body=STAY[name], act=jnp.tanh)
    params, state = trained(net, (2, 8, 8, 4), rng)
    new, own, left = jc.reparameterize(net, params, state, (2, 8, 8, 4))
    assert convolutions(new) == convolutions(net)
    jax.tree.map(np.testing.assert_array_equal, (own, left), (params, state))


def test_weights_that_another_layer_runs_on(rng):
    body = jc.residual(wide(), jc.BatchNorm())

    def flow(call, x):
        return call("body", jnp.tanh(call("body", x)), by=body) + call("other", x)

    net = compose("tied", {"body": body, "other": jc.residual(wide(), jc.BatchNorm())}, flow)
    check(net, (2, 6, 6, 4), rng, {"other"})


@pytest.mark.slow
def test_jit_and_an_ensemble_by_vmap(rng):
    net = jc.chain(body=jc.branch(*SUMS["RepVGG"], merge="sum"), act=jnp.tanh)
    shape = (2, 6, 6, 4)
    members = [trained(net, shape, rng) for _ in range(2)]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    merge = jax.jit(jax.vmap(lambda params, state: jc.reparameterize(net, params, state, shape)[1:]))
    want = [jc.reparameterize(net, *member, shape)[1:] for member in members]
    jax.tree.map(
        lambda got, *each: np.testing.assert_allclose(got, np.stack(each), rtol=1e-5, atol=1e-6),
        merge(*together),
        *want,
    )


MERGED = {"repvgg": {"stem/branches", "stages/0/0/branches", "stages/1/0/branches", "stages/1/1/branches"}}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family(name, rng):
    """Only RepVGG has such sums; all others stay as they are."""
    net, shape = small(name), FAMILIES[name].shape
    params, state = trained(net, shape, rng)
    new, own, left = jc.reparameterize(net, params, state, shape)
    assert convolutions(new) - convolutions(net) == MERGED.get(name, set())
    x = rng.normal(size=shape).astype(np.float32)
    want, got = (np.asarray(v) for v in (net.apply(params, state, x)[0], new.apply(own, left, x)[0]))
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max(), rtol=0)
