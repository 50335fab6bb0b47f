"""RoI align by loops, written from the paper (section 3 of Mask R-CNN)."""

import itertools

import numpy as np
import pytest

import jaxconv as jc


def bilinear(image, y, x):
    """Samples up to one cell outside take the border; beyond that they are zero."""
    height, width = image.shape[:2]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(image.shape[2])
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = int(y), int(x)
    total = np.zeros(image.shape[2])
    for row, column in itertools.product((top, top + 1), (left, left + 1)):
        weight = (1 - abs(y - row)) * (1 - abs(x - column))
        if weight > 0:
            total += weight * image[row, column]
    return total


def pooled(image, box, size, samples, scale, aligned):
    left, top, right, bottom = np.asarray(box) * scale - (0.5 if aligned else 0)
    height, width = bottom - top, right - left
    if not aligned:
        height, width = max(height, 1), max(width, 1)
    result = np.zeros((*size, image.shape[2]))
    for i, j in itertools.product(*map(range, size)):
        for a, b in itertools.product(range(samples), repeat=2):
            y = top + (i + (a + 0.5) / samples) * height / size[0]
            x = left + (j + (b + 0.5) / samples) * width / size[1]
            result[i, j] += bilinear(image, y, x) / samples**2
    return result


@pytest.mark.sampled
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(("size", "samples", "scale"), [(2, 2, 1.0), ((3, 4), 1, 0.5), (5, 3, 0.25)])
def test_roi_align(size, samples, scale, aligned, rng, assert_close, x64):
    """Boxes of all sizes, some beyond the borders, some of a negative size."""
    x = rng.normal(size=(2, 6, 8, 3))
    corners = rng.uniform(-4, 7, (2, 5, 2)) / scale
    boxes = np.concatenate([corners, corners + rng.uniform(-0.5, 8, (2, 5, 2)) / scale], -1)
    shape = (size, size) if isinstance(size, int) else size
    words = shape, samples, scale, aligned
    want = [[pooled(image, box, *words) for box in own] for image, own in zip(x, boxes, strict=True)]
    got = jc.roi_align(x, boxes, size, samples=samples, scale=scale, aligned=aligned)
    assert_close(got, np.array(want))


@pytest.mark.slow
def test_a_ramp_is_sampled_exactly(rng):
    """Feature maps that grow linearly: the value at the center of each cell of the box."""
    ramp = np.stack(np.meshgrid(np.arange(9.0), np.arange(7.0)), -1)[None].astype(np.float32)  # (x, y)
    box = np.array([[[1.5, 2.0, 7.5, 5.0]]], np.float32)
    y = np.asarray(jc.roi_align(ramp, box, (3, 2), samples=4))[0, 0]
    np.testing.assert_allclose(y[..., 0], np.tile([2.5, 5.5], (3, 1)), rtol=1e-6)
    np.testing.assert_allclose(y[..., 1], np.tile([[2.0], [3.0], [4.0]], (1, 2)), rtol=1e-6)
