"""Batch norms folded into the layers before them: the same outputs, and the cases in which they must stay."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.families import FAMILIES, small

import jaxconv as jc
from jaxconv.layers.composition import compose


def trained(net, shape, rng, dtype="float32"):
    """Params near their start, and running statistics of their own for each channel."""
    params, state = net.init(jax.random.key(0), jax.ShapeDtypeStruct(shape, dtype))
    params = jax.tree.map(lambda v: v + jnp.asarray(0.05 * rng.normal(size=v.shape), v.dtype), params)

    def statistic(path, v):
        values = rng.uniform(0.3, 2, v.shape) if path[-1].key == "var" else 0.3 * rng.normal(size=v.shape)
        return jnp.asarray(values, v.dtype)

    return params, jax.tree.map_with_path(statistic, state)


def check(net, shape, rng, folded, dtype="float32"):
    """Equal outputs, not all the same; `folded`: number of batch norms that are gone."""
    params, state = trained(net, shape, rng, dtype)
    x = rng.normal(size=shape).astype(dtype)
    before = jax.tree.map(jnp.copy, (params, state))
    new = jc.fold_batch_norms(net, params, state, jax.typeof(jnp.asarray(x)))
    jax.tree.map(np.testing.assert_array_equal, (params, state), before)  # its arguments stay as they are
    want, (got, left) = net.apply(params, state, x)[0], new[0].apply(*new[1:], x)
    assert len(jax.tree.leaves(state)) - len(jax.tree.leaves(left)) == 2 * folded
    want, got = np.asarray(want), np.asarray(got)
    assert want.std() > 1e-3 * np.abs(want).max()
    assert got.dtype == want.dtype
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(got, want, atol=tolerance * np.abs(want).max(), rtol=0)
    return new


LAYERS = {
    "conv": jc.Conv(6, 3),
    "conv without bias": jc.Conv(6, 3, bias=False),
    "grouped": jc.Conv(6, 3, groups=2),
    "depthwise": jc.DepthwiseConv(3, stride=2),
    "transposed": jc.ConvTranspose(6, 3, stride=2),
    "transposed in groups": jc.ConvTranspose(6, 3, stride=2, groups=2),
    "dense": jc.Dense(5),
}


@pytest.mark.sampled
@pytest.mark.parametrize("words", [{}, {"scale": False}, {"bias": False}, {"eps": 0.1}], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_before_each_norm(name, words, rng):
    net = jc.chain(layer=LAYERS[name], norm=jc.BatchNorm(**words), act=jax.nn.relu)
    folded, params, state = check(net, (2, 7, 8, 4), rng, folded=1)
    assert list(params["norm"]) == ["bias"]
    assert state["norm"] == {}
    assert list(folded.parts) == ["layer", "norm", "act"]


@pytest.mark.slow
def test_double_precision(rng, x64):
    check(jc.chain(jc.Conv(6, 3), jc.BatchNorm()), (2, 7, 8, 4), rng, folded=1, dtype="float64")


@pytest.mark.slow
def test_half_precision_by_cast(rng):
    """The norm computes in bfloat16 what it reads; the folded kernel is rounded once."""
    net = jc.cast(jc.chain(jc.Conv(6, 3), jc.BatchNorm()), "bfloat16")
    params, state = trained(net, (2, 7, 8, 4), rng)
    x = rng.normal(size=(2, 7, 8, 4)).astype("float32")
    want, new = net.apply(params, state, x)[0], jc.fold_batch_norms(net, params, state, x.shape)
    got = new[0].apply(*new[1:], x)[0]
    np.testing.assert_allclose(*(np.asarray(v, "float32") for v in (got, want)), atol=0.02 * float(jnp.abs(want).max()))


def test_one_call_deep_and_around_residuals(rng):
    block = jc.residual(jc.chain(jc.Conv(4, 3, padding="same"), jc.BatchNorm(), jnp.tanh))
    check(jc.chain(a=jc.remat(block), b=jc.freeze_statistics(block), c=block), (2, 6, 6, 4), rng, folded=3)


def twice(call, x):
    """What the convolution gives goes two ways."""
    y = call("conv", x)
    return call("norm", y) + y


def tied(call, x):
    """One convolution, two norms."""
    return call("norm", call("conv", x)) + call("other", call("conv", -x))


CONV = jc.Conv(4, 3, padding="same")
STAY = {
    "first": jc.chain(jc.BatchNorm(), jnp.tanh, CONV),
    "after a pool": jc.chain(CONV, jc.MaxPool(2), jc.BatchNorm()),
    "after an activation": jc.chain(CONV, jnp.tanh, jc.BatchNorm()),
    "standardized kernel": jc.chain(jc.Conv(4, 3, transform=jc.standardize_kernel), jc.BatchNorm()),
    "local": jc.chain(jc.LocalConv(4, 3), jc.BatchNorm()),
    "read twice": compose("twice", {"conv": CONV, "norm": jc.BatchNorm()}, twice),
    "tied": compose("tied", {"conv": CONV, "norm": jc.BatchNorm(), "other": jc.BatchNorm()}, tied),
    "in a scan": jc.repeat(jc.chain(CONV, jc.BatchNorm()), 2),
    "none": jc.chain(CONV, jnp.tanh),
    "another norm": jc.chain(CONV, jc.GroupNorm(2)),
}


@pytest.mark.parametrize("name", STAY)
def test_norms_that_must_stay(name, rng):
    check(STAY[name], (2, 6, 6, 4), rng, folded=0)


def test_the_output_itself_is_no_reader_that_may_be_missed(rng):
    """A net that returns the convolution beside the normed one."""
    net = compose("both", {"conv": CONV, "norm": jc.BatchNorm()}, lambda call, x: jnp.stack(_both(call, x)))
    check(net, (2, 6, 6, 4), rng, folded=0)


def _both(call, x):
    y = call("conv", x)
    return y, call("norm", y)


FOLDED = {
    "airbench": 3, "deeplabv3": 19, "deeplabv3_plus": 21, "densenet": 5, "efficientnet": 10, "encoder_unet": 21,
    "fcn": 14, "fpn": 13, "googlenet": 15, "inception_v3": 94, "lraspp": 35, "mobilenet_v2": 10,
    "mobilenet_v3_small": 34, "pspnet": 16, "repvgg": 8, "resnet": 9, "resnet_cifar": 7, "small_residual": 2,
    "wide_resnet": 3,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family(name, rng):
    check(small(name), FAMILIES[name].shape, rng, folded=FOLDED.get(name, 0))


@pytest.mark.slow
def test_kernels_are_those_of_torchs_own_folding(rng):
    torch = pytest.importorskip("torch")
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    net = jc.chain(conv=jc.Conv(6, 3), norm=jc.BatchNorm())
    params, state = trained(net, (2, 7, 8, 4), rng)
    conv, norm = torch.nn.Conv2d(4, 6, 3), torch.nn.BatchNorm2d(6)
    dict_ = {name: torch.tensor(v) for name, v in jc.port.state_dict(net, params, state, x=(2, 7, 8, 4)).items()}
    for part, module in (("conv", conv), ("norm", norm)):
        own = {name.removeprefix(f"{part}."): v for name, v in dict_.items() if name.startswith(part)}
        module.load_state_dict(own, strict=False)
    theirs = fuse_conv_bn_eval(conv.eval(), norm.eval())
    _, params, _ = jc.fold_batch_norms(net, params, state, (2, 7, 8, 4))
    kernel = theirs.weight.detach().numpy().transpose(2, 3, 1, 0)
    np.testing.assert_allclose(params["conv"]["kernel"], kernel, rtol=2e-6, atol=1e-7)
    both = params["conv"]["bias"] + params["norm"]["bias"]
    np.testing.assert_allclose(both, theirs.bias.detach().numpy(), rtol=2e-5, atol=1e-6)
