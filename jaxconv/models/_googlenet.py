"""GoogLeNet (Inception v1)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxconv.layers import BatchNorm, Conv, Dense, Dropout, MaxPool, branch, chain
from jaxconv.layers.initializers import Normal
from jaxconv.layers.layer import Layer
from jaxconv.models._stages import ending, numbered

__all__ = ["googlenet"]

START = Normal(0.01)
# Table 1 of the paper: channels of the 1×1; the 3×3's reduction, 3×3; the 5×5's reduction, 5×5; the pool's projection.
STAGES: Mapping[str, Mapping[str, tuple[int, int, int, int, int, int]]] = {
    "3": {"a": (64, 96, 128, 16, 32, 32), "b": (128, 128, 192, 32, 96, 64)},
    "4": {
        "a": (192, 96, 208, 16, 48, 64),
        "b": (160, 112, 224, 24, 64, 64),
        "c": (128, 128, 256, 24, 64, 64),
        "d": (112, 144, 288, 32, 64, 64),
        "e": (256, 160, 320, 32, 128, 128),
    },
    "5": {"a": (256, 160, 320, 32, 128, 128), "b": (384, 192, 384, 48, 128, 128)},
}


def googlenet(
    num_classes: int = 1000,
    *,
    dropout: float = 0.2,
    stages: Mapping[str, Mapping[str, Sequence[int]]] = STAGES,
    upto: str | None = None,
) -> Layer:
    """Nine Inception modules of four parallel branches: 1×1, 3×3, 5×5 and a pool.

    Szegedy et al., "Going Deeper with Convolutions" (2014), with torchvision's architecture and part names: batch
    norm after every convolution, 3×3 in place of the paper's 5×5, and no auxiliary classifiers, which serve training
    alone.

    Args:
      num_classes: units of the last layer; 0 for pooled features, [N, C].
      dropout: dropout rate before the last layer.
      stages: channels of the branches (1×1; reduction, 3×3; reduction, 5×5; pool) by stage and module.
      upto: path of the last part, for a backbone ("inception4e": stride 16); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes].

    Raises:
      ShapeError: if an argument is invalid, or no part has the path `upto`.

    >>> net = googlenet(upto="inception3b")
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 64, 64, 3)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 64, 64, 3), "float32"))[0].shape
    (1, 8, 8, 480)
    """
    pool = functools.partial(MaxPool, stride=2, ceil_mode=True)
    parts: dict[str, Any] = {"conv1": _conv(64, 7, stride=2), "maxpool1": pool(3)}
    parts |= {"conv2": _conv(64, 1), "conv3": _conv(192, 3), "maxpool2": pool(3)}
    for stage, modules in stages.items():
        if stage != "3":
            parts[f"maxpool{int(stage) - 1}"] = pool(3 if stage == "4" else 2)
        parts |= {f"inception{stage}{letter}": _inception(*channels) for letter, channels in modules.items()}

    def head(num_classes: int) -> Mapping[str, Any]:
        return {"dropout": Dropout(dropout), "fc": Dense(num_classes, kernel_init=START)}

    return ending(parts, head, num_classes=num_classes, upto=upto)


def _conv(features: int, size: int, *, stride: int = 1) -> Layer:
    """Convolution, batch norm, ReLU."""
    conv = Conv(features, size, stride=stride, padding=size // 2, bias=False, kernel_init=START)
    return chain(conv=conv, bn=BatchNorm(eps=1e-3), relu=jax.nn.relu)


def _inception(one: int, reduced3: int, three: int, reduced5: int, five: int, pooled: int) -> Layer:
    """Figure 2 (b) of the paper: [N, H, W, C] to [N, H, W, one + three + five + pooled]."""
    return branch(
        branch1=_conv(one, 1),
        branch2=numbered(_conv(reduced3, 1), _conv(three, 3)),
        branch3=numbered(_conv(reduced5, 1), _conv(five, 3)),
        branch4=numbered(MaxPool(3, stride=1, padding=1, ceil_mode=True), _conv(pooled, 1)),
    )
