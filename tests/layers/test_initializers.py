"""Initializers: the variance that each layer's true fan asks for, the same numbers traced or not, nothing compiled."""

import functools

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.layers import initializers as inits

pytestmark = pytest.mark.sampled

NAMES = ("he_normal", "he_uniform", "lecun_normal", "lecun_uniform", "glorot_normal", "glorot_uniform")


@pytest.mark.parametrize("name", NAMES)
def test_moments_are_those_of_jax_nn(name):
    shape = (3, 3, 40, 60)
    ours = np.asarray(getattr(inits, name)(jax.random.key(1), shape))
    theirs = np.asarray(getattr(jax.nn.initializers, name)()(jax.random.key(2), shape))
    assert abs(ours.mean()) < 4 * theirs.std() / np.sqrt(ours.size)
    for moment in (2, 4):
        np.testing.assert_allclose((ours**moment).mean(), (theirs**moment).mean(), rtol=0.05)
    np.testing.assert_allclose(np.abs(ours).max(), np.abs(theirs).max(), rtol=0.01)


@pytest.mark.parametrize("name", ["he_normal", "glorot_uniform"])
def test_the_same_numbers_traced_or_not_and_by_key_alone(name):
    init = getattr(inits, name)
    keys = jax.random.split(jax.random.key(0), 3)
    shape = (5, 5, 40, 41)  # three chunks
    alone = [init(key, shape) for key in keys]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7 * np.abs(alone[0]).max())
    close(jax.vmap(lambda key: init(key, shape))(keys), np.stack(alone))
    close(jax.jit(lambda key: init(key, shape))(keys[0]), alone[0])
    assert np.abs(alone[0] - alone[1]).max() > 0
    flat = np.sort(np.ravel(alone[0]))
    assert len(np.unique(flat)) > 0.99 * flat.size  # no chunk is drawn twice


def test_bfloat16_and_float64(x64):
    for dtype in ("bfloat16", "float64"):
        assert inits.lecun_normal(jax.random.key(0), (3, 4), dtype).dtype == dtype


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (jc.Conv(64, 3, bias=False), (8, 16, 16, 32)),
        (jc.Conv(64, 3, groups=8, bias=False), (8, 16, 16, 32)),
        (jc.DepthwiseConv(5, bias=False), (8, 16, 16, 256)),
        (jc.ConvTranspose(64, 4, stride=2, bias=False), (8, 12, 12, 32)),
        (jc.ConvTranspose(64, 2, stride=2, groups=4, bias=False), (8, 12, 12, 32)),
        (jc.ConvTranspose(64, 3, stride=1, groups=2, bias=False), (8, 12, 12, 32)),
        (jc.LocalConv(16, 3, bias=False), (32, 6, 6, 64)),
        (jc.Dense(500, bias=False), (64, 300)),
    ],
    ids=lambda v: getattr(v, "name", None),
)
def test_lecun_keeps_the_variance_through_every_linear_layer(layer, x):
    """The definition of the right fan-in: unit variance in, unit variance out (away from the border)."""
    params, state = layer.init(jax.random.key(0), x)
    y, _ = layer.apply(params, state, jax.random.normal(jax.random.key(1), x))
    inside = y[:, 4:-4, 4:-4] if y.ndim == 4 and y.shape[1] > 9 else y
    np.testing.assert_allclose(jnp.var(inside), 1, rtol=0.12)


def test_glorot_of_a_grouped_kernel_has_the_fans_of_one_group():
    params, _ = jc.Conv(64, 3, groups=8, kernel_init=inits.glorot_normal).init(jax.random.key(0), (1, 8, 8, 128))
    np.testing.assert_allclose(np.var(params["kernel"]), 2 / (9 * 16 + 9 * 8), rtol=0.05)


@pytest.mark.slow
def test_orthogonal_groups_are_orthogonal():
    layer = jc.Conv(8, 3, groups=2, kernel_init=inits.Orthogonal(2.0))
    kernel = np.asarray(layer.init(jax.random.key(0), (1, 8, 8, 8))[0]["kernel"])
    assert np.abs(kernel[..., :4] - kernel[..., 4:]).max() > 0.01
    for group in (kernel[..., :4], kernel[..., 4:]):
        maps = group.reshape(-1, 4)
        np.testing.assert_allclose(maps.T @ maps, 4 * np.eye(4), atol=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_changes_nothing(groups, quick_jit):
    layer = jc.Conv(4, (3, 5), padding="same", groups=groups, kernel_init=inits.dirac)
    x = jax.random.normal(jax.random.key(0), (2, 6, 7, 4))
    params, state = layer.init(jax.random.key(1), x)
    np.testing.assert_allclose(quick_jit(layer.apply)(params, state, x)[0], x, atol=1e-6)


def test_dirac_refuses_even_kernels():
    with pytest.raises(jc.ShapeError) as caught:
        inits.dirac(None, (2, 2, 1, 1))
    message = "dirac needs odd kernel sizes: an even kernel has no center\n  got: (2, 2, 1, 1)"
    assert str(caught.value) == message


def test_init_compiles_nothing_for_new_shapes():
    """The random numbers compile once a process; after that a net of any shape is initialized without the compiler."""

    def net(f):
        parts = [jc.Conv(f, 3), jc.BatchNorm(), jax.nn.relu, jc.DepthwiseConv(3), jc.LocalConv(2, 3, stride=3)]
        return jc.chain(*parts, jc.flatten, jc.Dense(f))

    net(4).init(jax.random.key(0), (1, 16, 16, 2))
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compiled.append(event) if "backend_compile" in event else None
    )
    params, _ = net(5).init(jax.random.key(0), (1, 19, 17, 3))
    before = len(compiled)
    jax.jit(lambda v: v * 3.5)(jnp.ones(()))  # the listener does hear
    assert before == 0
    assert len(compiled) > 0
    assert params["dense0"]["kernel"].shape[1] == 5


@pytest.mark.parametrize("layer", [jc.Conv, jc.DepthwiseConv, jc.Dense], ids=lambda layer: layer.__name__)
def test_normal_has_the_deviation_asked_for_whatever_the_fan(layer):
    sizes = {jc.Conv: (64, 3), jc.DepthwiseConv: (7,), jc.Dense: (64,)}[layer]
    net = layer(*sizes, kernel_init=inits.Normal(0.02))
    kernel = np.asarray(net.init(jax.random.key(0), (1, 9, 9, 300))[0]["kernel"])
    assert abs(kernel.mean()) < 4 * 0.02 / np.sqrt(kernel.size)
    np.testing.assert_allclose(kernel.std(), 0.02, rtol=0.02)
    # Groups are drawn apart; of 172,800 draws from 2^23 numbers 1 % meet by chance.
    assert len(np.unique(kernel)) > 0.98 * kernel.size


def test_normal_refuses_a_deviation_that_is_none():
    with pytest.raises(jc.ShapeError) as caught:
        inits.Normal(0.0)
    assert str(caught.value) == "Normal needs a standard deviation > 0\n  got: 0.0"
