"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html), binary or pickled."""

from __future__ import annotations

import dataclasses
import io
import tarfile
import zlib
from pathlib import Path

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv.data.class_names import CIFAR10, CIFAR100, CIFAR100_COARSE
from jaxconv.data.dataset import Arrays, Dataset
from jaxconv.data.download import RemoteFile, cache_folder, fetch, search
from jaxconv.data.idx import read_file
from jaxconv.data.moments import moments
from jaxconv.data.pickles import read_pickle

__all__ = ["cifar10", "cifar100"]

_PIXELS = 3 * 32 * 32
BASES = ("https://www.cs.toronto.edu/~kriz/",)


@dataclasses.dataclass(frozen=True)
class Version:
    """One of the two published versions of a dataset.

    Args:
      folder: folder that the archive unpacks to.
      archive: the archive.
      files: the training files, followed by the test file.
      md5: checksums of the files, if known.
    """

    folder: str
    archive: RemoteFile
    files: tuple[str, ...]
    md5: tuple[str, ...] = ()

    def found_in(self, base: Path) -> Path | None:
        """The folder with all files, or the archive, in a folder; None if neither is there."""
        for folder in (base, base / self.folder):
            if all((folder / file).is_file() for file in self.files):
                return folder
        archive = base / self.archive.name
        return archive if archive.is_file() else None


@dataclasses.dataclass(frozen=True)
class CifarSet:
    """A dataset in both versions.

    Args:
      binary: records of labels and channel planes; the version to download.
      python: pickled dicts.
      images: number of images in each file.
      labels: number of classes by label name, in the order of the binary records.
    """

    binary: Version
    python: Version
    images: tuple[int, ...]
    labels: dict[str, int]


def cifar10(root: str | Path | None = None) -> Dataset[Arrays]:
    """50,000 + 10,000 photographs of 32×32×3 in 10 classes.

    Read from the binary or the Python version: the files, in `root` or in the subfolder that the archive unpacks to, or
    the archive itself. If neither is found, the binary version is downloaded.

    Args:
      root: folder to search first.

    Raises:
      DataError: if files are missing, truncated or altered, or cannot be downloaded.
    """
    return _load("cifar10", "labels", CIFAR10, root)


def cifar100(root: str | Path | None = None, coarse: bool = False) -> Dataset[Arrays]:
    """50,000 + 10,000 photographs of 32×32×3 in 100 classes, or 20.

    Args:
      root: folder to search first; see `cifar10`.
      coarse: whether to use the 20 superclasses in place of the 100 classes.

    Raises:
      DataError: if files are missing, truncated or altered, or cannot be downloaded.
    """
    labels, classes = ("coarse_labels", CIFAR100_COARSE) if coarse else ("fine_labels", CIFAR100)
    return _load("cifar100", labels, classes, root)


def _load(name: str, labels: str, classes: tuple[str, ...], root: str | Path | None) -> Dataset[Arrays]:
    known = CIFAR_SETS[name]
    versions = (known.binary, known.python)

    def found_in(folder: Path) -> tuple[Version, Path] | None:
        found = ((version, version.found_in(folder)) for version in versions)
        return next(((version, path) for version, path in found if path is not None), None)

    found = search(name, root, found_in, lambda base: _missing(name, known, base))
    if found is None:
        folder = fetch(name, [known.binary.archive], BASES, cache_folder(name))
        found = known.binary, folder / known.binary.archive.name
    version, path = found
    decode = _decode_binary if version is known.binary else _decode_pickle
    parts = [
        decode(content, where, images, known.labels, labels)
        for (where, content), images in zip(_contents(version, path, known), known.images, strict=True)
    ]
    pixels = np.concatenate([part[0] for part in parts[:-1]])
    mean, std = moments(pixels)
    return Dataset(
        name=name,
        train=Arrays(pixels, np.concatenate([part[1] for part in parts[:-1]])),
        test=Arrays(*parts[-1]),
        classes=classes,
        mean=mean,
        std=std,
    )


def _missing(name: str, known: CifarSet, base: Path) -> str:
    if not base.is_dir():
        return f"data.root = {base} does not hold {name}: there is no such folder"
    choices = " or ".join(
        f"{version.archive.name} or, also in {version.folder}, {', '.join(version.files)}"
        for version in (known.binary, known.python)
    )
    return f"data.root = {base} does not hold {name}; it, or {base / name}, must have {choices}"


def _contents(version: Version, path: Path, known: CifarSet) -> list[tuple[str, bytes]]:
    """Name and verified bytes of each file of a version, from a folder or the archive."""
    sizes = [images * (len(known.labels) + _PIXELS) if version is known.binary else None for images in known.images]
    if path.is_dir():
        md5s = version.md5 or (None,) * len(sizes)
        return [
            (str(path / file), read_file(path / file, size=size, md5=md5))
            for file, size, md5 in zip(version.files, sizes, md5s, strict=True)
        ]
    packed = read_file(path, size=version.archive.size, md5=version.archive.md5)
    try:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            found = {
                Path(member.name).name: stream.read()
                for member in archive
                if (stream := archive.extractfile(member)) is not None
            }
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} is truncated or altered: its archive is incomplete ({error})") from None
    if missing := [file for file in version.files if file not in found]:
        raise DataError(f"{path} holds no {', '.join(missing)}")
    return [(f"{path}: {file}", found[file]) for file in version.files]


def _decode_binary(
    content: bytes, where: str, images: int, labels: dict[str, int], wanted: str
) -> tuple[np.ndarray, np.ndarray]:
    size = len(labels) + _PIXELS
    if len(content) != images * size:
        raise DataError(f"{where} must have {images:,} × {size:,} = {images * size:,} bytes, found {len(content):,}")
    records = np.frombuffer(content, np.uint8).reshape(images, size)
    column = list(labels).index(wanted)
    return _images(records[:, len(labels) :]), _checked(records[:, column], where, wanted, labels[wanted])


def _decode_pickle(
    content: bytes, where: str, images: int, labels: dict[str, int], wanted: str
) -> tuple[np.ndarray, np.ndarray]:
    batch = read_pickle(content, where)
    table = {key.decode() if isinstance(key, bytes) else key: value for key, value in _items(batch, where)}
    if missing := [key for key in ("data", wanted) if key not in table]:
        raise DataError(f"{where} holds no {' and no '.join(missing)}; found {', '.join(map(str, table))}")
    data, answers = np.asarray(table["data"]), np.asarray(table[wanted])
    if data.shape != (images, _PIXELS) or data.dtype != np.uint8:
        found = f"{data.dtype} {list(data.shape)}"
        raise DataError(f"{where}: data must be uint8 [{images}, {_PIXELS}], found {found}")
    if answers.shape != (images,) or answers.dtype.kind not in "iu":
        found = f"{answers.dtype} {list(answers.shape)}"
        raise DataError(f"{where}: {wanted} must be {images} whole numbers, found {found}")
    return _images(data), _checked(answers, where, wanted, labels[wanted])


def _items(batch: object, where: str) -> list[tuple[object, object]]:
    if not isinstance(batch, dict):
        raise DataError(f"{where} must hold a dict, found a {type(batch).__name__}")
    return list(batch.items())


def _images(rows: np.ndarray) -> np.ndarray:
    """Rows of red, green and blue planes to [N, 32, 32, 3]."""
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _checked(answers: np.ndarray, where: str, wanted: str, classes: int) -> np.ndarray:
    bad = np.flatnonzero((answers < 0) | (answers >= classes))
    if len(bad):
        raise DataError(
            f"{where} was altered: {wanted} must lie in 0..{classes - 1}, image {bad[0]} has {answers[bad[0]]}"
        )
    return answers.astype(np.int32)


_BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
CIFAR_SETS: dict[str, CifarSet] = {
    "cifar10": CifarSet(
        binary=Version(
            "cifar-10-batches-bin",
            RemoteFile("cifar-10-binary.tar.gz", 170_052_171, "c32a1d4ab5d03f1284b67883e8d87530"),
            tuple(f"{batch}.bin" for batch in _BATCHES),
            (
                "5dd7e06a14cb22eb9f671a540d1b7c25",
                "5ea93a67294ea407fff1d09f752e9692",
                "942cd6a4bcdd0dd3c604fbe906cb4421",
                "ae636b3ba5c66a11e91e8cb52e771fcb",
                "53f37980c15c3d472c316c40844f3f0d",
                "803d5f7f4d78ea53de84dbe85f74fb6d",
            ),
        ),
        python=Version(
            "cifar-10-batches-py",
            RemoteFile("cifar-10-python.tar.gz", 170_498_071, "c58f30108f718f92721af3b95e74349a"),
            _BATCHES,
        ),
        images=(10_000,) * 6,
        labels={"labels": 10},
    ),
    "cifar100": CifarSet(
        binary=Version(
            "cifar-100-binary",
            RemoteFile("cifar-100-binary.tar.gz", 168_513_733, "03b5dce01913d631647c71ecec9e9cb8"),
            ("train.bin", "test.bin"),
        ),
        python=Version(
            "cifar-100-python",
            RemoteFile("cifar-100-python.tar.gz", 169_001_437, "eb9058c3a382ffc7106e4002c42a8d85"),
            ("train", "test"),
        ),
        images=(50_000, 10_000),
        labels={"coarse_labels": 20, "fine_labels": 100},
    ),
}
