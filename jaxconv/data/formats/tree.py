"""Trees of images with one folder per class, on disk or in an archive: `train/<class>/*.jpg` or `<class>/*.jpg`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv.data.encoded import Listed, Store, some_of
from jaxconv.data.picture import FORMATS

__all__ = ["IGNORED_FILES", "SUFFIXES", "TEST_NAMES", "TRAIN_NAMES", "Tree", "class_folders", "first_of"]

SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("val", "valid", "validation", "dev", "eval", "test", "testing")
IGNORED_FILES = ("Thumbs.db", "desktop.ini")


class Tree(Protocol):
    """Folders and files below a root."""

    def folders(self, base: Path) -> list[str]:
        """Sorted names of the visible subfolders."""
        ...

    def below(self, base: Path, folder: str) -> Iterator[tuple[str, int | None]]:
        """Paths below `base` of all files in a folder, with the size of each image; None for other files."""
        ...

    def store(self, base: Path, files: tuple[str, ...], sizes: tuple[int, ...]) -> Store:
        """The images at some paths."""
        ...


def first_of(names: tuple[str, ...], found: Iterable[str]) -> str | None:
    """The first of these names that is found, in any case of its letters, as it is written there.

    >>> first_of(TEST_NAMES, ["train", "Test", "Val"])
    'Val'
    """
    written = {name.lower(): name for name in found}
    return next((written[name] for name in names if name in written), None)


def train_and_test(found: Iterable[str]) -> list[str]:
    """The names of the training part and of the test part, if there is one; none without a training part.

    >>> train_and_test(["Test", "extra", "train"]), train_and_test(["test"])
    (['train', 'Test'], [])
    """
    found = list(found)
    train, test = (first_of(names, found) for names in (TRAIN_NAMES, TEST_NAMES))
    return [] if train is None else [name for name in (train, test) if name is not None]


def class_folders(root: Path, tree: Tree) -> tuple[Listed, Listed | None]:
    """Training images and test images of a tree; None if it has no test folder.

    Args:
      root: path of the tree.
      tree: its folders and files.

    Raises:
      DataError: if there are no classes, a class has no images, or files are not images.
    """
    inside = tree.folders(root)
    name = first_of(TRAIN_NAMES, (each for each in inside if tree.folders(root / each)))
    if name is None:
        return _list(root, tree), None
    # A test folder without classes is an error, not a reason to split silently.
    test = first_of(TEST_NAMES, inside)
    return _list(root / name, tree), None if test is None else _list(root / test, tree)


def _list(base: Path, tree: Tree) -> Listed:
    """Every image of the classes in a folder."""
    classes = tree.folders(base)
    if not classes:
        apart = "" if base.name.lower() in TEST_NAMES else f", or in {base}/train/<class>/ and {base}/val/<class>/"
        raise DataError(f"{base} has no subfolders for the classes: put images in {base}/<class>/{apart}")
    found, strangers, empty = [], [], []
    for label, name in enumerate(classes):
        below = list(tree.below(base, name))
        images = [(file, label, size) for file, size in below if size is not None]
        strangers += [file for file, size in below if size is None]
        empty += [] if images else [name]
        found += images
    if strangers:
        raise DataError(
            f"{base} has files that are not images ({', '.join(SUFFIXES)}): {some_of(strangers)}; move it elsewhere"
        )
    if empty:
        raise DataError(f"{base}: every class needs images, found none in {some_of(empty)}")
    files, labels, sizes = zip(*found, strict=True)
    if len(classes) == 1 and all(file.count("/") > 1 for file in files):
        raise DataError(f"{base} has one class, {classes[0]}, of folders alone: data.root = {base / classes[0]}?")
    return Listed(base.name, tree.store(base, files, sizes), np.array(labels, np.int32), tuple(classes))
