"""What every model promises: by shapes for each in the registry, by numbers for a small one of each family."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from models.families import FAMILIES, said, small, to_learn
from support import quick

import jaxconv as jc
from jaxconv import models
from jaxconv._base.paths import leaf_names
from jaxconv.models._registry import make_net, net_problems, with_defaults

pytestmark = pytest.mark.sampled

FAST = quick.first_known(quick.QUICK | quick.OLDER, quick.QUICK)
# Segmentation nets on whole encoders, which are traced when the net is made.
WHOLE = {
    "deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "deeplabv3_resnet101", "fcn_resnet50", "fcn_resnet101",
    "lraspp", "lraspp_mobilenet_v3_large",
}  # fmt: skip
# More than a second each, and most are siblings of others that are quick.
LONG = WHOLE | {
    "convnext_base", "convnext_small", "densenet121", "densenet161", "densenet169", "densenet201", "efficientnet_b1",
    "efficientnet_b2", "efficientnet_b3", "efficientnet_b4", "efficientnet_b5", "efficientnet_b6", "efficientnet_b7",
    "inception_v3", "mobilenet_v3_large", "resnet34", "resnet44", "resnet56", "resnet101", "resnet110", "resnet152",
    "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2",
}  # fmt: skip

DEEP = {"inception_v3", "mobilenet_v3_small"}  # a minute and a half a minute, op by op


def marked(names, slow):
    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in names]


def born(net, shape):
    """Params and state as shapes."""
    return jax.eval_shape(lambda key: net.init(key, shape), jax.random.key(0))


def passed(net, params, state, shape, train=True):
    """Output and new state as shapes."""

    def run(params, state, x, key):
        return net.apply(params, state, x, key=key, train=train)

    return jax.eval_shape(run, params, state, jax.ShapeDtypeStruct(shape, "float32"), jax.random.key(0))


def paths(tree):
    return {name: (v.shape, v.dtype) for name, v in zip(leaf_names(tree), jax.tree.leaves(tree), strict=True)}


def test_every_family_has_a_row_and_is_in_the_registry():
    assert FAMILIES.keys() <= models.registry.keys()
    assert sorted(models.registry) == sorted(set(models.__all__) - {"registry"})
    assert all(getattr(models, name) is function for name, function in models.registry.items())
    modules = {function.__module__ for function in models.registry.values()}
    assert modules == {models.registry[name].__module__ for name in FAMILIES}


@pytest.mark.parametrize("name", marked(models.registry, models.registry.keys() - FAMILIES.keys() | LONG))
def test_odd_sizes_one_channel_and_any_classes(name):
    """By shapes alone; in training, too, where the state keeps its structure, shapes and types."""
    shape, says = (2, 77, 83, 1), said(name)
    words = {} if says == "image" else {"num_classes": 7}
    net = small(name, **words) if name in FAMILIES else models.registry[name](**words)
    params, state = born(net, shape)
    y, new = passed(net, params, state, shape)
    want = {"classes": (2, 7), "image": shape}.get(says, (2, 77, 83, 7))
    assert (y.shape, y.dtype) == (want, "float32")
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert paths(new) == paths(state)


@pytest.mark.parametrize("name", marked([name for name, family in FAMILIES.items() if family.part], LONG))
def test_headless_and_backbone_have_the_whole_nets_weights(name):
    family = FAMILIES[name]
    whole = paths(born(small(name), family.shape))
    for words, axes in (({"num_classes": 0}, 2), ({"upto": family.part}, 4)):
        if "num_classes" in words and family.says != "classes":
            continue
        net = small(name, **words)
        params, state = born(net, family.shape)
        y, _ = passed(net, params, state, family.shape, train=False)
        assert len(y.shape) == axes
        assert paths((params, state)).items() < whole.items()


@pytest.mark.parametrize("name", marked([name for name, family in FAMILIES.items() if family.part], LONG))
def test_an_image_that_looks_like_nchw_is_refused(name):
    with pytest.raises(jc.ShapeError, match="which looks like NCHW"):
        born(small(name), (2, 3, 96, 96))


@pytest.mark.parametrize("name", marked(models.registry, WHOLE))
def test_a_config_may_name_it_with_its_defaults(name):
    arguments = with_defaults(name, {})
    assert net_problems(name, arguments) == []
    assert isinstance(make_net(name, arguments, num_classes=5), jc.Layer)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_eager_is_jit_is_vmap(name, rng):
    """In training. Op by op a deep net runs as far as its family's `part`: the rest is made of the same modules."""
    family = FAMILIES[name]

    def training(net):
        params, state = net.init(jax.random.key(0), x[0])

        def run(x):
            return net.apply(params, state, x, key=jax.random.key(2), train=True)

        return run, state, jax.jit(run, compiler_options=FAST)(x[0])

    def same(got, want):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), got, want)

    with jax.enable_x64(family.dtype == "float64"):
        x = rng.normal(size=(2, *family.shape)).astype(family.dtype)
        run, state, jitted = training(small(name))
        together = jax.device_get(jax.jit(jax.vmap(run), compiler_options=FAST)(x))
        same(jax.tree.map(lambda v: v[0], together), jitted)
        if name in DEEP:
            run, state, jitted = training(small(name, upto=family.part))
        eager = run(x[0])
        assert jax.tree.structure(eager[1]) == jax.tree.structure(state)
        same(eager, jitted)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_learns_8_random_images_by_heart_in_200_steps_of_finite_gradients(name):
    """At least 99 % right; of an image, 99 % of the variance. Judged as it is trained, for where running statistics
    keep 99 % at each step they are not the batch's by then."""
    family, (x, want) = FAMILIES[name], to_learn(name)
    net, tx = small(name, **({} if family.says == "image" else {"num_classes": 8})), optax.adam(family.rate)
    params, state = net.init(jax.random.key(0), x)

    def loss(params, x, state, key):
        y, state = net.apply(params, state, x, key=key, train=True)
        if family.says == "image":
            return jnp.mean((y - want) ** 2), state
        return optax.softmax_cross_entropy_with_integer_labels(y, want).mean(), state

    def step(carry, key):
        params, state, opt = carry
        slopes, state = jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x, state, key)
        finite = jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes)]))
        updates, opt = tx.update(slopes[0], opt)
        return (optax.apply_updates(params, updates), state, opt), (finite, optax.tree.norm(slopes[1]) > 0)

    def right(params, state):
        y = net.apply(params, state, x, key=jax.random.key(4), train=True)[0]
        return 1 - jnp.mean((y - want) ** 2) / want.var() if family.says == "image" else (y.argmax(-1) == want).mean()

    @functools.partial(jax.jit, compiler_options=FAST)
    def twenty(carry, key):
        carry, (finite, moved) = jax.lax.scan(step, carry, jax.random.split(key, 20))
        return carry, right(*carry[:2]), finite.all(), moved[0]

    carry = params, state, tx.init(params)
    shares = []
    for key in jax.random.split(jax.random.key(3), 10):
        carry, share, finite, moved = twenty(carry, key)
        assert finite, "a gradient is not finite"
        assert moved or shares, "no image moves the loss"
        shares.append(round(float(share), 3))
        if shares[-1] >= 0.99:
            return
    pytest.fail(f"after 20, 40, … 200 steps the share that is right is {shares}")
