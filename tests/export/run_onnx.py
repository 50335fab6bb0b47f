"""ONNX models run by ONNX Runtime, against the function that they were made from."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.export import to_onnx


def run(model, *arrays):
    """The outputs of a model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays, strict=True)))


def check(fn, *arrays, symbolic=True, tolerance=2e-5):
    """Equal results of a function and its model; the first axis symbolic, with one image and with all of them."""
    arrays = [np.asarray(array) for array in arrays]
    shapes = [("n", *a.shape[1:]) if symbolic and a.ndim else a.shape for a in arrays]
    structs = [jax.ShapeDtypeStruct(_symbols(shape), a.dtype) for shape, a in zip(shapes, arrays, strict=True)]
    model = to_onnx(fn, *structs)
    for count in {1, *(len(a) for a in arrays if symbolic and a.ndim)} if symbolic else {None}:
        some = [a[:count] if a.ndim else a for a in arrays]
        want, got = jax.tree.leaves(jax.jit(fn)(*map(jnp.asarray, some))), run(model, *some)
        assert len(got) == len(want)
        for ours, theirs in zip(want, got, strict=True):
            assert (theirs.shape, theirs.dtype) == (ours.shape, ours.dtype)
            np.testing.assert_allclose(theirs, ours, atol=tolerance, rtol=tolerance)
    return model


SCOPE = jax.export.SymbolicScope()


def _symbols(shape):
    return tuple(jax.export.symbolic_shape(n, scope=SCOPE)[0] if isinstance(n, str) else n for n in shape)


def operators(model):
    """The operators of a model, in order, without the Identity that names an output."""
    return [node.op_type for node in model.graph.node if node.op_type != "Identity"]
