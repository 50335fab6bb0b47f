"""LeNet-5, in its common modern form and as in the paper."""

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

# Table I of the paper: for each of C3's 16 channels, its input channels from S2.
TABLE = [
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5), (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5),
    (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5), (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
]  # fmt: skip


def squash(x: jax.Array) -> jax.Array:
    """1.7159 tanh(2x/3), which maps ±1 to ±1."""
    return 1.7159 * jnp.tanh(2 / 3 * x)


def lenet5(
    num_classes: int = 10,
    *,
    activation: Literal["tanh", "relu"] = "tanh",
    pool: Literal["avg", "max"] = "avg",
    original: bool = False,
    upto: str | None = None,
) -> Layer:
    """Two 5×5 convolutions with 2×2 pools, then dense layers of 120 and 84 units; part names as in the paper.

    The first convolution pads 28×28 images to the paper's 32×32.

    Args:
      num_classes: units of `output`; 0 for pooled features, [N, 16], without dense layers (upto="act6" returns
        the 84 hidden units).
      activation: nonlinearity after each convolution and hidden layer.
      pool: "avg", or "max" as in later networks.
      original: follow the paper except for its radial-basis output layer, which is dense here: `c3` has the sparse
        connections of table I, `s2` and `s4` scale each channel by a weight, add a bias and squash, and the
        activation is 1.7159 tanh(2x/3); `activation` and `pool` are ignored.
      upto: path of the last part, for a backbone ("s4"); None for the complete net.

    Returns:
      Layer: [N, H, W, C] of at least 12 pixels a side to [N, num_classes].

    Raises:
      ShapeError: if the activation or pool is unknown, the image is too small, `num_classes` is not an int ≥ 0, or no
        part has the path `upto`.

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
    act, kernel_init = squash if original else acts[activation], glorot_normal
    connected = np.zeros((6, 16), bool)
    for column, inputs in enumerate(TABLE):
        connected[list(inputs), column] = True

    def subsample() -> Any:
        if original:
            return chain(pool=AvgPool(2), gain=DepthwiseConv(1), squash=squash)
        return pools[pool](2)

    body = {
        "c1": Conv(6, 5, padding=2, kernel_init=kernel_init),
        "act1": act,
        "s2": subsample(),
        "c3": Conv(16, 5, kernel_init=kernel_init, transform=masked(connected) if original else None),
        "act3": act,
        "s4": subsample(),
    }

    def head(num_classes: int) -> dict[str, Any]:
        c5, f6 = (Dense(units, kernel_init=kernel_init) for units in (120, 84))
        return {"flatten": flatten, "c5": c5, "act5": act, "f6": f6, "act6": act, "output": Dense(num_classes)}

    return ending(body, head, num_classes=num_classes, upto=upto, pool=None)
