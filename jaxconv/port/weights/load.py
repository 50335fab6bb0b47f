"""Weights of torch's nets into ours, by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from jaxconv._base.errors import ConfigError
from jaxconv.layers.layer import lift
from jaxconv.port.diagnose.hints import hints
from jaxconv.port.weights.leaves import leaves_of
from jaxconv.port.weights.match import PortError, match, selected, told
from jaxconv.port.weights.names import Source, name_leaves
from jaxconv.port.weights.read import read

__all__ = ["load"]


def load(
    net: Any,
    weights: Any,
    source: Source = "torchvision",
    *,
    x: Any = (1, 224, 224, 3),
    skip: str | Iterable[str] = (),
    ignore: str | Iterable[str] = (),
    key: Any = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads torch's weights into a net's params and state, by name, in our order of axes.

    Kernels are turned from [C_out, C_in, *k] to [*k, C_in, C_out], dense ones to [C_in, C_out]; the rows of a
    dense layer behind a `flatten` go from [C, *spatial] order to [*spatial, C]; which layers these are is read
    off the net's own program. Nothing is matched by its place or reshaped to fit.

    Args:
      net: a Layer.
      weights: a state dict, a torch module, or the path of a .safetensors, .pth, .pt, .bin or .npz file.
      source: whose names they are: "torchvision", "timm", "transformers", {our path, or a regular expression: their
        name}, or a function from path to name; see `names.name_leaves`. What timm trained with another eps than
        torchvision wants it of the net, too: `models.mobilenet_v3_large(eps=1e-5)`, EfficientNet B5 to B7 alike.
      x: an input of the net: an array, a `jax.ShapeDtypeStruct` or a shape.
      skip: patterns of paths ("fc", "*/bias") that stay as `net.init(key, x)` draws them: a new head.
      ignore: patterns of names in the file that the net does without ("fc", "aux1.*").
      key: for what is skipped.

    Returns:
      (params, state) of the net's own types. Running variances are torch's as they are, the unbiased ones.

    Raises:
      PortError: something is missing, left over, of another shape, or holds other values than finite ones of floating
        point (whole numbers, complex ones, text, NaN); lists all of it. A tensor in another order
        of axes is told by its shape, so one whose axes are all of one length cannot be.
      ConfigError: an unknown source, or a pattern that fits nothing.
      DataError: a file that is missing, damaged, or holds code.

    >>> import numpy as np
    >>> from jaxconv.layers import Conv, chain
    >>> weights = {"stem.weight": np.ones([8, 3, 5, 5]), "stem.bias": np.zeros(8)}
    >>> params, state = load(chain(stem=Conv(8, 5)), weights, x=(1, 9, 9, 3))
    >>> params["stem"]["kernel"].shape
    (5, 5, 3, 8)
    """
    net = lift(net)
    leaves = leaves_of(net, x)
    found = read(weights)
    skipped = selected(skip, [leaf.path for leaf in leaves], "skip")
    if skipped and key is None:
        raise ConfigError("skip leaves weights as init draws them, and needs a key\n  fix: key=jax.random.key(0)")
    names = name_leaves(leaves, source, found)
    ignored = selected(ignore, found, "ignore")
    wanted = [leaf for leaf in leaves if leaf.path not in skipped]
    fit = match(wanted, names, found, ignored)
    if not fit.fits:
        where = str(weights) if isinstance(weights, str | Path) else "the state dict"
        raise PortError(told(where, fit, len(leaves), hints(leaves, fit, found, source)))
    fresh = leaves.split(net.init(key, x)) if skipped else [None] * len(leaves)
    arrays = [
        new
        if leaf.path in skipped
        else jnp.array(leaf.from_torch(fit.arrays[leaf.path]).astype(leaf.dtype, copy=False))
        for leaf, new in zip(leaves, fresh, strict=True)
    ]
    return leaves.join(arrays)
