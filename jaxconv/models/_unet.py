"""U-Net for segmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxconv import geometry
from jaxconv._base.errors import ShapeError
from jaxconv.layers import BatchNorm, Conv, ConvTranspose, Dropout, MaxPool, backbone, chain
from jaxconv.layers.composition import compose
from jaxconv.layers.initializers import he_normal
from jaxconv.layers.layer import Layer

__all__ = ["unet"]


def unet(
    num_classes: int = 2,
    *,
    width: int = 64,
    depth: int = 4,
    padding: Literal["valid", "same"] = "valid",
    batch_norm: bool = False,
    dropout: float = 0.0,
    upto: str | None = None,
) -> Layer:
    """Per-pixel logits: a contracting path, an expansive path, and skip connections at every resolution.

    Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation" (2015), figure 1:
    572×572 to 388×388, two 3×3 convolutions at each of five resolutions, twice the channels at half the resolution.

    Args:
      num_classes: channels of logits; 0 for no head: `width` channels of features.
      width: channels at full resolution.
      depth: number of times the resolution is halved.
      padding: "valid" as in the paper, where skip connections are center-cropped to match; "same" for an output of
        the input's size, even or odd.
      batch_norm: whether a batch norm follows each 3×3 convolution (not in the paper).
      dropout: dropout rate at the end of the contracting path.
      upto: path of the last part, for a backbone ("bottom": the contracting path); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, H', W', num_classes], with parts `contract1`, `pool1`, …, `bottom`, then `up4`,
      `expand4`, …, `head`. With "valid" and depth 4, H' = 16 h - 60, where h is the height
      of `bottom`; the paper requires even sizes at every pool.

    Raises:
      ShapeError: if an argument is invalid, the image is too small, or no part has the path `upto`.

    >>> net = unet()
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 572, 572, 1)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 572, 572, 1), "float32"))[0].shape
    (1, 388, 388, 2)
    """
    geometry.integer(width, "width")
    geometry.integer(depth, "depth")
    geometry.integer(num_classes, "num_classes", least=0)
    if padding not in ("valid", "same"):
        raise ShapeError('padding of a U-Net must be "valid" or "same"', got=f"padding={padding!r}")
    same = padding == "same"

    def pair(level: int) -> list[Any]:
        """Two convolutions at one resolution."""
        conv = Conv(width * 2**level, 3, padding=padding, bias=not batch_norm, kernel_init=he_normal)
        return 2 * [conv, *([BatchNorm()] if batch_norm else []), jax.nn.relu]

    levels = range(1, depth + 1)
    parts: dict[str, Any] = {}
    for n in levels:
        parts |= {f"contract{n}": chain(*pair(n - 1)), f"pool{n}": MaxPool(2, ceil_mode=same)}
    parts["bottom"] = chain(*pair(depth), *([Dropout(dropout)] if dropout else []))
    for n in reversed(levels):
        up = ConvTranspose(width * 2 ** (n - 1), 2, stride=2, kernel_init=he_normal)
        parts |= {f"up{n}": up, f"expand{n}": chain(*pair(n - 1))}
    if num_classes:
        parts["head"] = Conv(num_classes, 1)

    def flow(call: Callable[..., Any], x: Any) -> Any:
        skips = {}
        for n in levels:
            skips[n] = x = call(f"contract{n}", x)
            x = call(f"pool{n}", x)
        x = call("bottom", x)
        for n in reversed(levels):
            x = call(f"up{n}", x)
            height, width = (min(a, b) for a, b in zip(x.shape[1:3], skips[n].shape[1:3], strict=True))
            # Drop the last row or column of an odd size, which comes from a partial pool window.
            x = jnp.concatenate([_center_crop(skips[n], height, width), x[:, :height, :width]], axis=-1)
            x = call(f"expand{n}", x)
        return call("head", x) if num_classes else x

    net = compose("unet", parts, flow)
    return net if upto is None else backbone(net, upto=upto)


def _center_crop(x: jax.Array, height: int, width: int) -> jax.Array:
    """[N, H, W, C] -> [N, height, width, C]."""
    top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
    return x[:, top : top + height, left : left + width]
