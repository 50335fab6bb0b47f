"""The path that leads to a leaf of a pytree, as text: "params/conv0/kernel"."""

from __future__ import annotations

from typing import Any

import jax

__all__ = ["leaf_names", "path_name"]


def path_name(path: Any) -> str:
    """A key path of `jax.tree` as text.

    >>> jax.tree.map_with_path(lambda path, leaf: path_name(path), {"conv0": [1, 2]})
    {'conv0': ['conv0/0', 'conv0/1']}
    """
    return jax.tree_util.keystr(path, simple=True, separator="/")


def leaf_names(tree: Any) -> list[str]:
    """The path of each leaf, in the tree's own order.

    Args:
      tree: any pytree.

    >>> leaf_names({"params": {"conv0": {"kernel": 1, "bias": 2}}, "state": {}})
    ['params/conv0/bias', 'params/conv0/kernel']
    """
    return [path_name(path) for path, _ in jax.tree.leaves_with_path(tree)]
