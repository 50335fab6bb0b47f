"""What a dataset holds: sizes, class balance, damaged images, and copies of images."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxconv.data.dataset import Dataset, Source, label_struct
from jaxconv.data.labels import taken
from jaxconv.data.moments import histogram, moments_of
from jaxconv.data.spatial import Mask
from jaxconv.data.stream import evaluation_stream

__all__ = ["Copies", "Inspection", "PartReport", "image_name", "inspect"]

BATCH = 256
SIDE = 16  # of the thumbnails, in gray, that near copies are found by
NEAR = 0.995  # least correlation of the thumbnails of near copies
BLOCK = 4096


@dataclasses.dataclass(frozen=True)
class PartReport:
    """The images of one part of a dataset.

    Args:
      images: their number, with unreadable ones.
      counts: images, or of masks pixels, of each class, or with each label: int [classes]; None where labels are
        numbers.
      mean: of each channel, in pixel units.
      std: of each channel, in pixel units.
      damaged: a message for each unreadable image.
    """

    images: int
    counts: np.ndarray | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    damaged: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Copies:
    """Images with the same pixels, or nearly so.

    Args:
      images: part and index of each, those of the training part first.
      names: the file of each, or its part and index.
      labels: of each, where labels are classes.
      exact: whether all pixels are equal.
    """

    images: tuple[tuple[str, int], ...]
    names: tuple[str, ...]
    labels: tuple[int, ...]
    exact: bool = True

    @property
    def parts(self) -> str:
        """ "train", "test", or "train and test"."""
        return " and ".join(dict.fromkeys(part for part, _ in self.images))

    @property
    def conflicting(self) -> bool:
        """Whether they have different labels."""
        return len(set(self.labels)) > 1


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What `inspect` found.

    Args:
      parts: by "train" and "test".
      copies: groups of equal images, then of nearly equal ones.
    """

    parts: dict[str, PartReport]
    copies: tuple[Copies, ...]


@dataclasses.dataclass(frozen=True)
class _Read:
    """The readable images of a part: their numbers, labels, digests of pixels, and thumbnails if wanted."""

    index: np.ndarray
    labels: np.ndarray
    digests: list[bytes]
    thumbnails: np.ndarray


def inspect(dataset: Dataset[Any], *, near: bool = False, workers: int = 0) -> Inspection:
    """Read every image of a dataset once.

    Args:
      dataset: the dataset.
      near: whether to look for nearly equal images, too, also darker ones or of less contrast: their thumbnails of
        16x16 pixels in gray correlate by 0.995. Compares all pairs.
      workers: reader processes for images that are not in memory; 0 for threads.

    Returns:
      The sizes, classes and damaged images of both parts, and the copies among all images.

    Raises:
      DataError: if none of a batch's images can be read, or an image has another shape.

    >>> from jaxconv.data import load
    >>> found = inspect(load("digits"))
    >>> found.parts["test"].images, found.parts["test"].counts.tolist(), len(found.copies)
    (359, [36, 36, 35, 37, 36, 36, 36, 36, 35, 36], 0)
    """
    reports, reads = {}, {}
    for part in ("train", "test"):
        reports[part], reads[part] = _inspect(getattr(dataset, part), len(dataset.classes), near, workers)
    places = [(part, int(index)) for part, read in reads.items() for index in read.index]
    labels = np.concatenate([read.labels for read in reads.values()])
    digests = [digest for read in reads.values() for digest in read.digests]
    exact = _equal(digests)
    groups = [(group, True) for group in exact]
    if near:
        thumbnails = np.concatenate([read.thumbnails for read in reads.values()])
        whole = {frozenset(group) for group in exact}
        groups += [(g, False) for g in _near(thumbnails) if frozenset(g) not in whole]
    return Inspection(reports, tuple(_copies(dataset, places, labels, *each) for each in groups))


def _inspect(source: Source, classes: int, near: bool, workers: int) -> tuple[PartReport, _Read]:
    struct = label_struct(source)
    masks = isinstance(struct, Mask)
    numbers, several = (not masks and struct.ndim == 1 and (struct.dtype.kind == "f") is real for real in (True, False))
    counts: Any = 0 if not numbers else None
    levels: Any = 0
    index, labels, digests, thumbnails = list[int](), list[int](), list[bytes](), list[np.ndarray]()
    with evaluation_stream(source, BATCH, workers=workers, corrupt="skip") as stream:
        for number, batch in enumerate(stream):
            kept = np.flatnonzero(batch.weight)
            images, label = batch.image[kept], taken(batch.label, kept)
            levels = levels + histogram(images)
            index += (number * BATCH + kept).tolist()
            digests += [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
            if near:
                thumbnails += [_thumbnail(image) for image in images]
            if several:
                counts = counts + label.sum(0)
            elif not numbers:
                values = label.values if masks else label
                known = values[(values >= 0) & (values < classes)]
                counts = counts + np.bincount(known.ravel(), minlength=classes)
            labels += [] if masks or numbers or several else label.tolist()
        damaged = tuple(stream.skipped)
    report = PartReport(len(source), counts, *moments_of(levels), damaged)
    of_classes = np.array(labels if labels else [0] * len(index))
    return report, _Read(np.array(index), of_classes, digests, np.array(thumbnails).reshape(-1, SIDE**2))


def _copies(dataset: Dataset[Any], places: list[tuple[str, int]], labels: Any, group: list[int], exact: bool) -> Copies:
    images = tuple(places[i] for i in group)
    names = tuple(image_name(getattr(dataset, part), part, index) for part, index in images)
    return Copies(images, names, tuple(int(labels[i]) for i in group), exact)


def image_name(source: Any, part: str, index: int) -> str:
    """An image's file, or the part of the dataset and its index in it."""
    name = getattr(source, "name", None)
    return str(name(index)) if callable(name) else f"{part} {index:,}"


def _equal(digests: list[bytes]) -> list[list[int]]:
    """Groups of the numbers of equal digests."""
    groups: dict[bytes, list[int]] = {}
    for number, digest in enumerate(digests):
        groups.setdefault(digest, []).append(number)
    return [group for group in groups.values() if len(group) > 1]


# ---------------------------------------------------------------- near copies


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """An image in gray, of SIDE², flat, with mean 0 and norm 1; zeros of one without contrast."""
    from PIL import Image

    gray = Image.fromarray(image.astype(np.float32).mean(-1))
    small = np.asarray(gray.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32).ravel()
    centered = small - small.mean()
    norm = np.linalg.norm(centered)
    return centered / norm if norm > 1 else np.zeros_like(centered)


def _near(thumbnails: np.ndarray) -> list[list[int]]:
    """Groups of the numbers of images whose thumbnails correlate, each with one other of its group at least."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    size = len(thumbnails)
    pairs = np.concatenate([np.zeros([2, 0], int), *_near_pairs(thumbnails)], axis=1)
    links = coo_matrix((np.ones(pairs.shape[1]), tuple(pairs)), shape=(size, size))
    _, member = connected_components(links, directed=False)
    order = np.argsort(member, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(member[order])) + 1)
    return sorted((group.tolist() for group in groups if len(group) > 1), key=lambda group: group[0])


def _near_pairs(thumbnails: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs of thumbnails that correlate, [2, pairs] of each two blocks."""
    for first in range(0, len(thumbnails), BLOCK):
        for second in range(first, len(thumbnails), BLOCK):
            found = thumbnails[first : first + BLOCK] @ thumbnails[second : second + BLOCK].T >= NEAR
            pairs = np.stack(np.nonzero(found)) + np.array([[first], [second]])
            yield pairs[:, pairs[0] < pairs[1]]
