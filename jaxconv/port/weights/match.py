"""Match tensors to a net's parameters; report missing, unexpected and mismatched keys all at once."""

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

__all__ = ["Match", "PortError", "fitted", "layout", "match", "mismatch_message", "selected"]

BUFFERS = re.compile(r"(^|\.)(num_batches_tracked|position_ids|relative_position_index|attn_mask|total_(ops|params))$")
"""Buffers of torch that are no weights, and that no net of ours needs."""


class PortError(ConfigError):
    """The weights do not match the net; lists every difference. Nothing was loaded."""


@dataclasses.dataclass(frozen=True)
class Match:
    """Tensors matched to the parameters of a net, and the mismatches.

    Attributes:
      arrays: tensors that match, in torch's layout, by our path.
      missing: leaves without a tensor: (leaf, expected name).
      unexpected: names of tensors that belong to no leaf.
      misshapen: leaves with a tensor of another shape: (leaf, name, its shape).
      invalid: leaves with a tensor whose values cannot be weights: (leaf, name, expected and actual values).
    """

    arrays: dict[str, np.ndarray]
    missing: list[tuple[Leaf, str]]
    unexpected: list[str]
    misshapen: list[tuple[Leaf, str, tuple[int, ...]]]
    invalid: list[tuple[Leaf, str, str]]

    @property
    def fits(self) -> bool:
        """Whether every leaf has its tensor and no tensor is unexpected."""
        return not (self.missing or self.unexpected or self.misshapen or self.invalid)


def match(
    leaves: Sequence[Leaf], names: Mapping[str, str], found: Mapping[str, np.ndarray], ignored: Container[str] = ()
) -> Match:
    """Look up every leaf by name.

    Args:
      leaves: those to load.
      names: {path: name}; see `names.name_leaves`.
      found: tensors by name.
      ignored: unexpected names that are no error.
    """
    arrays, missing, misshapen, invalid = {}, [], [], []
    for leaf in leaves:
        name = names[leaf.path]
        if name not in found:
            missing.append((leaf, name))
        elif (array := fitted(leaf, found[name])) is None:
            misshapen.append((leaf, name, found[name].shape))
        elif problem := _invalid_values(array, leaf.dtype):
            invalid.append((leaf, name, problem))
        else:
            arrays[leaf.path] = array
    wanted = set(names.values())
    used = {id(found[name]) for name in wanted if name in found}  # of a tied tensor, one name suffices
    rest = (name for name in found if name not in wanted and name not in ignored and id(found[name]) not in used)
    unexpected = [name for name in rest if not BUFFERS.search(name)]
    return Match(arrays, missing, unexpected, misshapen, invalid)


def _invalid_values(array: np.ndarray, dtype: Any) -> str:
    """The reason that a tensor's values cannot be weights of a dtype; empty if they can."""
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
    """A tensor reshaped to the leaf's `torch_shape` if the two are equivalent; None otherwise.

    A 1×1 convolution is equivalent to a dense layer, and so is a convolution over the full maps that a dense layer
    receives flattened; a vector may have trailing axes of 1.

    Args:
      leaf: the parameter.
      array: the tensor.
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
    """The paths (or names) that match one of the patterns; a part's path matches everything in it.

    Args:
      patterns: one or more, with * and ?.
      paths: "fc/kernel", or names, "fc.weight".
      word: name of the argument, for the message: "skip" for paths, "ignore" for names.

    Raises:
      ConfigError: if a pattern matches nothing.
    """
    patterns, paths = [patterns] if isinstance(patterns, str) else list(patterns), list(paths)
    chosen: set[str] = set()
    for pattern in patterns:
        joint = "/" if word == "skip" else "."
        fit = {path for path in paths if fits(path, pattern, joint)}
        if not fit:
            near = did_you_mean(pattern, {p.rsplit(joint, i)[0] for p in paths for i in range(p.count(joint) + 1)})
            listed = f"{', '.join(paths[:8])}{', …' * (len(paths) > 8)}"
            raise ConfigError(f"{word} must match at least one of {listed}; got {pattern!r}{near}")
        chosen |= fit
    return chosen


def layout(leaf: Leaf, came: Sequence[int]) -> str:
    """The order of axes that a tensor's shape suggests, for the message; empty if it is no permutation.

    Args:
      leaf: the parameter, with the expected `torch_shape`.
      came: shape of the tensor.

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


def mismatch_message(where: str, found: Match, total: int, hints: Sequence[str]) -> str:
    """The counts of mismatches, the fixes, then one line for each difference.

    Args:
      where: the file, or a phrase for it.
      found: result of `match`.
      total: number of leaves of the net.
      hints: suggested fixes.
    """
    numbers: dict[str, Sequence[Any]] = {
        "missing": found.missing,
        "unexpected": found.unexpected,
        "of another shape": found.misshapen,
        "with invalid values": found.invalid,
    }
    differ = ", ".join(f"{len(those)} {word}" for word, those in numbers.items() if those)
    lines = [f"{where} does not fit this net: {differ}; {len(found.arrays)} of {total} leaves fit, nothing was loaded"]
    lines += [f"  fix: {hint}" for hint in hints]
    for leaf, name, came in found.misshapen:
        seems = f": {words}" if (words := layout(leaf, came)) else ""
        lines.append(f"  ! {leaf.path}  expected {name} {list(leaf.torch_shape)}, got {list(came)}{seems}")
    lines += [f"  ! {leaf.path}  {name}: {problem}" for leaf, name, problem in found.invalid]
    lines += [f"  + {leaf.path}  expected {name} {list(leaf.torch_shape)}, missing" for leaf, name in found.missing]
    lines += [f"  - {name}  unexpected: not in this net" for name in found.unexpected]
    return "\n".join(lines)
