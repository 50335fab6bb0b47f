"""The smallest input by trying every one, and output shapes by running the net."""

import itertools
import time

import jax
import jax.numpy as jnp
import pytest

import jaxconv as jc
from jaxconv.explain import output_shapes, smallest_input
from jaxconv.models import conv_pool

pytestmark = pytest.mark.sampled


def goes(net, *shape):
    """Whether the net itself takes a shape, parameters drawn for it and all."""

    def run(x):
        params, state = net.init(jax.random.key(0), x)
        return net.apply(params, state, x)[0]

    try:
        return jax.eval_shape(run, jax.ShapeDtypeStruct(shape, jnp.float32))
    except (ValueError, TypeError):
        return None


def halved(features):
    """Takes even sizes alone: one branch rounds up where the other rounds down."""
    return jc.residual(jc.Conv(features, 3, stride=2, padding="same"), jc.chain(jc.AvgPool(2), jc.Conv(features, 1)))


def mix(x):
    return x[:, ::2] + x[:, 1::2]  # raises jax's own TypeError where rows are odd


def block(features, stride=1):
    conv = {"padding": "same", "bias": False}
    body = jc.chain(
        jc.Conv(features, 3, stride=stride, **conv), jc.BatchNorm(), jax.nn.relu, jc.Conv(features, 3, **conv)
    )
    return jc.residual(body, None if stride == 1 else jc.Conv(features, 1, stride=stride))


NETS = {
    "valid": jc.chain(jc.Conv(2, 5), jc.MaxPool(2), jc.Conv(2, 3), jc.flatten, jc.Dense(3)),
    "same": jc.chain(jc.Conv(2, 5, padding="same"), jax.nn.relu),
    "even": jc.chain(jc.Conv(2, 4), halved(2), halved(4)),
    "ceil": jc.chain(jc.Conv(2, 3, stride=2), jc.MaxPool(3, stride=2, ceil_mode=True), jc.Conv(2, 2)),
    "oblong": jc.chain(jc.Conv(2, (1, 7)), jc.Conv(2, (3, 1), dilation=2)),
    "odd rows": jc.chain(jc.Conv(2, 2), mix, jc.Conv(2, (2, 1))),
    "reflect": jc.chain(jc.MaxPool(2), jc.Conv(2, 5, padding="same", padding_mode="reflect")),
    "transpose": jc.chain(jc.ConvTranspose(2, 2, stride=2), jc.Conv(2, 7)),
    "tied": jc.compose("tied", {"a": jc.Conv(1, 3)}, lambda call, x: call("a", call("a", x))),
    "adaptive": jc.chain(jc.Conv(2, 3), jc.AdaptiveAvgPool(2)),
}


@pytest.mark.parametrize("name", NETS)
def test_no_smaller_input_goes(name):
    net = NETS[name]
    rows, columns = smallest_input(net, 1)
    assert goes(net, 1, rows, columns, 1) is not None
    side = max(rows, columns)
    assert not [n for n in range(1, side) if goes(net, 1, n, n, 1)]
    assert not [n for n in range(1, rows) if goes(net, 1, n, side, 1)]
    assert not [n for n in range(1, columns) if goes(net, 1, rows, n, 1)]


@pytest.mark.slow
def test_known_sizes():
    assert smallest_input(conv_pool(), 1) == (16, 16)
    assert smallest_input(NETS["even"], 1) == (7, 7)
    assert smallest_input(NETS["oblong"], 1) == (5, 7)
    assert smallest_input(jc.Conv(2, (5,)), 1, rank=1) == (5,)
    assert smallest_input(jc.Conv(2, (2, 3, 4)), 1, rank=3) == (2, 3, 4)
    assert smallest_input(jc.MaxPool(100), 1) == (100, 100)
    assert smallest_input(jnp.tanh, 1) == (1, 1)
    assert smallest_input(jc.cast(NETS["valid"], jnp.bfloat16), 1) == smallest_input(NETS["valid"], 1)


def test_a_layer_run_on_anothers_weights():
    again = jc.compose("again", {"a": jc.Conv(1, 3)}, lambda call, x: call("a", call("a", x), by=jc.Conv(1, 3)))
    assert smallest_input(again, 1) == (5, 5)


def test_a_resnet_is_measured_fast():
    blocks = [block(64), block(64), block(128, 2), block(128), block(256, 2), block(256), block(512, 2), block(512)]
    net = jc.chain(jc.Conv(64, 7, stride=2), jc.MaxPool(3, stride=2), *blocks, jc.global_avg_pool, jc.Dense(1000))
    began = time.process_time()
    assert smallest_input(net, 3) == (11, 11)
    assert time.process_time() - began < 3  # 0.6 s on an idle core


@pytest.mark.parametrize("name", NETS)
def test_output_shapes_are_those_of_the_net(name):
    sizes = [*range(1, 12), (7, 12), (12, 5)]
    found = output_shapes(NETS[name], sizes, 1)
    assert list(found) == sizes
    for size, shape in found.items():
        want = goes(NETS[name], 1, *((size, size) if isinstance(size, int) else size), 1)
        assert shape == want.shape if want else isinstance(shape, str), size


def test_output_shapes_say_what_was_wrong():
    assert output_shapes(NETS["valid"], [4, 28], 1) == {
        4: "at conv0: conv: a kernel of 5 must fit into the padded input of 4 + 0 + 0 cells on spatial axis 0",
        28: (1, 3),
    }
    pair = jc.compose("pair", {"a": jc.Conv(2, 3)}, lambda call, x: {"y": call("a", x), "x": x})
    assert output_shapes(pair, [4], 1, batch=2) == {4: {"x": (2, 4, 4, 1), "y": (2, 2, 2, 2)}}
    assert output_shapes(NETS["odd rows"], [6], 1)[6].startswith("at mix0: add got incompatible shapes")
    assert output_shapes(jc.Conv(2, (3,)), [5], 1, rank=1) == {5: (1, 3, 2)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: smallest_input(jc.chain(jc.Conv(4, 3), jc.Conv(6, 3, groups=3)), 3, largest=8),
         "at conv1: a net must accept some input of at most 8 cells per axis; at 8: groups must divide channels and "
         "features\n  got: groups=3, 4 channels, features=6"),
        (lambda: smallest_input(jc.chain(jc.Conv(4, 9)), 3, largest=8),
         "at conv0: a net must accept some input of at most 8 cells per axis; at 8: conv: a kernel of 9 must fit into "
         "the padded input of 8 + 0 + 0 cells on spatial axis 0\n"
         "  got: spatial shape (8, 8); out = floor((8 + 0 + 0 - 1*(9 - 1) - 1) / 1) + 1 = 0\n"
         "  fix: a larger input, a kernel of at most 8, or padding='same'"),
        (lambda: smallest_input(jc.Conv(4, 9), 0.5), "channels must be an int\n  got: channels=0.5"),
        (lambda: smallest_input(jc.Conv(4, 9), 3, rank=0), "rank must be ≥ 1\n  got: rank=0"),
        (lambda: output_shapes(jc.Conv(4, 9), [0], 3), "size must be ≥ 1\n  got: size=0"),
    ],
)  # fmt: skip
def test_messages(call, message):
    with pytest.raises(jc.ShapeError) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.slow
def test_a_hopeless_net_is_given_up_before_the_largest():
    net, tried = jc.chain(jc.Conv(4, 3), jc.Conv(6, 3, groups=3)), itertools.count()

    def counted(x):
        next(tried)
        return x

    with pytest.raises(jc.ShapeError, match="at 68: groups must divide"):
        smallest_input(jc.chain(counted, net), 3)
    assert next(tried) < 100


def test_the_refusal_has_the_kind_and_the_numbers_of_the_last_error():
    with pytest.raises(jc.ShapeError) as caught:
        smallest_input(jc.chain(jc.Conv(4, 9)), 3, largest=8)
    assert caught.value.kind == "window"
    assert (caught.value.numbers["kernel_size"], caught.value.numbers["n"]) == (9, 8)
