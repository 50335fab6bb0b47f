"""Names, sizes and metadata of ONNX models, and functions that cannot be exported."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export.run_onnx import operators, run
from jax import lax

import jaxconv as jc
from jaxconv.export import _convert, to_onnx


def test_nodes_are_named_after_layers():
    net = jc.chain(stem=jc.Conv(4, 3), body=jc.residual(jc.chain(jc.Conv(4, 3, padding="same"), jnp.tanh)))
    params, state = net.init(jax.random.key(0), (1, 8, 8, 3))
    model = to_onnx(lambda x: net.apply(params, state, x)[0], ("n", 8, 8, 3))
    names = {node.op_type: node.name for node in model.graph.node}
    assert names["Tanh"].startswith("body/body/tanh")
    assert [node.name.rsplit("/", 1)[0] for node in model.graph.node if node.op_type == "Conv"] == [
        "stem",
        "body/body/conv0",
    ]


def test_inputs_outputs_and_metadata():
    model = to_onnx(
        lambda images, scale: (images * scale, scale),
        ("batch", 4, 4, 3), jax.ShapeDtypeStruct((3,), jnp.float32),
        input_names=["images", "scale"], output_names=["scaled", "same"], metadata={"classes": "cat, dog"},
    )  # fmt: skip
    assert [each.name for each in model.graph.input] == ["images", "scale"]
    assert [each.name for each in model.graph.output] == ["scaled", "same"]
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    assert [size.dim_param or size.dim_value for size in sizes] == ["batch", 4, 4, 3]
    assert {each.key: each.value for each in model.metadata_props} == {"classes": "cat, dog"}
    assert (model.opset_import[0].version, model.ir_version) == (19, 9)


def test_uint8_images(rng):
    images = rng.integers(0, 256, (3, 4, 4, 3)).astype(np.uint8)
    model = to_onnx(lambda x: x.astype(jnp.float32) / 255, jax.ShapeDtypeStruct(images.shape, images.dtype))
    np.testing.assert_allclose(run(model, images)[0], images / np.float32(255), atol=1e-7)


def test_one_result_by_several_names(rng):
    x = rng.normal(size=(2, 3)).astype(np.float32)
    results = run(to_onnx(lambda x: (x, jnp.tanh(x), x, jnp.ones(2)), (2, 3)), x)
    for got, want in zip(results, (x, np.tanh(x), x, np.ones(2)), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_equal_constants_are_written_once():
    kernel = np.arange(900, dtype=np.float32).reshape(30, 30)
    model = to_onnx(lambda x: x @ kernel @ kernel.copy(), (2, 30))
    assert len(model.graph.initializer) == 1


def test_what_the_result_does_not_need_is_not_written():
    assert operators(to_onnx(lambda x: (jax.random.normal(jax.random.key(0), x.shape), jnp.sin(x))[1], (2, 3))) == [
        "Sin"
    ]


def sorted_net():
    return jc.chain(body=jc.chain(jc.Conv(2, 3), order=jax.jit(lambda x: jnp.sort(x, axis=1))))


def of_net(net, shape):
    params, state = net.init(jax.random.key(0), (1, *shape))
    return lambda x: net.apply(params, state, x)[0]


KERNEL = np.ones((4, 1, 3, 3), np.float32)
BAD = {
    "a layer": (of_net(sorted_net(), (6, 6, 1)), [("n", 6, 6, 1)],
                "at body/order: ONNX must have each operation of the function\n  got: sort of float32[n,4,4,2]\n"
                "  fix: leave it out of the exported function"),
    "a loop": (lambda x: lax.while_loop(lambda x: x.sum() < 9, lambda x: x * 2, x), [(3,)],
               "ONNX must have each operation of the function\n  got: while of float32[3]\n"
               "  fix: leave it out of the exported function"),
    "complex": (lambda x: jnp.abs(lax.complex(x, x)), [(3,)],
                "ONNX must have each operation of the function\n  got: complex of float32[3], float32[3]\n"
                "  fix: leave it out of the exported function"),
    "indices out of bounds": (lambda x: jnp.take(jnp.arange(3.0), x), [jax.ShapeDtypeStruct((4,), jnp.int32)],
                              "ONNX gathers within bounds\n  got: indices that depend on the input, mode FILL_OR_DROP\n"
                              '  fix: mode="clip"'),
    "groups of the batch": (lambda x: lax.conv_general_dilated(x, KERNEL, (1, 1), "SAME", batch_group_count=2),
                            [(2, 1, 5, 5)],
                            "ONNX has no convolution with groups of the batch\n  got: batch_group_count=2\n"
                            "  fix: leave it out of the exported function"),
    "a vector's window": (lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 3), (1, 1), "SAME"), [(4, 5)],
                          "ONNX pools at most all axes but two\n  got: a window of (1, 3)\n"
                          "  fix: leave it out of the exported function"),
    "an expression of the batch": (lambda x: jnp.ones((x.shape[0] // 2,)), [("n", 3)],
                                   "a symbolic size must be one of the inputs', a multiple of it, "
                                   "or longer by a number\n  got: floordiv(n, 2)\n  fix: export with static sizes"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_exported(name):
    fn, shapes, message = BAD[name]
    with pytest.raises(jc.ConfigError) as raised:
        to_onnx(fn, *shapes)
    assert str(raised.value) == message


def test_wrong_number_of_names():
    with pytest.raises(jc.ConfigError) as raised:
        to_onnx(jnp.sin, (3,), output_names=["a", "b"])
    assert str(raised.value) == "every output needs one name\n  got: 2 names for 1\n  fix: leave the names out"


def test_too_large_for_a_file(monkeypatch):
    monkeypatch.setattr(_convert, "_LARGEST", 1000)
    with pytest.raises(
        jc.ConfigError, match=r"an ONNX file holds at most 2 GiB\n  got: .* bytes\n  fix: export .jaxexport"
    ):
        to_onnx(lambda x: x + np.arange(999.0, dtype=np.float32), (999,))
