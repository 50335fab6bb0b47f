"""Checks that parameters are finite."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxconv._base.paths import leaf_names

__all__ = ["first_nonfinite"]


def first_nonfinite(tree: Any) -> str | None:
    """Name of the first floating-point leaf with a NaN or infinity; None if all are finite.

    Args:
      tree: a pytree of arrays; integers and keys are always finite.

    >>> first_nonfinite({"a": np.zeros(2), "b": {"c": np.array([1, np.inf])}})
    'b/c'
    """
    for name, leaf in zip(leaf_names(tree), jax.tree.leaves(tree), strict=True):
        if jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact) and not np.isfinite(np.asarray(leaf)).all():
            return name
    return None
