"""Digits, MNIST and Fashion-MNIST."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv.data.dataset import Arrays, Dataset
from jaxconv.data.download import RemoteFile, cache_folder, fetch, find_folder
from jaxconv.data.idx import read_idx
from jaxconv.data.moments import moments
from jaxconv.data.split import stratified

__all__ = ["digits", "fashion_mnist", "mnist"]

_SPLIT_SEED = 0
_TEST_SHARE = 0.2
_PROPERTIES = {"loop": (0, 6, 8, 9), "even": (0, 2, 4, 6, 8), "above 4": (5, 6, 7, 8, 9)}


def digits(properties: bool = False) -> Dataset[Arrays]:
    """Handwritten digits of scikit-learn: 1,797 images of 8×8, values 0 to 16, stratified 80/20 split.

    Args:
      properties: whether the labels of an image are three properties of its digit instead, for multi-label
        classification: has a loop (0, 6, 8, 9), even, above 4.

    >>> digits().train.images.shape
    (1438, 8, 8, 1)
    >>> digits(properties=True).classes
    ('loop', 'even', 'above 4')
    """
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    images = bunch.images.astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int32)
    train, test = stratified(labels, _TEST_SHARE, _SPLIT_SEED)
    mean, std = moments(images[train])
    own = {name: np.isin(labels, digits) for name, digits in _PROPERTIES.items()}
    given = np.stack(list(own.values()), axis=1) if properties else labels
    return Dataset(
        name="digits",
        train=Arrays(images[train], given[train]),
        test=Arrays(images[test], given[test]),
        classes=tuple(own) if properties else tuple("0123456789"),
        mean=mean,
        std=std,
        peak=16,
        task="multilabel" if properties else "classification",
    )


def mnist(root: str | Path | None = None) -> Dataset[Arrays]:
    """Handwritten digits: 60,000 + 10,000 images of 28×28 (LeCun et al. 1998).

    Args:
      root: folder to search first.

    Raises:
      DataError: if a file is missing, truncated or altered, or cannot be downloaded.
    """
    return _idx_set("mnist", IDX_SETS["mnist"], root)


def fashion_mnist(root: str | Path | None = None) -> Dataset[Arrays]:
    """Fashion-MNIST: 60,000 + 10,000 images of 28×28 (Xiao et al. 2017).

    Args:
      root: folder to search first.

    Raises:
      DataError: if a file is missing, truncated or altered, or cannot be downloaded.
    """
    return _idx_set("fashion_mnist", IDX_SETS["fashion_mnist"], root)


@dataclasses.dataclass(frozen=True)
class IdxSet:
    """A published dataset of four IDX files: train images and labels, test images and labels.

    `mean` and `std` are those of the training pixels, in pixel units.
    """

    files: tuple[RemoteFile, RemoteFile, RemoteFile, RemoteFile]
    bases: tuple[str, ...]
    classes: tuple[str, ...]
    mean: float
    std: float


def _idx_set(name: str, known: IdxSet, root: str | Path | None) -> Dataset[Arrays]:
    folder = find_folder(name, known.files, root) or fetch(name, known.files, known.bases, cache_folder(name))
    arrays = [_read(file, folder) for file in known.files]
    for array, rank, file in zip(arrays, (3, 1, 3, 1), known.files, strict=True):
        if array.ndim != rank:
            raise DataError(f"{folder / file.name} must have {rank} dimensions, found {array.ndim}")
    train_images, train_labels, test_images, test_labels = arrays
    return Dataset(
        name=name,
        train=Arrays(train_images[..., None], train_labels.astype(np.int32)),
        test=Arrays(test_images[..., None], test_labels.astype(np.int32)),
        classes=known.classes,
        mean=(known.mean,),
        std=(known.std,),
    )


def _read(file: RemoteFile, folder: Path) -> np.ndarray:
    path = file.found_in(folder)
    if path is None:
        raise DataError(f"{folder / file.name} is missing")
    if path.suffix == ".gz":
        return read_idx(path, size=file.size, md5=file.md5)
    return read_idx(path, size=file.plain_size, md5=file.plain_md5)


IDX_SETS: dict[str, IdxSet] = {
    "mnist": IdxSet(
        files=(
            RemoteFile(
                "train-images-idx3-ubyte.gz",
                9_912_422,
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                47_040_016,
                "6bbc9ace898e44ae57da46a324031adb",
            ),
            RemoteFile(
                "train-labels-idx1-ubyte.gz",
                28_881,
                "d53e105ee54ea40749a09fcbcd1e9432",
                60_008,
                "a25bea736e30d166cdddb491f175f624",
            ),
            RemoteFile(
                "t10k-images-idx3-ubyte.gz",
                1_648_877,
                "9fb629c4189551a2d022fa330f9573f3",
                7_840_016,
                "2646ac647ad5339dbf082846283269ea",
            ),
            RemoteFile(
                "t10k-labels-idx1-ubyte.gz",
                4_542,
                "ec29112dd5afa0611ce80d1b7f02629c",
                10_008,
                "27ae3e4e09519cfbb04c329615203637",
            ),
        ),
        bases=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        classes=tuple("0123456789"),
        mean=33.318421,
        std=78.567490,
    ),
    "fashion_mnist": IdxSet(
        files=(
            RemoteFile(
                "train-images-idx3-ubyte.gz",
                26_421_880,
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                47_040_016,
                "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            ),
            RemoteFile(
                "train-labels-idx1-ubyte.gz",
                29_515,
                "25c81989df183df01b3e8a0aad5dffbe",
                60_008,
                "9018921c3c673c538a1fc5bad174d6f9",
            ),
            RemoteFile(
                "t10k-images-idx3-ubyte.gz",
                4_422_102,
                "bef4ecab320f06d8554ea6380940ec79",
                7_840_016,
                "8181f5470baa50b63fa0f6fddb340f0a",
            ),
            RemoteFile(
                "t10k-labels-idx1-ubyte.gz",
                5_148,
                "bb300cfdad3c16e7a12a480ee83cd310",
                10_008,
                "15d484375f8d13e6eb1aabb0c3f46965",
            ),
        ),
        bases=("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",),
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        mean=72.940352,
        std=90.021182,
    ),
}
