"""Weights held beside a net's own: what is missing, what is left over, what has another shape, all at once."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxconv._base.errors import ConfigError, did_you_mean
from jaxconv._base.paths import fits
from jaxconv.port.weights.leaves import Leaf

__all__ = ["Match", "PortError", "fitted", "layout", "match", "selected", "told"]

BUFFERS = re.compile(r"(^|\.)(num_batches_tracked|position_ids|relative_position_index|attn_mask|total_(ops|params))$")
"""What torch keeps beside weights and no net of ours needs."""


class PortError(ConfigError):
    """Weights that are not those of the net; lists every difference. Nothing was loaded."""


@dataclasses.dataclass(frozen=True)
class Match:
    """Weights of a net by path, and what stands in the way.

    Attributes:
      arrays: what fits, in torch's layout, by our path.
      missing: leaves without a tensor: (leaf, the name looked for).
      left: names of tensors that no leaf asked for.
      wrong: leaves with a tensor of another shape: (leaf, name, its shape).
      unfit: leaves with a tensor whose values are no weights: (leaf, name, what is expected and found).
    """

    arrays: dict[str, np.ndarray]
    missing: list[tuple[Leaf, str]]
    left: list[str]
    wrong: list[tuple[Leaf, str, tuple[int, ...]]]
    unfit: list[tuple[Leaf, str, str]]

    @property
    def fits(self) -> bool:
        """Whether every leaf has its tensor and no tensor is left over."""
        return not (self.missing or self.left or self.wrong or self.unfit)


def match(
    leaves: Sequence[Leaf], names: Mapping[str, str], found: Mapping[str, np.ndarray], ignored: Container[str] = ()
) -> Match:
    """Looks up every leaf by name.

    Args:
      leaves: those that want a tensor.
      names: {path: name}; see `names.name_leaves`.
      found: tensors by name.
      ignored: names that may be left over.
    """
    arrays, missing, wrong, unfit = {}, [], [], []
    for leaf in leaves:
        name = names[leaf.path]
        if name not in found:
            missing.append((leaf, name))
        elif (array := fitted(leaf, found[name])) is None:
            wrong.append((leaf, name, found[name].shape))
        elif problem := _no_weights(array, leaf.dtype):
            unfit.append((leaf, name, problem))
        else:
            arrays[leaf.path] = array
    wanted = set(names.values())
    left = [name for name in found if name not in wanted and name not in ignored and not BUFFERS.search(name)]
    return Match(arrays, missing, left, wrong, unfit)


def _no_weights(array: np.ndarray, dtype: Any) -> str:
    """Why a tensor's values cannot be weights of a dtype; empty where they can."""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return f"expected floating point, got {array.dtype}"
    if strange := array.size - np.count_nonzero(np.isfinite(array)):
        return f"expected finite values, got {strange:,} of {array.size:,} that are NaN or infinite"
    with np.errstate(over="ignore"):
        lost = array.size - np.count_nonzero(np.isfinite(array.astype(dtype)))
    if lost:
        return f"expected values up to {float(jnp.finfo(dtype).max):.3g}, the largest of {dtype}, got {lost:,} beyond"
    return ""


def fitted(leaf: Leaf, array: np.ndarray) -> np.ndarray | None:
    """A tensor in the leaf's `torch_shape` where it says the same in another number of axes; None where it does not.

    Args:
      leaf: that wants it.
      array: the tensor.

    A 1×1 convolution and a dense layer are one thing, as is a convolution over the whole of the maps that a dense
    layer gets flattened; a vector may have axes of 1 behind it.
    """
    want, came = leaf.torch_shape, array.shape
    if came == want:
        return array
    if leaf.turned:
        point = len(came) > 1 and set(want[2:]) | set(came[2:]) <= {1}
        whole = len(want) == 2 and any((*want[:1], m[-1], *m[:-1]) == came for m in leaf.maps.values())
        return array.reshape(want) if whole or (point and came[:2] == want[:2]) else None
    if len(want) == 1 and leaf.keys[-1] == "layer_scale" and came[:1] == want and set(came[1:]) <= {1}:
        return array.reshape(want)
    return None


def selected(patterns: str | Iterable[str], paths: Iterable[str], word: str) -> set[str]:
    """The paths (or names) that fit one of the patterns; a part's own path stands for all in it.

    Args:
      patterns: one or more, with * and ?.
      paths: "fc/kernel", or names, "fc.weight".
      word: the argument that they came by: "skip" for paths, "ignore" for names.

    Raises:
      ConfigError: a pattern that fits none.
    """
    patterns, paths = [patterns] if isinstance(patterns, str) else list(patterns), list(paths)
    chosen: set[str] = set()
    for pattern in patterns:
        joint = "/" if word == "skip" else "."
        fit = {path for path in paths if fits(path, pattern, joint)}
        if not fit:
            near = did_you_mean(pattern, {p.rsplit(joint, i)[0] for p in paths for i in range(p.count(joint) + 1)})
            listed = f"{', '.join(paths[:8])}{', …' * (len(paths) > 8)}"
            raise ConfigError(f"{word} must fit at least one of {listed}; got {pattern!r}{near}")
        chosen |= fit
    return chosen


def layout(leaf: Leaf, came: Sequence[int]) -> str:
    """What order of axes a tensor of as many numbers seems to be in; empty where it is none of these.

    Args:
      leaf: whose `torch_shape` it should have.
      came: its shape.

    >>> layout(Leaf(("kernel",), "conv", (3, 3, 4, 8), "float32", False, {}, {}), (8, 3, 3, 4))
    "looks like OHWI where torch's order is OIHW"
    """
    want, came = leaf.torch_shape, tuple(came)
    if len(want) < 2 or sorted(came) != sorted(want):
        return ""
    axes = ("IO" if leaf.kind == "conv_transpose" else "OI") + "DHW"[5 - len(want) :]
    if came == leaf.shape and leaf.turned:
        return f"looks like {axes[2:]}{axes[1]}{axes[0]}, which is our order, where torch's is {axes}"
    for turn in itertools.permutations(range(len(want))):
        if tuple(want[i] for i in turn) == came:
            return f"looks like {''.join(axes[i] for i in turn)} where torch's order is {axes}"
    return ""


def told(where: str, found: Match, total: int, hints: Sequence[str]) -> str:
    """All that stands in the way, what to do first, then one line for each difference.

    Args:
      where: the file, or what stands for it.
      found: what came of the search.
      total: leaves of the net.
      hints: what to do about it.
    """
    numbers: dict[str, Sequence[Any]] = {
        "missing": found.missing,
        "left over": found.left,
        "of another shape": found.wrong,
        "with values that are no weights": found.unfit,
    }
    differ = ", ".join(f"{len(those)} {word}" for word, those in numbers.items() if those)
    lines = [f"{where} does not fit this net: {differ}; {len(found.arrays)} of {total} leaves fit, nothing was loaded"]
    lines += [f"  fix: {hint}" for hint in hints]
    for leaf, name, came in found.wrong:
        seems = f": {words}" if (words := layout(leaf, came)) else ""
        lines.append(f"  ! {leaf.path}  wants {name} {list(leaf.torch_shape)}, found {list(came)}{seems}")
    lines += [f"  ! {leaf.path}  {name}: {problem}" for leaf, name, problem in found.unfit]
    lines += [f"  + {leaf.path}  wants {name} {list(leaf.torch_shape)}, not there" for leaf, name in found.missing]
    lines += [f"  - {name}  not in this net" for name in found.left]
    return "\n".join(lines)
