"""Checks that parameters are finite."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxconv._base.paths import leaf_names
from jaxconv._base.processes import gathered, own_parts

__all__ = ["first_nonfinite"]


def first_nonfinite(tree: Any) -> str | None:
    """Name of the first floating-point leaf with a NaN or infinity; None if all are finite.

    Every process checks its parts of the arrays, and learns what the others found.

    Args:
      tree: a pytree of arrays; integers and keys are always finite.

    >>> first_nonfinite({"a": np.zeros(2), "b": {"c": np.array([1, np.inf])}})
    'b/c'
    """
    named = zip(leaf_names(tree), jax.tree.leaves(tree), strict=True)
    inexact = ((name, leaf) for name, leaf in named if jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact))
    found = next((name for name, leaf in inexact if not _is_finite(leaf)), None)
    return next(filter(None, gathered(found, "finite")), None)


def _is_finite(array: Any) -> bool:
    return all(np.isfinite(np.asarray(cells)).all() for _, cells in own_parts(array))
