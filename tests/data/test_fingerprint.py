"""Fingerprints: the same for the same data, another for any change."""

import json

import numpy as np

from jaxconv import data
from jaxconv.data import Arrays, Dataset
from jaxconv.data.fingerprint import fingerprint


def dataset(images, labels):
    part = Arrays(images, labels)
    return Dataset("x", part, part, tuple("abcd"), (0.0,), (1.0,))


def test_arrays_are_told_apart_by_every_byte(rng):
    images = rng.integers(0, 256, (4, 8, 6, 1)).astype(np.uint8)
    labels = np.arange(4, dtype=np.int32)
    found = fingerprint(dataset(images, labels))
    assert found == fingerprint(dataset(np.asfortranarray(images), labels.copy()))
    assert json.loads(json.dumps(found)) == found
    assert found["train"]["images"] == 4
    pixel = images.copy()
    pixel[3, 7, 5, 0] ^= 1
    changed = [(pixel, labels), (images, labels[::-1]), (images.reshape(4, 6, 8, 1), labels), (images[:3], labels[:3])]
    hashes = {fingerprint(dataset(*arrays))["train"]["sha256"] for arrays in [(images, labels), *changed]}
    assert len(hashes) == 5


def test_a_folder_is_told_by_its_files(photographs):
    root = photographs({"train/a": 3, "val/a": 1})

    def found():
        return fingerprint(data.load("images", root, size=8, in_memory=False))

    first = found()
    assert first["train"]["images"] == 3
    assert first == found()
    (root / "train" / "a" / "000.jpg").rename(root / "train" / "a" / "x.jpg")
    second = found()
    assert second["train"]["sha256"] != first["train"]["sha256"]
    assert second["test"] == first["test"]
    with open(root / "train" / "a" / "x.jpg", "ab") as file:
        file.write(b"x")
    assert found()["train"]["sha256"] != second["train"]["sha256"]


class Own:
    image_shape = (2, 2, 1)

    def __len__(self):
        return 7

    def __getitem__(self, index):
        raise AssertionError("nothing needs to be read")


def test_other_sources():
    class Telling(Own):
        def fingerprint(self):
            return {"version": 3}

    found = fingerprint(Dataset("x", Own(), Telling(), ("a",), (0.0,), (1.0,)))
    assert found == {"train": {"images": 7}, "test": {"images": 7, "version": 3}}
