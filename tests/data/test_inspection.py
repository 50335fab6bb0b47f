"""What a dataset holds: copies against a comparison of all pairs, damaged images, classes of masks."""

import itertools

import numpy as np
import pytest
from PIL import Image

from jaxconv.data import Arrays, Dataset, Mask, inspection, load
from jaxconv.data.inspection import inspect


def dataset(train, test, labels=None, classes=3, task="classification"):
    labels = labels or [np.arange(len(part)) % classes for part in (train, test)]
    parts = (Arrays(images, of) for images, of in zip((train, test), labels, strict=True))
    return Dataset("made", *parts, tuple("abcdefgh"[:classes]), (0.0,), (1.0,), task=task)


def found(report, exact):
    return sorted(sorted(copies.images) for copies in report.copies if copies.exact == exact)


def test_copies_are_those_of_all_pairs(rng):
    """Images of two pixels of three values, so that many are equal, by chance within and across parts."""
    train, test = (rng.integers(0, 3, (n, 1, 2, 1)).astype(np.uint8) for n in (23, 11))
    report = inspect(dataset(train, test))
    images = {("train", i): image for i, image in enumerate(train)} | {("test", i): v for i, v in enumerate(test)}
    groups = {}
    for place, image in images.items():
        groups.setdefault(tuple(image.ravel()), []).append(place)
    assert found(report, True) == sorted(sorted(group) for group in groups.values() if len(group) > 1)
    for copies in report.copies:
        assert copies.conflicting == (len({i % 3 for _, i in copies.images}) > 1)
        assert copies.parts == " and ".join(p for p in ("train", "test") if p in dict(copies.images))
        assert list(copies.labels) == [i % 3 for _, i in copies.images]


def test_images_of_other_shapes_with_equal_bytes_are_no_copies():
    assert not inspect(dataset(np.zeros([1, 2, 3, 1], np.uint8), np.ones([1, 2, 3, 1], np.uint8))).copies


@pytest.mark.parametrize("block", [4096, 7])
def test_near_copies_are_those_of_all_correlations(block, rng, monkeypatch):
    monkeypatch.setattr(inspection, "BLOCK", block)
    train, test = (rng.integers(0, 256, (n, 32, 32, 3)).astype(np.uint8) for n in (12, 9))
    test[2] = train[5] // 2 + 40  # darker, of less contrast
    test[4] = np.clip(train[5].astype(int) + rng.integers(-3, 4, train[5].shape), 0, 255)
    train[8] = test[7]
    train[0] = 9  # no contrast
    test[0] = 9
    test[1] = 200
    report = inspect(dataset(train, test), near=True)
    small = np.concatenate([train, test]).mean(-1).reshape(-1, 16, 2, 16, 2).mean((2, 4)).reshape(21, -1)
    with np.errstate(invalid="ignore"):
        pairs = np.argwhere(np.triu(np.corrcoef(small), 1) >= 0.995).tolist()
    assert pairs == [[5, 14], [5, 16], [8, 19], [14, 16]]
    assert found(report, False) == [[("test", 2), ("test", 4), ("train", 5)]]
    assert found(report, True) == [[("test", 0), ("train", 0)], [("test", 7), ("train", 8)]]


def test_photographs_saved_again_are_near_copies(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3)).astype(np.uint8)
    for part, quality in (("train", 95), ("val", 30)):
        (tmp_path / part / "a").mkdir(parents=True)
        for i, pixels in enumerate(noise):
            picture = Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC)
            picture.save(tmp_path / part / "a" / f"{i}.jpg", quality=quality)
    photos = load("images", tmp_path, size=64, in_memory=False)
    assert not inspect(photos).copies
    assert found(inspect(photos, near=True), False) == [[("test", i), ("train", i)] for i in range(8)]


def test_damaged_files_are_listed_and_the_others_keep_their_numbers(tmp_path, rng):
    for name, label in itertools.product("abcdef", ("x", "y")):
        folder = tmp_path / label
        folder.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 9), np.uint8)).save(folder / f"{name}.png")
    (tmp_path / "x" / "a.png").write_bytes(b"no picture")
    (tmp_path / "y" / "f.png").write_bytes((tmp_path / "x" / "e.png").read_bytes())
    photos = load("images", tmp_path, "skip", size=9, channels=1, test_share=0.2, in_memory=False)
    report = inspect(photos)
    damaged = [message for part in report.parts.values() for message in part.damaged]
    assert len(damaged) == 1
    assert "x/a.png" in damaged[0]
    assert sum(part.images for part in report.parts.values()) == 12
    assert sum(part.counts for part in report.parts.values()).tolist() == [5, 6]
    (copies,) = report.copies
    assert [str(name)[len(str(tmp_path)) + 1 :] for name in sorted(copies.names)] == ["x/e.png", "y/f.png"]
    assert copies.conflicting
    for place, name in zip(copies.images, copies.names, strict=True):
        assert getattr(photos, place[0]).files[place[1]] == str(name)[len(str(tmp_path)) + 1 :]


def test_classes_of_masks_are_counted_by_pixel_and_those_outside_left_out(rng):
    images, values = rng.integers(0, 256, (5, 4, 6, 3), np.uint8), rng.integers(0, 3, (5, 4, 6), np.uint8)
    values[0, 0] = 255
    report = inspect(dataset(images, images, [Mask(values), Mask(values)], task="segmentation"))
    assert report.parts["train"].counts.tolist() == [int((values == k).sum()) for k in range(3)]
    assert len(report.copies) == 5
    assert not any(copies.conflicting for copies in report.copies)


def test_images_with_each_of_several_labels_are_counted(rng):
    images, values = rng.integers(0, 256, (5, 4, 6, 3), np.uint8), rng.integers(0, 2, (5, 3))
    report = inspect(dataset(images, images[:2], [values, values[:2]], task="multilabel"))
    assert report.parts["train"].counts.tolist() == values.sum(0).tolist()
    assert report.parts["test"].counts.tolist() == values[:2].sum(0).tolist()
    assert len(report.copies) == 2


def test_numbers_are_no_classes(rng):
    images, values = rng.integers(0, 256, (5, 4, 6, 3), np.uint8), rng.normal(size=(5, 2)).astype(np.float32)
    assert inspect(dataset(images, images, [values, values], 2, "regression")).parts["train"].counts is None


def test_mean_and_standard_deviation(rng):
    images = rng.integers(0, 256, (300, 3, 5, 2)).astype(np.uint8)  # more than a batch
    part = inspect(dataset(images, images[:1])).parts["train"]
    np.testing.assert_allclose(part.mean, images.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(part.std, images.std((0, 1, 2)), rtol=1e-12)
    assert part.images == 300
