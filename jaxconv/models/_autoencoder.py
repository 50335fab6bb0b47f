"""A convolutional autoencoder whose way back is the adjoint of its way in, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxconv._base.types import Params, State
from jaxconv.layers import Conv, Dense, adjoint, backbone
from jaxconv.layers.checks import param_dtype
from jaxconv.layers.initializers import he_normal, zeros
from jaxconv.layers.layer import Layer, check_params, compose, shape_of
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
    """Strided convolutions to a few numbers for each image, and back to exactly its shape.

    After Masci et al., "Stacked Convolutional Auto-Encoders for Hierarchical Feature Extraction" (2011). The
    decoder is made with `jaxconv.adjoint`: each of its layers is the transpose, as a matrix, of the encoder's.

    Args:
      code: numbers that each image becomes.
      widths: output channels of each convolution of the encoder; each halves height and width, rounded up.
      kernel_size: of the kernels.
      tied: whether the decoder runs on the encoder's own kernels, as that paper has it, with a bias of its own.
      upto: path of the last part, for a backbone ("code": the encoder, to [N, code]); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to the same shape, its parts `encode1`, …, `code`, then `decode_code`, …, `decode1`.

    Raises:
      ShapeError: numbers that cannot be, or a path that is not there.

    >>> net = autoencoder(8, widths=(4,), tied=True)
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 7, 9, 3)))
    >>> {name: leaf.shape for name, leaf in params["decode1"].items()}
    {'bias': (3,)}
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((2, 7, 9, 3), "float32"))[0].shape
    (2, 7, 9, 3)
    """
    numbers = range(1, len(widths) + 1)
    words: dict[str, Any] = {"stride": 2, "padding": kernel_size // 2, "kernel_init": he_normal}
    convs = {n: Conv(widths[n - 1], kernel_size, **words) for n in numbers}
    dense = Dense(code)
    back = _bias if tied else _way_back
    parts: dict[str, Any] = {f"encode{n}": convs[n] for n in numbers}
    parts |= {"code": dense, "decode_code": back(dense)}
    parts |= {f"decode{n}": back(convs[n]) for n in reversed(numbers)}

    def flow(call: Callable[..., Any], x: Any) -> Any:
        def decode(there: str, here: str, y: Any, like: Any) -> Any:
            """From what part `there` gave back to the shape of what it got, `like`."""
            if not tied:
                return call(here, (y, like))
            return call(here, call(there, y, by=adjoint(parts[there], like, tied=True)))

        seen = {}
        for n in numbers:
            seen[n], x = x, jax.nn.relu(call(f"encode{n}", x))
        flat = flatten(x)
        y = decode("code", "decode_code", call("code", flat), flat).reshape(x.shape)
        for n in reversed(numbers):
            y = decode(f"encode{n}", f"decode{n}", jax.nn.relu(y), seen[n])
        return y

    net = compose("autoencoder", parts, flow)
    return net if upto is None else backbone(net, upto=upto)


def _way_back(layer: Layer) -> Layer:
    """(y, like) -> `like`'s shape: the adjoint of `layer` for whatever shape it got, with weights of its own."""

    def init(key: Any, x: Any) -> tuple[Params, State]:
        y, like = shape_of(x)
        return adjoint(layer, like).init(key, y)

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        y, like = x
        return adjoint(layer, like).apply(params, state, y)

    return Layer("adjoint", init, apply)


def _bias(layer: Layer) -> Layer:
    """x + bias: what the way back through `layer` has of its own where the kernel is tied."""

    def init(key: Any, x: Any) -> tuple[Params, State]:
        x = shape_of(x)
        return {"bias": zeros(key, x.shape[-1:], param_dtype(x))}, {}

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        check_params("bias", params, ("bias",))
        return add_bias(x, check_bias(params["bias"], x.shape[-1])), state

    return Layer("bias", init, apply)
