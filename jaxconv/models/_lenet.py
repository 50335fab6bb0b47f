"""LeNet-5, which read the digits on cheques: in the form that it is taught in, and as the paper has it."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.errors import ShapeError
from jaxconv.layers import AvgPool, Conv, Dense, DepthwiseConv, MaxPool, chain, masked
from jaxconv.layers.initializers import glorot_normal
from jaxconv.layers.layer import Layer
from jaxconv.models._stages import ending
from jaxconv.ops import flatten

__all__ = ["lenet5"]

# Table I of the paper: for each of the 16 maps of C3, the maps of S2 that it sees.
TABLE = [
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5), (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5),
    (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5), (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
]  # fmt: skip


def squash(x: jax.Array) -> jax.Array:
    """1.7159 tanh(2x/3), which takes ±1 to ±1."""
    return 1.7159 * jnp.tanh(2 / 3 * x)


def lenet5(
    num_classes: int = 10,
    *,
    activation: Literal["tanh", "relu"] = "tanh",
    pool: Literal["avg", "max"] = "avg",
    original: bool = False,
    upto: str | None = None,
) -> Layer:
    """Two 5×5 convolutions with 2×2 pools, then dense layers of 120 and 84 units; parts named as in the paper.

    The first convolution pads 28×28 images to the 32×32 that the paper draws them in.

    Args:
      num_classes: units of `output`; 0 gives the mean of each of the 16 maps, [N, 16], without dense layers
        (upto="act6" gives the 84 units).
      activation: after each convolution and hidden layer.
      pool: "avg", or "max" as the nets after it have it.
      original: as in the paper, but for the last layer, which is dense here and not of radial basis functions:
        `c3` sees only the maps of the paper's table, `s2` and `s4` multiply each map by a weight of its own, add a
        bias and squash, and the activation is 1.7159 tanh(2x/3), whatever `activation` and `pool` say.
      upto: path of the last part, for a backbone ("s4"); None for the complete net.

    Returns:
      A Layer: [N, H, W, C] of at least 12 pixels a side to [N, num_classes].

    Raises:
      ShapeError: another activation or pool, an image that is too small, a `num_classes` that is no int ≥ 0, a part
        that is not there.

    Source: LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998.

    >>> params, state = lenet5().init(jax.random.key(0), (1, 28, 28, 1))
    >>> params["c3"]["kernel"].shape, params["c5"]["kernel"].shape
    ((5, 5, 6, 16), (400, 120))
    """
    acts, pools = {"tanh": jnp.tanh, "relu": jax.nn.relu}, {"avg": AvgPool, "max": MaxPool}
    if activation not in acts or pool not in pools:
        raise ShapeError(
            f"activation must be one of {', '.join(acts)}, and pool one of {', '.join(pools)}",
            got=f"{activation=}, {pool=}",
        )
    act, start = squash if original else acts[activation], glorot_normal
    seen = np.zeros((6, 16), bool)
    for column, maps in enumerate(TABLE):
        seen[list(maps), column] = True

    def subsample() -> Any:
        if original:
            return chain(pool=AvgPool(2), gain=DepthwiseConv(1), squash=squash)
        return pools[pool](2)

    body = {
        "c1": Conv(6, 5, padding=2, kernel_init=start),
        "act1": act,
        "s2": subsample(),
        "c3": Conv(16, 5, kernel_init=start, transform=masked(seen) if original else None),
        "act3": act,
        "s4": subsample(),
    }

    def head(num_classes: int) -> dict[str, Any]:
        c5, f6 = (Dense(units, kernel_init=start) for units in (120, 84))
        return {"flatten": flatten, "c5": c5, "act5": act, "f6": f6, "act6": act, "output": Dense(num_classes)}

    return ending(body, head, num_classes=num_classes, upto=upto, pool=None)
