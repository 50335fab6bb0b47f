"""Inception v3: factorized convolutions, such as 7×7 into 1×7 and 7×1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv.layers import AvgPool, BatchNorm, Conv, Dense, Dropout, MaxPool, chain
from jaxconv.layers.composition import compose
from jaxconv.layers.initializers import Normal
from jaxconv.layers.layer import Layer, Part
from jaxconv.models._stages import ending

__all__ = ["inception_v3"]

START = Normal(0.1)


def inception_v3(
    num_classes: int = 1000, *, width: float = 1.0, dropout: float = 0.5, upto: str | None = None
) -> Layer:
    """Eleven modules of five kinds after a stem of five convolutions, for images of 299×299.

    Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (2015), with torchvision's names of
    parts, `Conv2d_1a_3x3` to `Mixed_7c` and `fc`, without the auxiliary classifier, which serves training alone.

    Args:
      num_classes: units of the last layer; 0 for pooled features, [N, C].
      width: width multiplier of every number of channels.
      dropout: dropout rate before the last layer.
      upto: path of the last part, for a backbone ("Mixed_6e"); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes], H and W at least 75.

    Raises:
      ShapeError: if an argument is invalid, the image is too small, or no part has the path `upto`.

    >>> net = inception_v3(upto="Mixed_5d")
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 75, 75, 3)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 75, 75, 3), "float32"))[0].shape
    (1, 7, 7, 288)
    """

    def conv(features: int, rows: int, columns: int | None = None, *, stride: int = 1, pad: bool = False) -> Layer:
        size = (rows, rows if columns is None else columns)
        padding = [(k // 2, k // 2) if pad else (0, 0) for k in size]
        layer = Conv(
            max(1, round(features * width)), size, stride=stride, padding=padding, bias=False,
            kernel_init=START,
        )  # fmt: skip
        return chain(conv=layer, bn=BatchNorm(eps=1e-3), relu=jax.nn.relu)

    body = {
        "Conv2d_1a_3x3": conv(32, 3, stride=2),
        "Conv2d_2a_3x3": conv(32, 3),
        "Conv2d_2b_3x3": conv(64, 3, pad=True),
        "maxpool1": MaxPool(3, stride=2),
        "Conv2d_3b_1x1": conv(80, 1),
        "Conv2d_4a_3x3": conv(192, 3),
        "maxpool2": MaxPool(3, stride=2),
        "Mixed_5b": _double3x3(conv, 32),
        "Mixed_5c": _double3x3(conv, 64),
        "Mixed_5d": _double3x3(conv, 64),
        "Mixed_6a": _reduce_to_17(conv),
        "Mixed_6b": _factored(conv, 128),
        "Mixed_6c": _factored(conv, 160),
        "Mixed_6d": _factored(conv, 160),
        "Mixed_6e": _factored(conv, 192),
        "Mixed_7a": _reduce_to_8(conv),
        "Mixed_7b": _expanded(conv),
        "Mixed_7c": _expanded(conv),
    }

    def head(num_classes: int) -> Mapping[str, Any]:
        return {"dropout": Dropout(dropout), "fc": Dense(num_classes, kernel_init=START)}

    return ending(body, head, num_classes=num_classes, upto=upto)


_Conv = Callable[..., Layer]


def _module(name: str, parts: Mapping[str, Part], *branches: str) -> Layer:
    """Concatenated branches. "a b" runs b after a; "a b|c" runs b and c in parallel, each after a."""

    def flow(call: Callable[..., Any], x: Any) -> Any:
        outputs = []
        for branch in branches:
            *first, last = branch.split()
            h = x
            for part in first:
                h = call(part, h)
            outputs += [call(part, h) for part in last.split("|")]
        return jnp.concatenate(outputs, axis=-1)

    return compose(name, parts, flow)


def _avg_pool() -> Layer:
    """3×3 average pool that counts the padding."""
    return AvgPool(3, stride=1, padding=1, count_include_pad=True)


def _double3x3(conv: _Conv, pooled: int) -> Layer:
    """Figure 5, at 35×35: a 5×5 branch, and one of two 3×3."""
    parts = {
        "branch1x1": conv(64, 1),
        "branch5x5_1": conv(48, 1),
        "branch5x5_2": conv(64, 5, pad=True),
        "branch3x3dbl_1": conv(64, 1),
        "branch3x3dbl_2": conv(96, 3, pad=True),
        "branch3x3dbl_3": conv(96, 3, pad=True),
        "pool": _avg_pool(),
        "branch_pool": conv(pooled, 1),
    }
    wide = "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3"
    return _module("inception_a", parts, "branch1x1", "branch5x5_1 branch5x5_2", wide, "pool branch_pool")


def _reduce_to_17(conv: _Conv) -> Layer:
    """Figure 10: grid reduction from 35×35 to 17×17."""
    parts = {
        "branch3x3": conv(384, 3, stride=2),
        "branch3x3dbl_1": conv(64, 1),
        "branch3x3dbl_2": conv(96, 3, pad=True),
        "branch3x3dbl_3": conv(96, 3, stride=2),
        "pool": MaxPool(3, stride=2),
    }
    return _module("inception_b", parts, "branch3x3", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3", "pool")


def _factored(conv: _Conv, narrow: int) -> Layer:
    """Figure 6 with n = 7, at 17×17: 7×7 factorized into 1×7 and 7×1."""
    parts = {
        "branch1x1": conv(192, 1),
        "branch7x7_1": conv(narrow, 1),
        "branch7x7_2": conv(narrow, 1, 7, pad=True),
        "branch7x7_3": conv(192, 7, 1, pad=True),
        "branch7x7dbl_1": conv(narrow, 1),
        "branch7x7dbl_2": conv(narrow, 7, 1, pad=True),
        "branch7x7dbl_3": conv(narrow, 1, 7, pad=True),
        "branch7x7dbl_4": conv(narrow, 7, 1, pad=True),
        "branch7x7dbl_5": conv(192, 1, 7, pad=True),
        "pool": _avg_pool(),
        "branch_pool": conv(192, 1),
    }
    seven, twice = (" ".join(f"branch7x7{word}_{i}" for i in range(1, n)) for word, n in (("", 4), ("dbl", 6)))
    return _module("inception_c", parts, "branch1x1", seven, twice, "pool branch_pool")


def _reduce_to_8(conv: _Conv) -> Layer:
    """Grid reduction from 17×17 to 8×8, with a factorized 7×7 in one branch."""
    parts = {
        "branch3x3_1": conv(192, 1),
        "branch3x3_2": conv(320, 3, stride=2),
        "branch7x7x3_1": conv(192, 1),
        "branch7x7x3_2": conv(192, 1, 7, pad=True),
        "branch7x7x3_3": conv(192, 7, 1, pad=True),
        "branch7x7x3_4": conv(192, 3, stride=2),
        "pool": MaxPool(3, stride=2),
    }
    seven = " ".join(f"branch7x7x3_{i}" for i in range(1, 5))
    return _module("inception_d", parts, "branch3x3_1 branch3x3_2", seven, "pool")


def _expanded(conv: _Conv) -> Layer:
    """Figure 7, at 8×8: parallel 1×3 and 3×1 for more channels."""
    parts = {
        "branch1x1": conv(320, 1),
        "branch3x3_1": conv(384, 1),
        "branch3x3_2a": conv(384, 1, 3, pad=True),
        "branch3x3_2b": conv(384, 3, 1, pad=True),
        "branch3x3dbl_1": conv(448, 1),
        "branch3x3dbl_2": conv(384, 3, pad=True),
        "branch3x3dbl_3a": conv(384, 1, 3, pad=True),
        "branch3x3dbl_3b": conv(384, 3, 1, pad=True),
        "pool": _avg_pool(),
        "branch_pool": conv(192, 1),
    }
    three = "branch3x3_1 branch3x3_2a|branch3x3_2b"
    twice = "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a|branch3x3dbl_3b"
    return _module("inception_e", parts, "branch1x1", three, twice, "pool branch_pool")
