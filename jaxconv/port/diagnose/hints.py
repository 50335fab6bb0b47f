"""Suggested fixes for weights that do not match a net, by the cause of the mismatch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jaxconv._base.errors import ConfigError
from jaxconv.port.weights.families import TABLES
from jaxconv.port.weights.leaves import Leaf
from jaxconv.port.weights.match import Match, layout
from jaxconv.port.weights.names import Source, name_leaves

__all__ = ["hints"]


def hints(leaves: Sequence[Leaf], found: Match, arrays: Mapping[str, np.ndarray], source: Source) -> list[str]:
    """One line for each known cause.

    Args:
      leaves: of the net.
      found: result of `match`.
      arrays: tensors by name.
      source: naming scheme that was tried.
    """
    lines = [_source(leaves, found, arrays, source), _prefix(leaves, arrays)] if found.missing else []
    if any(lines):  # with the wrong names, all else is unknown
        return [line for line in lines if line]
    lines = [_layout(found), *_classes(found), *_channels(found), _size(found)]
    if found.unexpected and not found.missing:
        lines.append(f"ignore={_common(found.unexpected, '.')} if the net needs none of the unexpected keys")
    if found.missing and not found.unexpected and not found.misshapen:
        paths = _common([leaf.path for leaf, _ in found.missing], "/")
        lines.append(f"skip={paths}, key=… initializes the missing keys randomly")
    return [line for line in lines if line]


def _source(leaves: Sequence[Leaf], found: Match, arrays: Mapping[str, np.ndarray], source: Source) -> str:
    """Another source that matches more of the available names."""
    best, most = "", len(leaves) - len(found.missing)
    for other in ("torchvision", *TABLES):
        try:
            names = name_leaves(leaves, other, arrays)
        except ConfigError:
            continue
        hits = sum(name in arrays for name in names.values())
        if other != source and hits > most:
            best, most = other, hits
    return f"source={best!r}: {most} of the net's {len(leaves)} names match" if best else ""


def _prefix(leaves: Sequence[Leaf], arrays: Mapping[str, np.ndarray]) -> str:
    """A common prefix of all names."""
    own = name_leaves(leaves, "torchvision")
    first = next(iter(own.values()), "")
    for name in arrays:
        prefix = name.removesuffix(f".{first}")
        if prefix != name and all(f"{prefix}.{one}" in arrays for one in own.values()):
            return f"source={{'': {prefix!r}}}: every name of this net is there, with the prefix {prefix!r}"
    return ""


def _layout(found: Match) -> str:
    turned = [leaf for leaf, _, came in found.misshapen if layout(leaf, came)]
    if not turned:
        return ""
    return (
        f"{turned[0].path} and the like are not in torch's order of axes (unrecognizable if all axes have one "
        "length): transpose all of them, or use the file that torch itself wrote"
    )


def _classes(found: Match) -> list[str]:
    """Heads that differ in the number of outputs and in nothing else."""
    lines = []
    for leaf, _, came in found.misshapen:
        if leaf.kind == "dense" and len(came) == 2 and came[1:] == leaf.torch_shape[1:]:
            part, (theirs, ours) = "/".join(leaf.part), (came[0], leaf.torch_shape[0])
            lines.append(
                f"{part} has {theirs} outputs there and {ours} here: num_classes={theirs}, or skip={part!r}, key=…"
            )
    return lines


def _channels(found: Match) -> list[str]:
    """Convolutions that differ in the channels they take and in nothing else."""
    lines = []
    for leaf, _, came in found.misshapen:
        want = leaf.torch_shape
        if leaf.kind == "conv" and len(came) == len(want) and (came[0], *came[2:]) == (want[0], *want[2:]):
            lines.append(
                f"{'/'.join(leaf.part)} takes {came[1]} channels there and {want[1]} here: images of {came[1]} "
                f"channels (jnp.repeat(x, {came[1]}, -1) of gray ones), or skip={leaf.path!r}, key=…"
            )
    return lines


def _size(found: Match) -> str:
    """A dense layer after a flatten: its number of rows follows from the image size."""
    for leaf, _, came in found.misshapen:
        want = leaf.torch_shape
        if leaf.kind == "dense" and len(came) == 2 and came[:1] == want[:1]:
            part = "/".join(leaf.part)
            return f"{part} takes {came[1]} values there and {want[1]} here: x= the input shape of the training"
    return ""


def _common(paths: Sequence[str], joint: str) -> str:
    """Patterns of the parts that contain them."""
    heads = dict.fromkeys(path.split(joint)[0] for path in paths)
    patterns = [head if all(p != head for p in paths) else f"{head}*" for head in heads]
    return repr(patterns[0]) if len(patterns) == 1 else repr(patterns)
