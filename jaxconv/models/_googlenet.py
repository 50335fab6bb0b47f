"""GoogLeNet: in every module four ways at once, and 1×1 convolutions that keep the wide ones cheap."""

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
# Table 1 of the paper, stage by stage: 1×1; 3×3's reduction and 3×3; 5×5's reduction and 5×5; the pool's projection.
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
    """Nine modules of four branches each: 1×1, 3×3, a wider one and a pool, side by side.

    Szegedy et al., "Going Deeper with Convolutions" (2014), in torchvision's form and with its names of parts:
    batch norm after every convolution, in the wider branch 3×3 where the paper has 5×5, and no side classifiers,
    which the paper leaves out, too, once the net is trained.

    Args:
      num_classes: units of the last layer; 0 for the net without it, which gives the mean of each map.
      dropout: share of values dropped before the last layer while training.
      stages: maps of the branches (1×1; reduction and 3×3; reduction and wider; pool) by stage and module.
      upto: path of the last part, for a backbone ("inception4e": stride 16); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes].

    Raises:
      ShapeError: numbers that cannot be, or a path that is not there.

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
        parts |= {f"inception{stage}{letter}": _inception(*maps) for letter, maps in modules.items()}

    def head(num_classes: int) -> Mapping[str, Any]:
        return {"dropout": Dropout(dropout), "fc": Dense(num_classes, kernel_init=START)}

    return ending(parts, head, num_classes=num_classes, upto=upto)


def _conv(maps: int, size: int, *, stride: int = 1) -> Layer:
    """A convolution, its norm and ReLU."""
    conv = Conv(maps, size, stride=stride, padding=size // 2, bias=False, kernel_init=START)
    return chain(conv=conv, bn=BatchNorm(eps=1e-3), relu=jax.nn.relu)


def _inception(one: int, reduced3: int, three: int, reduced5: int, five: int, pooled: int) -> Layer:
    """Figure 2 (b) of the paper: [N, H, W, C] to [N, H, W, one + three + five + pooled]."""
    return branch(
        branch1=_conv(one, 1),
        branch2=numbered(_conv(reduced3, 1), _conv(three, 3)),
        branch3=numbered(_conv(reduced5, 1), _conv(five, 3)),
        branch4=numbered(MaxPool(3, stride=1, padding=1, ceil_mode=True), _conv(pooled, 1)),
    )
