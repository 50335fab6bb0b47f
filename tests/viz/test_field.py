"""Effective fields: never beyond the theoretical ones, all of them for positive nets, and what the gradient is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.figures import assert_nothing_cut, overlapping

import jaxconv as jc
from jaxconv.viz.field import EffectiveField, effective_field, effective_fields
from jaxconv.viz.field_pictures import draw_fields

pytestmark = pytest.mark.sampled

relu = jax.nn.relu


def positive(net, shape, seed=0):
    """Params of numbers above 0, and a state that changes nothing."""
    params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), shape))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda v: jnp.asarray(rng.uniform(0.5, 1, v.shape), v.dtype), params), state


def random_net(rng, linear):
    def pick(*values):
        return values[rng.integers(len(values))]

    def conv():
        words = {"stride": pick(1, 1, 2), "padding": pick(0, 1, "same"), "dilation": pick(1, 1, 2)}
        return jc.Conv(2, tuple(int(k) for k in rng.integers(1, 4, 2)), bias=False, **words)

    same = [lambda: jc.Conv(2, 3, padding=1), lambda: jc.residual(jc.chain(jc.Conv(2, 3, padding=1)), jc.Conv(2, 1))]
    pools = [lambda: jc.AvgPool(2, stride=1), lambda: jc.AvgPool(2)] + ([] if linear else [lambda: jc.MaxPool(2)])
    parts = []
    for _ in range(rng.integers(1, 4)):
        parts += [pick(conv, conv, *same, *pools)()] + ([] if linear else [pick(relu, jnp.tanh, jax.nn.gelu)])
    return jc.chain(*parts)


def fitting(number, linear):
    rng = np.random.default_rng(number)
    while True:
        net, shape = random_net(rng, linear), (1, *(int(n) for n in rng.integers(9, 13, 2)), 2)
        try:
            jax.eval_shape(lambda net=net, shape=shape: net.init(jax.random.key(0), shape))
        except jc.ShapeError:
            continue
        return net, shape, rng


@pytest.mark.parametrize("number", [*range(4), *(pytest.param(n, marks=pytest.mark.slow) for n in range(12, 32))])
def test_nothing_outside_the_theoretical_field_matters(number):
    net, shape, rng = fitting(number, linear=False)
    fields = effective_fields(net, rng.normal(size=(3, *shape[1:])).astype(np.float32), layers=None)
    for field in fields:
        outside = np.ones(field.heat.shape, bool)
        outside[tuple(slice(a, b + 1) for a, b in field.box)] = False
        assert not field.heat[outside].any(), field.layer
        assert field.heat.any()


@pytest.mark.parametrize("number", [*range(6, 10), *(pytest.param(n, marks=pytest.mark.slow) for n in range(32, 52))])
def test_all_of_the_theoretical_field_matters_in_a_linear_net_of_positive_weights(number):
    net, shape, rng = fitting(number, linear=True)
    params, state = positive(net, shape, number)
    image = rng.normal(size=shape).astype(np.float32)
    field = effective_field(net, image, params=params, state=state, channel=number % 2)
    assert field.support == field.box


def test_without_dilation_and_stride_every_cell_of_the_box_matters():
    net = jc.chain(jc.Conv(3, 3), jc.AvgPool(2, stride=1), jc.Conv(2, (4, 2), padding=1))
    params, state = positive(net, (1, 12, 11, 1))
    field = effective_field(net, np.zeros((1, 12, 11, 1)), params=params, state=state, unit=(3, 3))
    inside = np.zeros((12, 11), bool)
    inside[tuple(slice(a, b + 1) for a, b in field.box)] = True
    np.testing.assert_array_equal(field.heat > 0, inside)
    assert field.box == ((2, 8), (2, 6))
    assert field.size == (7, 5)


@pytest.mark.slow
def test_the_heat_is_the_gradient_of_the_unit(rng):
    net = jc.chain(jc.Conv(4, 3), jnp.tanh, jc.Conv(3, 3, stride=2))
    images = jnp.asarray(rng.normal(size=(5, 10, 9, 2)), jnp.float32)
    params, state = net.init(jax.random.key(3), images)
    want = np.zeros((10, 9))
    for image in images:
        gradient = jax.grad(lambda x: net.apply(params, state, x[None])[0][0, 1, 2, 1])(image)
        want += np.abs(gradient).sum(-1) / 5
    field = effective_field(net, images, params=params, state=state, layer="conv1", unit=(1, 2), channel=1)
    np.testing.assert_allclose(field.heat, want, rtol=1e-4, atol=1e-6)
    assert field.unit == (1, 2)
    assert field.box == ((2, 6), (4, 8))
    middle = effective_field(net, images, params=params, state=state)
    assert (middle.layer, middle.unit) == ("conv1", (1, 1))


def test_one_layer_of_several_and_signals(rng):
    net = jc.chain(jc.Conv(4, (5,), stride=2), relu, jc.Conv(2, (3,), dilation=2))
    x = rng.normal(size=(2, 30, 3)).astype(np.float32)
    assert [(f.layer, f.size) for f in effective_fields(net, x)] == [("conv0", (5,)), ("conv1", (13,))]
    field = effective_field(net, x, layer="conv0", unit=(2,))
    assert (field.unit, field.box) == ((2,), ((4, 8),))


def test_channels_whose_sum_is_fixed_do_not_cancel(rng):
    """The probabilities of a softmax always add up to 1: the gradient of their sum is 0."""
    net = jc.chain(jc.Conv(4, 3), jax.nn.softmax)
    field = effective_field(net, rng.normal(size=(4, 7, 7, 1)).astype(np.float32))
    assert field.heat[2:5, 2:5].min() > 1e-4
    assert field.support == field.box


def test_a_layer_without_spatial_axes_sees_it_all(rng):
    net = jc.chain(jc.Conv(4, 3), jc.global_avg_pool, head=jc.Dense(3))
    field = effective_field(net, rng.normal(size=(1, 7, 6, 1)).astype(np.float32), channel=2)
    assert (field.layer, field.unit, field.box) == ("head", (), ((0, 6), (0, 5)))
    assert [f.layer for f in effective_fields(net, np.ones((1, 7, 6, 1)))] == ["conv0"]


def test_functions_of_any_library_and_channels_first(rng):
    kernel = jnp.asarray(rng.normal(size=(2, 1, 3, 3)), jnp.float32)

    def plain(x):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NCHW", "OIHW", "NCHW"))

    x = rng.normal(size=(2, 1, 8, 9)).astype(np.float32)
    field = effective_field(plain, x, axes=(2, 3), unit=(1, 5), channel=0)
    want = np.zeros((8, 9))
    want[1:4, 5:8] = np.abs(kernel[0, 0])
    np.testing.assert_allclose(field.heat, want, rtol=1e-5)
    assert field.box == ((1, 3), (5, 7))


def test_how_much_lies_within():
    heat = np.zeros((9, 9), np.float32)
    heat[1:8, 1:8], heat[4, 4] = 1, 152  # 200 in all
    field = EffectiveField("x", (4, 4), heat, ((1, 7), (1, 7)))
    assert [field.within(share) for share in (0.5, 0.76, 0.8, 0.88, 0.9, 1)] == [
        (1, 1), (1, 1), (3, 3), (5, 5), (7, 7), (7, 7),
    ]  # fmt: skip
    even = EffectiveField("x", (0,), np.array([0, 1, 4, 4, 1, 0], np.float32), ((1, 4),))
    assert [even.within(share) for share in (0.5, 0.8, 0.9)] == [(2,), (2,), (4,)]


@pytest.mark.slow
def test_many_layers_are_thinned():
    net = jc.chain(*[jc.Conv(1, 3) for _ in range(7)])
    fields = effective_fields(net, np.ones((1, 20, 20, 1)), most=3)
    assert [f.layer for f in fields] == ["conv0", "conv3", "conv6"]


MESSAGES = {
    "layer": (
        {"layer": "conv2"},
        "layer must be the path of a layer that runs\n  got: 'conv2'; did you mean 'conv0'?\n  fix: conv0, relu0, head",
    ),
    "unit": (
        {"layer": "conv0", "unit": (4, 9)},
        "unit must be one of the 5×4 of conv0\n  got: unit=(4, 9)\n  fix: at most (4, 3)",
    ),
    "no place": (
        {"unit": 0},
        "head has no spatial axes to choose a unit on\n  got: unit=0\n  fix: channel=0 for one of its numbers",
    ),
    "channel": (
        {"channel": 3},
        "channel must exist: head has 3 channels\n  got: channel=3\n  fix: 0 to 2",
    ),
    "axes": (
        {"axes": (4,)},
        "images must be [N, *spatial, C], at least one\n  got: images (1, 7, 6, 1), axes=(4,)",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name):
    words, message = MESSAGES[name]
    net = jc.chain(jc.Conv(4, 3), relu, head=jc.chain(jc.global_avg_pool, jc.Dense(3)))
    parts = {"conv0": jc.Conv(4, 3), "relu0": relu, "head": jc.remat(net.parts["head"])}
    net = jc.compose("net", parts, lambda call, x: call("head", call("relu0", call("conv0", x))))
    with pytest.raises(jc.ShapeError) as caught:
        effective_field(net, np.ones((1, 7, 6, 1)), **words)
    assert str(caught.value) == message


# ---------------------------------------------------------------- drawn


@pytest.mark.slow
def test_each_layer_is_drawn_over_the_image(rng):
    net = jc.chain(jc.Conv(4, 3, padding=1), relu, jc.MaxPool(2), jc.Conv(4, 5, padding=2))
    images = rng.normal(size=(4, 12, 14, 3)).astype(np.float32)
    fields = effective_fields(net, images)
    figure = draw_fields(images[0], fields, "a run, test image 0 (7)")
    *cells, bar = figure.axes
    assert [f.layer for f in fields] == ["conv0", "max_pool0", "conv1"]
    for axes, field in zip(cells, fields, strict=True):
        under, heat = axes.images
        luminance = images[0] @ [0.299, 0.587, 0.114]
        want = (luminance - luminance.min()) / np.ptp(luminance)
        np.testing.assert_allclose(under.get_array(), want, atol=1e-5)
        np.testing.assert_allclose(heat.get_array(), field.heat / field.heat.max(), rtol=1e-6)
        assert heat.get_clim() == (0, 1)
        (top, bottom), (left, right) = field.box
        (box,) = axes.patches
        assert (box.get_xy(), box.get_width(), box.get_height()) == (
            (left - 0.5, top - 0.5), right - left + 1, bottom - top + 1,
        )  # fmt: skip
        size = "×".join(map(str, field.size))
        assert axes.get_title().startswith(f"{field.layer} {field.unit}\nreceptive field {size},\n95 % in ")
    assert bar.get_ylabel() == "gradient magnitude,\nshare of the layer's largest"
    assert figure.get_suptitle() == "a run, test image 0 (7)"
    assert_nothing_cut(figure)
    assert not overlapping([axes.title for axes in cells])


def test_a_field_of_zeros_is_drawn_and_wrong_sizes_are_told():
    field = EffectiveField("x", (), np.zeros((4, 4), np.float32), ((0, 3), (0, 3)))
    assert_nothing_cut(draw_fields(np.zeros((4, 4)), [field]))
    must = "draw_fields needs an image [H, W, C] and at least one field of its size\n  got: image "
    for image, fields, came in [
        (np.zeros((4, 5, 1)), [field], "(4, 5, 1), fields of (4, 4)"),
        (np.zeros((4, 4, 1)), [], "(4, 4, 1), 0 fields"),
    ]:
        with pytest.raises(jc.ShapeError) as caught:
            draw_fields(image, fields)
        assert str(caught.value) == must + came
