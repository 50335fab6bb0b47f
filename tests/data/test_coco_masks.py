"""COCO's polygons and run-length encodings, against pycocotools."""

import numpy as np
import pytest

from jaxconv._base.errors import DataError
from jaxconv.data.coco_masks import decode_rle, fill_polygon, run_lengths, segment

# pycocotools 2.0 makes arrays without NumPy 2's `copy`
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def mask_api():
    return pytest.importorskip("pycocotools.mask")


KINDS = {
    "any": lambda p, size: p,
    "whole": lambda p, size: np.round(p),
    "halves, twice the same": lambda p, size: np.repeat(np.round(2 * p) / 2, 2, axis=0),
    "closed, inside": lambda p, size: np.clip(np.concatenate([p, p[:1]]), 0, size),
    "axis-parallel": lambda p, size: np.repeat(np.round(p), 2, axis=0).ravel()[1:-1].reshape(-1, 2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_polygons_equal_pycocotools(mask_api, rng, kind):
    """Corners inside and outside of the image, and outlines that cross themselves."""
    for _ in range(150):
        height, width = (int(n) for n in rng.integers(1, 50, 2))
        corners = KINDS[kind](rng.uniform(-0.3, 1.3, (rng.integers(3, 14), 2)) * [width, height], [width, height])
        polygon = corners.ravel().tolist()
        encoded = mask_api.frPyObjects([polygon], height, width)
        expected = mask_api.decode(encoded)[..., 0] == 1
        np.testing.assert_array_equal(segment([polygon], (height, width)), expected)
        text = {"counts": encoded[0]["counts"].decode(), "size": [height, width]}
        np.testing.assert_array_equal(decode_rle(text, (height, width)), expected)


def test_several_polygons_are_united(mask_api, rng):
    polygons = [(rng.uniform(0, 30, (5, 2))).ravel().tolist() for _ in range(4)]
    expected = mask_api.decode(mask_api.merge(mask_api.frPyObjects(polygons, 31, 33))) == 1
    np.testing.assert_array_equal(segment(polygons, (31, 33)), expected)


def test_encodings_equal_pycocotools(mask_api, rng):
    """Noise, long runs, and masks that are empty, full or begin inside."""
    sizes = [(1, 1), (1, 7), (9, 1), (40, 31), (300, 401)]
    masks = [rng.random(size) < share for size in sizes for share in (0.0, 0.02, 0.5, 1.0)]
    masks += [np.kron(rng.random((3, 5)) < 0.5, np.ones([100, 90])) == 1]
    for mask in masks:
        encoded = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
        compressed = {"counts": encoded["counts"].decode(), "size": list(mask.shape)}
        runs = {"counts": run_lengths(compressed["counts"]), "size": list(mask.shape)}
        assert mask_api.frPyObjects(runs, *mask.shape)["counts"] == encoded["counts"]
        for each in (compressed, runs):
            np.testing.assert_array_equal(segment(each, mask.shape), mask)


def test_a_square_by_hand():
    expected = np.zeros([6, 7], bool)
    expected[1:4, 2:6] = True
    np.testing.assert_array_equal(fill_polygon(np.array([[2.0, 1], [6, 1], [6, 4], [2, 4]]), (6, 7)), expected)
    runs = [2 * 6 + 1, 3, 3, 3, 3, 3, 3, 3, 6 + 2]
    np.testing.assert_array_equal(decode_rle({"counts": runs, "size": [6, 7]}, (6, 7)), expected)


RLE = {"size": [2, 3]}
WRONG = [
    (None, "must have polygons or a run-length encoding, found None"),
    ([], "must have polygons or a run-length encoding, found []"),
    ([[1, 2, 3, 4]], "must have polygons [x0, y0, x1, y1, x2, y2, …], found [1, 2, 3, 4]"),
    ([[1, 2, 3, 4, 5, 6, 7]], "must have polygons [x0, y0, x1, y1, x2, y2, …], found [1, 2, 3, 4, 5, 6, 7]"),
    ([[1, 2, 3, 4, 5, "6"]], "must have polygons [x0, y0, x1, y1, x2, y2, …], found [1, 2, 3, 4, 5, '6']"),
    ([[1, 2, 3, 4, 5, float("nan")]], "must have polygons [x0, y0, x1, y1, x2, y2, …], found [1, 2, 3, 4, 5, nan]"),
    ([1, 2, 3, 4, 5, 6], "must have polygons [x0, y0, x1, y1, x2, y2, …], found 1"),
    ({"counts": [6], "size": [3, 2]}, 'must have a run-length encoding of "size" [2, 3], as its image, found [3, 2]'),
    (RLE, 'must have "counts" that are lengths of runs, found None'),
    (RLE | {"counts": [7, -1]}, 'must have "counts" that are lengths of runs, found [7, -1]'),
    (RLE | {"counts": [3.0, 3]}, 'must have "counts" that are lengths of runs, found [3.0, 3]'),
    (RLE | {"counts": [1, 3]}, "must have runs of 6 pixels in all, as its image, found 4"),
    (RLE | {"counts": "13\x7f"}, "must have \"counts\" that are lengths of runs, found '13\\x7f'"),
    (RLE | {"counts": "13P"}, "must have \"counts\" that are lengths of runs, found '13P'"),
    (RLE | {"counts": "P" * 99}, 'must have "counts" that are lengths of runs, found ' + repr("P" * 99)[:40] + "…"),
]


@pytest.mark.parametrize(("segmentation", "message"), WRONG)
def test_what_is_no_segmentation_is_named(segmentation, message):
    with pytest.raises(DataError) as caught:
        segment(segmentation, (2, 3))
    assert str(caught.value) == message
