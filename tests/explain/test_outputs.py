"""What every layer gives: the parts of a net, run one after the other, are the net."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.explain.outputs import check_layer, kinds, output_structs, outputs, spread


def net():
    body = jc.chain(jc.Conv(3, 3, padding=1), jc.BatchNorm(), jnp.tanh)
    return jc.chain(
        jc.Conv(3, 3), jc.residual(body), jc.remat(jc.chain(jc.Conv(2, 1), jnp.sin)), jc.flatten, out=jc.Dense(4)
    )


def test_outputs_are_those_of_the_parts_one_after_the_other(rng):
    layer, x = net(), jnp.asarray(rng.normal(size=(2, 6, 7, 1)), jnp.float32)
    params, state = layer.init(jax.random.key(0), x)
    found = outputs(layer, params, state, x)
    assert list(found) == [
        "conv0", "residual0/body/conv0", "residual0/body/batch_norm0", "residual0/body/tanh0", "remat(chain)0",
        "flatten0", "out",
    ]  # fmt: skip
    first = jc.conv(x, params["conv0"]["kernel"]) + params["conv0"]["bias"]
    np.testing.assert_allclose(found["conv0"], first, atol=1e-6)
    np.testing.assert_array_equal(found["out"], layer.apply(params, state, x)[0])
    np.testing.assert_allclose(found["residual0/body/tanh0"], np.tanh(found["residual0/body/batch_norm0"]), atol=1e-6)
    assert {name: y.shape for name, y in found.items()} == {
        name: y.shape for name, y in output_structs(layer, params, state, x).items()
    }
    assert list(output_structs(layer, params, state, x)) == list(found)
    assert kinds(layer)["residual0/body/tanh0"] == "tanh"
    assert kinds(layer).keys() == found.keys()


def test_a_part_called_twice_has_both_its_outputs(rng):
    x = jnp.asarray(rng.normal(size=(2, 3)), jnp.float32)
    twice = jc.compose("twice", {"half": jnp.sin}, lambda call, h: call("half", call("half", h)))
    found = outputs(twice, {"half": {}}, {"half": {}}, x)
    np.testing.assert_allclose(found["half"], np.sin(x), rtol=1e-6)
    np.testing.assert_allclose(found["half#2"], np.sin(np.sin(x)), rtol=1e-6)
    assert list(outputs(jnp.cos, {}, {}, x)) == ["cos"]


def test_tied_weights_run_by_the_other_layer(rng):
    code = jc.Conv(3, 3, stride=2, padding=1)
    back = jc.adjoint(code, (1, 6, 5, 4), tied=True)
    tied = jc.compose("tied", {"code": code}, lambda call, x: call("code", jnp.tanh(call("code", x)), by=back))
    x = jnp.asarray(rng.normal(size=(1, 6, 5, 4)), jnp.float32)
    params, state = tied.init(jax.random.key(0), x)
    found = outputs(tied, params, state, x)
    np.testing.assert_allclose(found["code#2"], tied.apply(params, state, x)[0], rtol=1e-6)


def test_which_layers_are_shown():
    assert spread("abcdefghij", 4) == ["a", "d", "g", "j"]
    with pytest.raises(jc.ShapeError) as caught:
        check_layer("con1", ["conv0", "conv1", *(f"relu{i}" for i in range(9))])
    assert str(caught.value) == (
        "layer must be the path of a layer that runs\n  got: 'con1'; did you mean 'conv1'?\n"
        "  fix: conv0, conv1, relu0, relu1, relu2, relu3, relu4, relu5, …"
    )
