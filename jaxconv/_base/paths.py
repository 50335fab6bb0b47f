"""Paths of pytree leaves as text: "params/conv0/kernel"."""

from __future__ import annotations

import fnmatch
from typing import Any

import jax

__all__ = ["fits", "leaf_names", "path_name"]


def path_name(path: Any) -> str:
    """A key path of `jax.tree` as text.

    >>> jax.tree.map_with_path(lambda path, leaf: path_name(path), {"conv0": [1, 2]})
    {'conv0': ['conv0/0', 'conv0/1']}
    """
    return jax.tree_util.keystr(path, simple=True, separator="/")


def leaf_names(tree: Any) -> list[str]:
    """The path of each leaf, in tree order.

    Args:
      tree: any pytree.

    >>> leaf_names({"params": {"conv0": {"kernel": 1, "bias": 2}}, "state": {}})
    ['params/conv0/bias', 'params/conv0/kernel']
    """
    return [path_name(path) for path, _ in jax.tree.leaves_with_path(tree)]


def fits(path: str, pattern: str, joint: str = "/") -> bool:
    """Whether a pattern matches the path of a leaf.

    Args:
      path: path of the leaf.
      pattern: a path with wildcards: * matches anything, including /, and ? matches one character; the path of a part
        matches everything in it.
      joint: separator between the names of a path.

    >>> fits("stem/conv/kernel", "*kernel"), fits("stem/conv/kernel", "stem"), fits("stem2/kernel", "stem")
    (True, True, False)
    """
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, f"{pattern}{joint}*")
