"""Export to other runtimes: any JAX function as an ONNX model.

model = export.to_onnx(lambda x: net.apply(params, state, x)[0], ("n", 224, 224, 3))
"""

from jaxconv.export._convert import to_onnx

__all__ = ["to_onnx"]


def __dir__() -> list[str]:
    return sorted(__all__)
