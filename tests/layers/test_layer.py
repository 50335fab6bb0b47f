"""The record and `compose`: names, keys, shared parts, lifting, errors with their path."""

import copy
import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.layers.initializers import zeros
from jaxconv.layers.layer import lift, shape_of


def only_a(call, x):
    return call("a", x)


def small(head=10):
    return jc.chain(jc.Conv(4, 3), jax.nn.relu, jc.Dropout(0.5), jc.flatten, body=jc.Dense(7), head=jc.Dense(head))


def test_parts_are_named_in_order_and_by_keyword():
    net = jc.chain(
        jc.Conv(2, 1), jc.Conv(2, 1), jax.nn.relu, lambda x: x, functools.partial(jnp.clip, min=0), last=jnp.sin
    )
    assert list(net.parts) == ["conv0", "conv1", "relu0", "lambda0", "clip0", "last"]


def test_a_net_prints_as_its_structure():
    assert repr(jc.chain(jc.Conv(2, 1), block=jc.residual(jnp.tanh))) == (
        "chain\n  conv0: Conv(2, 1)\n  block: residual\n    body: tanh"
    )
    pool = jc.MaxPool(kernel_size=(2, 3), stride=2)
    assert repr(pool) == repr(jc.freeze_statistics(pool)) == "MaxPool(kernel_size=(2, 3), stride=2)"
    assert repr(jc.Conv(4, 3, padding="same", kernel_init=zeros)) == "Conv(4, 3, padding='same', kernel_init=zeros)"
    assert repr(jc.SeparableConv(4, 3)).splitlines()[0] == "SeparableConv(4, 3)"
    assert repr(jc.Dropout(0.5)) == "Dropout(0.5)"


def test_in_a_notebook_a_net_is_its_structure_and_a_summary_a_table():
    net = jc.chain(jc.Conv(2, 1), lambda x: x)
    assert net._repr_html_() == "<pre>chain\n  conv0: Conv(2, 1)\n  lambda0: lambda</pre>"
    odd = jc.compose("<b>", {"a": jnp.sin}, lambda call, x: call("a", x))
    assert odd._repr_html_() == "<pre>&lt;b&gt;\n  a: sin</pre>"
    assert "<td" in jc.summary(net, (1, 4, 4, 1))._repr_html_()


def test_init_runs_no_convolution():
    def refuse(*args, **kwargs):
        raise AssertionError("computed")

    net = jc.chain(jc.Conv(2, 3), lambda x: jax.pure_callback(refuse, jax.ShapeDtypeStruct(x.shape, x.dtype), x))
    params, _ = net.init(jax.random.key(0), (10**6, 512, 512, 3))  # a terabyte of images, if there were any
    assert params["conv0"]["kernel"].shape == (3, 3, 3, 2)


def test_swapping_a_part_leaves_the_others_weights():
    a, _ = small(10).init(jax.random.key(0), (1, 6, 6, 1))
    b, _ = small(3).init(jax.random.key(0), (1, 6, 6, 1))
    np.testing.assert_array_equal(a["conv0"]["kernel"], b["conv0"]["kernel"])
    np.testing.assert_array_equal(a["body"]["kernel"], b["body"]["kernel"])
    assert b["head"]["kernel"].shape == (7, 3)


def test_nested_composites_trace_each_leaf_once():
    traced = []

    def leaf(x):
        traced.append(1)
        return x

    net = leaf
    for _ in range(8):
        net = jc.chain(net)
    net.init(jax.random.key(0), (1, 2))
    assert len(traced) == 1


def test_a_part_called_twice_shares_weights_and_threads_its_state():
    part = jc.chain(jc.Dense(4), jc.BatchNorm(momentum=0.5))
    net = jc.compose("twice", {"part": part}, lambda call, x: call("part", call("part", x)))
    params, state = net.init(jax.random.key(0), (8, 4))
    x = jax.random.normal(jax.random.key(1), (8, 4))
    once, middle = part.apply(params["part"], state["part"], x, train=True)
    twice, last = part.apply(params["part"], middle, once, train=True)
    y, new = net.apply(params, state, x, train=True)
    np.testing.assert_array_equal(y, twice)
    jax.tree.map(np.testing.assert_array_equal, new, {"part": last})


@pytest.mark.slow
def test_a_part_called_twice_draws_new_noise():
    net = jc.compose("twice", {"drop": jc.Dropout(0.5)}, lambda call, x: jnp.stack([call("drop", x), call("drop", x)]))
    empty = {"drop": {}}
    a, b = net.apply(empty, empty, jnp.ones(100), key=jax.random.key(0), train=True)[0]
    assert (a != b).any()


@pytest.mark.slow
def test_pytrees_pass_through_a_flow():
    eye = jc.chain(jc.Conv(2, 3), jc.flatten)
    net = jc.compose(
        "two_eyes",
        {"eye": eye, "mix": jc.Dense(3)},
        lambda call, pair: call("mix", jnp.concatenate([call("eye", pair[0]), call("eye", pair[1])], -1)),
    )
    params, state = net.init(jax.random.key(0), ((2, 5, 5, 1), (2, 5, 5, 1)))
    x = jax.random.normal(jax.random.key(1), (2, 5, 5, 1))
    assert net.apply(params, state, (x, x))[0].shape == (2, 3)
    assert set(params["eye"]["conv0"]) == {"kernel", "bias"}


def test_shape_of_reads_shapes_structs_arrays_and_trees():
    x = {"a": (2, 3), "b": np.zeros((1, 2), np.int8)}
    assert shape_of(x) == {"a": jax.ShapeDtypeStruct((2, 3), jnp.float32), "b": jax.ShapeDtypeStruct((1, 2), jnp.int8)}


def test_parameters_take_the_inputs_floating_type():
    for dtype, kept in ((jnp.bfloat16, "bfloat16"), (jnp.uint8, "float32")):
        params, _ = jc.Conv(2, 3).init(jax.random.key(0), jax.ShapeDtypeStruct((1, 5, 5, 1), dtype))
        assert params["kernel"].dtype == kept


def test_an_error_names_the_path_to_the_layer():
    net = jc.chain(stem=jc.chain(jc.Conv(8, 3), jc.MaxPool(2)), top=jc.chain(jc.Conv(8, 5)))
    with pytest.raises(jc.ShapeError) as caught:
        net.init(jax.random.key(0), (1, 8, 8, 1))
    assert str(caught.value) == (
        "at top/conv0: conv: a kernel of 5 must fit into the padded input of 3 + 0 + 0 cells on spatial axis 0\n"
        "  got: spatial shape (3, 3); out = floor((3 + 0 + 0 - 1*(5 - 1) - 1) / 1) + 1 = -1\n"
        "  fix: a larger input, a kernel of at most 3, or padding='same'"
    )


def test_other_errors_carry_the_path_as_a_note():
    net = jc.chain(a=jc.chain(b=jc.chain(lambda x: x @ jnp.ones((9, 9)))))
    with pytest.raises(TypeError) as caught:
        net.init(jax.random.key(0), (2, 3))
    assert "at a/b/lambda0 (jaxconv)" in caught.value.__notes__


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jc.compose("w", {"conv": jnp.sin}, lambda call, x: call("cnov", x)).init(jax.random.key(0), (2,)),
         "a flow may only call its own parts\n  got: call('cnov'); did you mean 'conv'?\n  fix: conv"),
        (lambda: jc.compose("w", {"a": jnp.sin, "b": jnp.sin}, only_a).init(jax.random.key(0), (2,)),
         "every part must be called by the flow\n  got: 'b' is never called\n  fix: remove it"),
        (lambda: small().apply({"conv0": {}}, {}, jnp.ones((1, 6, 6, 1))),
         "params must be those of this net: conv0, relu0, dropout0, flatten0, body, head\n  got: params of conv0\n"
         "  fix: params, state = net.init(key, x)"),
        (lambda: jc.Conv(2, 3).apply({"scale": 0}, {}, jnp.ones((1, 6, 6, 1))),
         "params of conv must hold kernel, bias\n  got: scale\n  fix: params, state = net.init(key, x)"),
    ],
)  # fmt: skip
def test_messages(call, message):
    with pytest.raises(jc.ShapeError) as caught:
        call()
    assert str(caught.value) == message


def test_what_is_no_layer_is_refused():
    with pytest.raises(TypeError, match="a part must be a Layer or a callable from array to array; got 3"):
        lift(3)


def test_a_copy_is_the_layer_itself():
    net = jc.chain(jc.Conv(4, 3), jax.nn.relu, head=jc.Dense(2))
    assert copy.copy(net) is net
    assert copy.deepcopy({"net": [net]})["net"][0] is net


def test_pickling_a_layer_names_the_fix():
    with pytest.raises(TypeError) as caught:
        pickle.dumps({"net": jc.chain(jc.Conv(4, 3), jax.nn.relu)})
    assert str(caught.value) == (
        "a Layer holds closures, which pickle cannot save\n  got: chain\n"
        "  fix: pickle params and state, and build the net in each process; or pickle it with cloudpickle"
    )


def test_cloudpickle_saves_a_layer(assert_close):
    cloudpickle = pytest.importorskip("cloudpickle")
    net = jc.chain(jc.Conv(4, 3), jax.nn.relu)
    params, state = net.init(jax.random.key(0), (1, 5, 5, 2))
    x = jax.random.normal(jax.random.key(1), (1, 5, 5, 2))
    copied = pickle.loads(cloudpickle.dumps(net))
    assert_close(copied.apply(params, state, x)[0], net.apply(params, state, x)[0])


@pytest.mark.parametrize("layer", [jc.Conv(4, 3), jc.chain(jc.flatten), jc.Dense(2)], ids=lambda layer: layer.name)
def test_pythons_messages_name_the_layer(layer):
    with pytest.raises(TypeError) as caught:
        layer.apply({}, {})
    assert str(caught.value) == f"{layer.name}.apply() missing 1 required positional argument: 'x'"
    with pytest.raises(TypeError) as caught:
        layer.init(jax.random.key(0))
    assert str(caught.value) == f"{layer.name}.init() missing 1 required positional argument: 'x'"
