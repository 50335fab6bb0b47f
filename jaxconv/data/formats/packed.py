"""Datasets packed by `jaxconv pack`: ArrayRecord shards, and a manifest of labels, classes and checksums."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._base import checksums
from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.files import read_text
from jaxconv.data.decode import Interpolation
from jaxconv.data.encoded import Listed
from jaxconv.data.formats.records import Records, count_records
from jaxconv.data.formats.shards import stamp

__all__ = ["MANIFEST", "PARTIAL", "PROGRESS", "check", "is_packed", "packed"]

MANIFEST = "packed.json"
PROGRESS = "progress.json"  # the manifest of what is packed so far
PARTIAL = ".partial"  # ending of a folder's name until it is complete


def is_packed(root: Path) -> bool:
    """Whether a folder is a packed dataset, or a half-written one."""
    return any((root / name).is_file() for name in (MANIFEST, PROGRESS)) or root.name.endswith(PARTIAL)


def packed(
    root: Path, size: int, channels: int, interpolation: Interpolation | None = None
) -> tuple[Listed, Listed | None]:
    """The images of a packed dataset.

    Args:
      root: its folder.
      size: side of the square that images are wanted of.
      channels: number of channels that are wanted.
      interpolation: filter of the resizing that is wanted; None for any.

    Raises:
      ConfigError: if the images were packed smaller, with fewer channels, or resized by another filter.
      DataError: if the manifest is damaged, or does not match the shards.
    """
    manifest = _manifest(root)
    used = (manifest["pixels"] or {}).get("interpolation", "lanczos")
    if manifest["pixels"] is not None and interpolation not in (None, used):
        raise ConfigError(
            f'{root} was packed with data.interpolation = "{used}"; got "{interpolation}": '
            f'give data.interpolation="{used}", or pack the images again'
        )
    if (own := manifest["pixels"]) is not None and (size > own["size"] or channels > own["channels"]):
        raise ConfigError(
            f"{root} was packed with data.size = {own['size']} and data.channels = {own['channels']}; "
            f"got data.size = {size} and data.channels = {channels}, which need another packing"
        )
    parts: list[Listed] = []
    try:
        for part in ("train", "test"):
            shards = [shard for shard in manifest["shards"] if shard["part"] == part]
            names, sums = (tuple(str(shard[key]) for shard in shards) for key in ("name", "sha256"))
            for shard in shards:
                _check_shard(root, shard)
            starts = np.cumsum([0, *(len(shard["labels"]) for shard in shards)])
            labels = np.array([label for shard in shards for label in shard["labels"]])
            store = Records(root, names, sums, starts, tuple(stamp(root / name) for name in names))
            parts.append(Listed(part, store, labels, tuple(map(str, manifest["classes"]))))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{root / MANIFEST} is no manifest of a packed dataset: {error!r}") from None
    return parts[0], parts[1]


def check(root: Path) -> dict[str, int]:
    """Verify the checksums of all shards of a packed dataset.

    Args:
      root: its folder.

    Returns:
      Number of images of each part, and of shards.

    Raises:
      DataError: if a shard is missing or was altered.
    """
    parts = packed(root, 1, 1)
    shards = _manifest(root)["shards"]
    for shard in shards:
        if checksums.of_file(root / shard["name"]) != shard["sha256"]:
            raise DataError(f"{root / shard['name']} was altered: its checksum differs from that in {MANIFEST}")
    return {part.part: len(part.labels) for part in parts if part is not None} | {"shards": len(shards)}


def _manifest(root: Path) -> dict[str, Any]:
    if not is_packed(root):
        raise DataError(f"{root} is no packed dataset: it has no {MANIFEST}")
    if not (root / MANIFEST).is_file():
        raise DataError(f"{root} is a half-written packed dataset: the same jaxconv pack again completes it")
    try:
        found = json.loads(read_text(root / MANIFEST))
        if {"pixels", "shards", "classes"} <= found.keys():
            return dict(found)
        reason = "it has other keys"
    except (OSError, ValueError, AttributeError) as error:
        reason = str(error)
    raise DataError(f"{root / MANIFEST} is no manifest of a packed dataset: {reason}")


def _check_shard(root: Path, shard: dict[str, Any]) -> None:
    """Raise DataError if a shard is missing, or has another size or number of records than the manifest says."""
    path = root / shard["name"]
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    if size != shard["bytes"]:
        raise DataError(f"{path} was truncated or altered: it must have {shard['bytes']:,} bytes, found {size:,}")
    if (records := count_records(path)) != len(shard["labels"]):
        raise DataError(f"{path} does not match {MANIFEST}: expected {len(shard['labels'])} records, found {records}")
