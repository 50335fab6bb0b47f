"""Dataset fingerprints for a run's manifest."""

from __future__ import annotations

import hashlib
from typing import Any

import jax
import numpy as np

from jaxconv.data.dataset import Arrays, Dataset, Source

__all__ = ["fingerprint"]


def fingerprint(dataset: Dataset[Source]) -> dict[str, Any]:
    """Count and hash the images of both parts of a dataset.

    Args:
      dataset: the dataset. All bytes and shapes of `Arrays` are hashed; other sources can provide a method
        `fingerprint()`, and are otherwise identified by length.

    Returns:
      `{"train": {"images": n, "sha256": …}, "test": …}`, JSON-compatible.

    >>> part = Arrays(np.zeros([4, 8, 8, 1], np.uint8), np.arange(4, dtype=np.int32))
    >>> found = fingerprint(Dataset("tiny", part, part, tuple("abcd"), (0.0,), (1.0,)))
    >>> found["train"]["images"], found["train"]["sha256"][:8]
    (4, '46780e4a')
    """
    return {part: _of(getattr(dataset, part)) for part in ("train", "test")}


def _of(source: Source) -> dict[str, Any]:
    if isinstance(source, Arrays):
        digest = hashlib.sha256()
        for array in (source.images, *jax.tree.leaves(source.labels)):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data.cast("B"))
        return {"images": len(source), "sha256": digest.hexdigest()}
    own: Any = getattr(source, "fingerprint", None)
    more: Any = own() if callable(own) else {}
    return {"images": len(source), **more}
