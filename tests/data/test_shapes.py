"""Generated shapes: any size and number of classes, and masks that agree with what is drawn."""

import numpy as np
import pytest

from jaxconv._base.errors import ConfigError
from jaxconv.data.shapes import KINDS, shapes


@pytest.mark.parametrize(("size", "num_classes"), [(8, 2), (33, 9), (20, 12), (16, 255)])
def test_any_size_and_number_of_classes(size, num_classes):
    found = shapes(size, num_classes, train=6, test=3, seed=1)
    assert found.task == "segmentation"
    assert found.train.images.shape == (6, size, size, 3)
    assert found.test.labels.values.shape == (3, size, size)
    assert len(set(found.classes)) == num_classes
    assert found.train.labels.values.max() < num_classes


def test_images_depend_on_the_seed_and_their_number_alone():
    some, more, other = (shapes(16, train=n, test=2, seed=seed) for n, seed in [(3, 0), (5, 0), (3, 1)])
    np.testing.assert_array_equal(some.train.images, more.train.images[:3])
    np.testing.assert_array_equal(some.test.labels.values, more.test.labels.values)
    assert (some.train.images != other.train.images).any()
    assert (some.train.images[:2] != some.test.images).any()


AREAS = {
    "circle": np.pi * 0.85**2,
    "square": 2.0,
    "triangle": 3 * np.sqrt(3) / 4,
    "star": 5 * 0.4 * np.sin(np.pi / 5),  # ten triangles of sides 1 and 0.4
    "cross": 4 * 0.6 * 0.9 - 0.36,
    "ring": np.pi * (0.95**2 - 0.5**2),
    "bar": 2 * 0.6,
}


@pytest.mark.parametrize("name", KINDS)
def test_areas_of_the_shapes(name):
    line = (np.arange(2000) + 0.5) / 1000 - 1
    inside = KINDS[name](line[None], line[:, None])
    assert inside.dtype == bool
    if name == "crescent":  # a disk without its part in another: their lens by the textbook formula
        r, q, d = 0.95, 0.7, 0.45
        a, b = np.arccos((d * d + r * r - q * q) / (2 * d * r)), np.arccos((d * d + q * q - r * r) / (2 * d * q))
        corner = np.sqrt((r + q - d) * (d + r - q) * (d - r + q) * (d + r + q)) / 2
        expected = np.pi * r * r - (r * r * a + q * q * b - corner)
    else:
        expected = AREAS[name]
    assert inside.sum() / 1e6 == pytest.approx(expected, rel=2e-3)


def test_a_mask_is_what_is_drawn():
    """Within each shape the colors vary less than between the shape and its background."""
    found = shapes(64, train=20, test=1, objects=1)
    for image, mask in zip(found.train.images, found.train.labels.values, strict=True):
        values = image.astype(float)
        inside, outside = values[mask > 0], values[mask == 0]
        assert len(inside) > 40
        assert np.abs(inside.mean(0) - outside.mean(0)).max() > 25
        assert inside.std(0).max() < 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 4}, "data.size: must be from 8 to 4,096, got 4"),
        ({"num_classes": 1}, "data.num_classes: must be from 2 to 255, got 1"),
        ({"train": 0, "objects": 0}, "data.train: must be from 1 to 10,000,000, got 0\n"
                                     "data.objects: must be from 1 to 100, got 0"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigError) as caught:
        shapes(**arguments)
    assert str(caught.value) == message
