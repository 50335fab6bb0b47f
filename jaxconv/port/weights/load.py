"""Load torch weights into a net, matched by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from jaxconv._base.errors import ConfigError
from jaxconv._base.types import InputSpec, Params, State
from jaxconv.layers.layer import Layer, lift
from jaxconv.port.diagnose.hints import hints
from jaxconv.port.weights.leaves import leaves_of
from jaxconv.port.weights.match import PortError, match, mismatch_message, selected
from jaxconv.port.weights.names import Source, name_leaves
from jaxconv.port.weights.parts import leaves_in, of_run
from jaxconv.port.weights.read import plain_names, read

__all__ = ["load"]

_OURS = ("params/", "state/")


def load(
    net: Layer,
    weights: Any,
    source: Source = "torchvision",
    *,
    x: InputSpec = (1, 224, 224, 3),
    skip: str | Iterable[str] = (),
    ignore: str | Iterable[str] = (),
    key: Any = None,
    entry: str | None = None,
    part: str | None = None,
) -> tuple[Params, State]:
    """Load weights of torch or of a run into a net's params and state: matched by name, converted to our layout.

    Kernels are transposed from [C_out, C_in, *k] to [*k, C_in, C_out], dense ones to [C_in, C_out]. The rows of a
    dense layer after a `flatten` are reordered from [C, *spatial] to [*spatial, C]; the net's jaxpr shows which layers
    these are. Nothing is matched by position or reshaped to fit.

    Args:
      net: a Layer.
      weights: a state dict, a torch module, or the path of a .safetensors, .pth, .pt, .bin or .npz file; or of a run of
        jaxconv, whose own names need no source.
      source: naming scheme of the weights: "torchvision", "timm", "transformers", {our path, or a regular
        expression: their name}, or a function from path to name; see `names.name_leaves`.
        Where timm trained with another eps than torchvision, set it in the net, too:
        `models.mobilenet_v3_large(eps=1e-5)`, EfficientNet B5 to B7 alike.
      x: an input of the net: an array, a `jax.ShapeDtypeStruct` or a shape.
      skip: patterns of parameter paths ("fc", "*/bias") to leave as `net.init(key, x)` initializes them: a new head.
      ignore: patterns of unexpected names in the file that are no error ("fc", "aux1.*").
      key: random key for skipped parameters.
      entry: key of the state dict in a checkpoint that has several, such as "model_ema"; see `read`.
      part: path of the part that the weights are for, such as the "backbone" of a segmentation net, of which a
        classifier's file has the weights; all other parts are skipped. Their names are those of the classifier, of
        whose `features` such a part may be made. None for the complete net.

    Returns:
      (params, state) in the net's dtypes. Running variances are torch's unbiased ones, unchanged.

    Raises:
      PortError: if keys are missing or unexpected, or a tensor has another shape, or values other than finite floating
        point ones (integers, complex numbers, text, NaN); lists all of them. Another order of axes is recognized by
        the shape, so not if all axes have one length.
      ConfigError: if the source or the entry is unknown, or a pattern fits nothing.
      DataError: if a file is missing or damaged, or holds code.

    >>> import numpy as np
    >>> from jaxconv.layers import Conv, chain
    >>> weights = {"stem.weight": np.ones([8, 3, 5, 5]), "stem.bias": np.zeros(8)}
    >>> params, state = load(chain(stem=Conv(8, 5)), weights, x=(1, 9, 9, 3))
    >>> params["stem"]["kernel"].shape
    (5, 5, 3, 8)
    """
    net = lift(net)
    leaves = leaves_of(net, x)
    found = read(weights, entry)
    inside = {leaf.path: leaf for leaf in leaves} if part is None else leaves_in(leaves, part)
    if found and all(name.startswith(_OURS) for name in found):
        found, source = leaves.to_torch(found) if part is None else of_run(leaves, found, inside), "torchvision"
    skipped = selected(skip, inside, "skip") | {leaf.path for leaf in leaves if leaf.path not in inside}
    if skipped and key is None:
        word = "skip" if part is None else "part"
        raise ConfigError(f"{word} initializes weights randomly, and needs a key\n  fix: key=jax.random.key(0)")
    theirs = name_leaves(list(inside.values()), source, found)
    names = {path: theirs[leaf.path] for path, leaf in inside.items()}
    plain = plain_names(names.values())
    names = {path: name if name in found else plain.get(name, name) for path, name in names.items()}
    ignored = selected(ignore, found, "ignore")
    wanted = [leaf for leaf in leaves if leaf.path not in skipped]
    fit = match(wanted, names, found, ignored)
    if not fit.fits:
        where = str(weights) if isinstance(weights, str | Path) else "the state dict"
        raise PortError(mismatch_message(where, fit, len(leaves), hints(leaves, fit, found, source)))
    fresh = leaves.split(net.init(key, x)) if skipped else [None] * len(leaves)
    arrays = [
        new
        if leaf.path in skipped
        else jnp.array(leaf.from_torch(fit.arrays[leaf.path]).astype(leaf.dtype, copy=False))
        for leaf, new in zip(leaves, fresh, strict=True)
    ]
    return leaves.join(arrays)
