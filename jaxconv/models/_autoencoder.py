"""Convolutional autoencoder whose decoder is the layer-by-layer adjoint of its encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxconv._base.types import Params, State
from jaxconv.layers import Conv, Dense, adjoint, backbone
from jaxconv.layers.checks import param_dtype
from jaxconv.layers.composition import compose
from jaxconv.layers.initializers import he_normal, zeros
from jaxconv.layers.layer import Layer, check_params, shape_of
from jaxconv.ops import flatten
from jaxconv.ops._conv import add_bias, check_bias

__all__ = ["autoencoder"]


def autoencoder(
    code: int = 32,
    *,
    widths: Sequence[int] = (16, 32),
    kernel_size: int = 3,
    tied: bool = False,
    upto: str | None = None,
) -> Layer:
    """Strided convolutions to a code vector, and transposed ones back to the exact input shape.

    After Masci et al., "Stacked Convolutional Auto-Encoders for Hierarchical Feature Extraction" (2011). The
    decoder is built with `jaxconv.adjoint`: each of its layers is the matrix transpose of one of the encoder's.

    Args:
      code: length of the code vector.
      widths: output channels of each convolution of the encoder; each halves height and width, rounded up.
      kernel_size: side of the square kernels.
      tied: whether the decoder shares the encoder's kernels (as in that paper), with its own biases.
      upto: path of the last part, for a backbone ("code": the encoder, to [N, code]); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to the same shape, its parts `encode1`, …, `code`, then `decode_code`, …, `decode1`.

    Raises:
      ShapeError: if an argument is invalid, or no part has the path `upto`.

    >>> net = autoencoder(8, widths=(4,), tied=True)
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 7, 9, 3)))
    >>> {name: leaf.shape for name, leaf in params["decode1"].items()}
    {'bias': (3,)}
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((2, 7, 9, 3), "float32"))[0].shape
    (2, 7, 9, 3)
    """
    numbers = range(1, len(widths) + 1)
    options: dict[str, Any] = {"stride": 2, "padding": kernel_size // 2, "kernel_init": he_normal}
    convs = {n: Conv(widths[n - 1], kernel_size, **options) for n in numbers}
    dense = Dense(code)
    decoder = _bias if tied else _adjoint
    parts: dict[str, Any] = {f"encode{n}": convs[n] for n in numbers}
    parts |= {"code": dense, "decode_code": decoder(dense)}
    parts |= {f"decode{n}": decoder(convs[n]) for n in reversed(numbers)}

    def flow(call: Callable[..., Any], x: Any) -> Any:
        def decode(encoder: str, decoder: str, y: Any, like: Any) -> Any:
            """Map y, of the encoder part's output shape, to its input shape, that of `like`."""
            if not tied:
                return call(decoder, (y, like))
            return call(decoder, call(encoder, y, by=adjoint(parts[encoder], like, tied=True)))

        inputs = {}
        for n in numbers:
            inputs[n], x = x, jax.nn.relu(call(f"encode{n}", x))
        flat = flatten(x)
        y = decode("code", "decode_code", call("code", flat), flat).reshape(x.shape)
        for n in reversed(numbers):
            y = decode(f"encode{n}", f"decode{n}", jax.nn.relu(y), inputs[n])
        return y

    net = compose("autoencoder", parts, flow)
    return net if upto is None else backbone(net, upto=upto)


def _adjoint(layer: Layer) -> Layer:
    """(y, like) -> an array of `like`'s shape: the adjoint of `layer` for that input shape, with its own weights."""

    def init(key: Any, x: Any) -> tuple[Params, State]:
        y, like = shape_of(x)
        return adjoint(layer, like).init(key, y)

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        y, like = x
        return adjoint(layer, like).apply(params, state, y)

    return Layer("adjoint", init, apply)


def _bias(layer: Layer) -> Layer:
    """x + bias: the decoder layer's own parameters if its kernel is tied to that of `layer`."""

    def init(key: Any, x: Any) -> tuple[Params, State]:
        x = shape_of(x)
        return {"bias": zeros(key, x.shape[-1:], param_dtype(x))}, {}

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        check_params("bias", params, ("bias",))
        return add_bias(x, check_bias(params["bias"], x.shape[-1])), state

    return Layer("bias", init, apply)
