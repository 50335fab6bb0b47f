"""Ops under `jax.export` with symbolic batch, height and width, at several concrete sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import jaxconv as jc

KERNEL = np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype(np.float32)
FUNCTIONS = {
    "conv": lambda x: jc.conv(x, KERNEL),
    "conv stride 2": lambda x: jc.conv(x, KERNEL, stride=2, padding=1),
    "conv same": lambda x: jc.conv(x, KERNEL, padding="same"),
    "conv same, stride 2": lambda x: jc.conv(x, KERNEL, stride=2, padding="same"),
    "conv same_lower, stride above the kernel": lambda x: jc.conv(x, KERNEL[:2], stride=4, padding="same_lower"),
    "gradients of same, stride 2": lambda x: jax.grad(
        lambda x: (jc.conv(x, KERNEL, stride=2, padding="same") ** 2).sum()
    )(x),
    "conv_transpose": lambda x: jc.conv_transpose(x, KERNEL.swapaxes(2, 3), stride=2),
    "conv_transpose same": lambda x: jc.conv_transpose(x, KERNEL.swapaxes(2, 3), stride=2, padding="same"),
    "conv dilated": lambda x: jc.conv(x, KERNEL, dilation=2, padding="full"),
    "kernel's gradient": lambda x: jax.grad(lambda k: (jc.conv(x, k, padding=1) ** 2).sum())(jnp.asarray(KERNEL)),
    "max_pool": lambda x: jc.max_pool(x, 2),
    "max_pool overlapping": lambda x: jc.max_pool(x, 3, stride=2),
    "max_pool's gradient": lambda x: jax.grad(lambda x: (jc.max_pool(x, 3, stride=2) ** 2).sum())(x),
    "max_pool padded": lambda x: jc.max_pool(-(x**2), 3, stride=2, padding=1),
    "max_pool same": lambda x: jc.max_pool(x, 3, stride=2, padding="same"),
    "padded max_pool's gradient": lambda x: jax.grad(lambda x: (jc.max_pool(x, 3, stride=2, padding=1) ** 2).sum())(x),
    "avg_pool padded": lambda x: jc.avg_pool(x, 3, stride=2, padding="same"),
    "avg_pool": lambda x: jc.avg_pool(x, 2),
    "avg_pool, padding counts": lambda x: jc.avg_pool(x, 3, stride=2, padding=1, count_include_pad=True),
    "l2_pool": lambda x: jc.l2_pool(x, 2),
    "global pools": lambda x: jc.global_avg_pool(x) + jc.global_max_pool(x),
}


def symbols():
    shape = export.symbolic_shape("b, h, w, 2", constraints=["h >= 8", "w >= 8"])
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@pytest.mark.sampled
@pytest.mark.parametrize("name", FUNCTIONS)
def test_symbolic_sizes(name, assert_close):
    f = FUNCTIONS[name]
    exported = export.export(jax.jit(f))(symbols())
    for number, shape in enumerate([(1, 8, 11, 2), (3, 9, 8, 2)]):
        x = np.random.default_rng(number).normal(size=shape).astype(np.float32)
        assert_close(exported.call(x), jax.jit(f)(x), name)


def test_ops_that_need_static_sizes():
    with pytest.raises(jc.ShapeError) as raised:
        export.export(jax.jit(lambda x: jc.max_pool(x, 3, stride=2, padding=3)))(symbols())
    assert str(raised.value) == (
        "max_pool of symbolic size needs dilation 1 and less padding than its window, "
        "for every window to contain at least one cell\n"
        "  got: spatial axis 0 of symbolic size h, window 3, dilation 1, padding (3, 3)\n"
        "  fix: padding='valid', or export with static sizes"
    )
    with pytest.raises(jc.ShapeError, match="ceil_mode needs static sizes"):
        export.export(jax.jit(lambda x: jc.max_pool(x, 2, ceil_mode=True)))(symbols())


@pytest.mark.slow
def test_a_net_of_symbolic_sizes(assert_close):
    net = jc.models.resnet18(num_classes=3)
    params, state = net.init(jax.random.key(0), (1, 64, 64, 3))
    shape = export.symbolic_shape("b, h, w, 3", constraints=["h >= 64", "w >= 64"])
    run = jax.jit(lambda x: net.apply(params, state, x)[0])
    exported = export.export(run)(jax.ShapeDtypeStruct(shape, jnp.float32))
    x = np.random.default_rng(0).normal(size=(2, 65, 70, 3)).astype(np.float32)
    assert_close(exported.call(x), run(x), "resnet18")
