"""U-Net: down to where a pixel sees most of the image, and up again with what was seen on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxconv import geometry
from jaxconv._base.errors import ShapeError
from jaxconv.layers import BatchNorm, Conv, ConvTranspose, Dropout, MaxPool, backbone, chain
from jaxconv.layers.initializers import he_normal
from jaxconv.layers.layer import Layer, compose

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
    """Logits for every pixel: a contracting path, an expansive path, and a copy across at every size.

    Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation" (2015), figure 1:
    572×572 to 388×388, two 3×3 convolutions at each of five sizes, twice the maps at half the size.

    Args:
      num_classes: maps of logits; 0 for the net without the last convolution, which gives `width` maps.
      width: maps at the full size.
      depth: how often the size is halved.
      padding: "valid" as in the paper, where each convolution loses its border and a copy is cropped to the middle
        of what it meets; "same" gives an output of the input's size, odd ones, too.
      batch_norm: normalize after each 3×3 convolution, which the paper does not.
      dropout: share of values dropped at the end of the contracting path while training.
      upto: path of the last part, for a backbone ("bottom": the contracting path); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, H', W', num_classes], its parts `contract1`, `pool1`, …, `bottom`, then `up4`,
      `expand4`, …, `head`. With "valid" and depth 4, H' = 16 h - 60 where `bottom` gives h; the
      paper asks for sizes that are even at every pool.

    Raises:
      ShapeError: numbers that cannot be, an image that is too small, or a path that is not there.

    >>> net = unet()
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 572, 572, 1)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 572, 572, 1), "float32"))[0].shape
    (1, 388, 388, 2)
    """
    (
        geometry.integer(width, "width"),
        geometry.integer(depth, "depth"),
        geometry.integer(num_classes, "num_classes", least=0),
    )
    if padding not in ("valid", "same"):
        raise ShapeError('padding of a U-Net must be "valid" or "same"', got=f"padding={padding!r}")
    same = padding == "same"

    def pair(level: int) -> list[Any]:
        """Two convolutions at one size."""
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
        seen = {}
        for n in levels:
            seen[n] = x = call(f"contract{n}", x)
            x = call(f"pool{n}", x)
        x = call("bottom", x)
        for n in reversed(levels):
            x = call(f"up{n}", x)
            height, across = (min(a, b) for a, b in zip(x.shape[1:3], seen[n].shape[1:3], strict=True))
            # The last cells of an odd size come from half a pool's window: they are dropped.
            x = jnp.concatenate([_middle(seen[n], height, across), x[:, :height, :across]], axis=-1)
            x = call(f"expand{n}", x)
        return call("head", x) if num_classes else x

    net = compose("unet", parts, flow)
    return net if upto is None else backbone(net, upto=upto)


def _middle(x: jax.Array, height: int, across: int) -> jax.Array:
    """The middle of maps [N, H, W, C]: [N, height, across, C]."""
    top, left = (x.shape[1] - height) // 2, (x.shape[2] - across) // 2
    return x[:, top : top + height, left : left + across]
