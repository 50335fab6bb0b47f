"""Balanced order and class weights."""

import numpy as np
import pytest

from jaxconv._base.errors import ConfigError
from jaxconv.data import Arrays, balanced_order, balanced_weights
from jaxconv.data.balance import labels_of
from jaxconv.data.split import Part

LABELS = np.repeat([0, 1, 3, 4], [50, 3, 1, 10])  # class 2 has no images
ORDER = balanced_order(LABELS)


def drawn(steps, batch_size=8, seed=0):
    return np.concatenate([ORDER(seed, step, batch_size, len(LABELS)) for step in steps])


@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_each_class_equally_often(batch_size):
    labels = LABELS[drawn(range(12), batch_size)]
    counts = np.bincount(labels, minlength=5)
    assert counts[2] == 0
    assert np.ptp(counts[[0, 1, 3, 4]]) <= 1
    if batch_size == 8:  # two rounds of the four classes
        np.testing.assert_array_equal(np.sort(labels.reshape(-1, 4)), np.tile([0, 1, 3, 4], (24, 1)))


def test_a_class_repeats_an_image_only_after_all_of_its_images():
    images = drawn(range(100))
    for label, size in zip([0, 1, 3, 4], [50, 3, 1, 10], strict=True):
        own_images = np.flatnonzero(np.equal(LABELS, label))
        own = images[LABELS[images] == label]
        passes = own[: len(own) // size * size].reshape(-1, size)
        np.testing.assert_array_equal(np.sort(passes), np.tile(own_images, (len(passes), 1)))
    assert len(np.unique(images)) == len(LABELS)


def test_a_step_is_a_function_of_seed_and_step():
    again = balanced_order(LABELS)
    np.testing.assert_array_equal(again(0, 7, 8, len(LABELS)), drawn([7]))
    assert (drawn(range(5)) != drawn(range(5), seed=1)).any()
    assert (LABELS[drawn(range(5))] != LABELS[drawn(range(5), seed=1)]).any()


def test_weights_are_scikit_learns():
    from sklearn.utils.class_weight import compute_class_weight

    found = balanced_weights(LABELS, 5)
    present = np.unique(LABELS)
    np.testing.assert_allclose(np.array(found)[present], compute_class_weight("balanced", classes=present, y=LABELS))
    assert found[2] == 0
    assert np.mean(np.array(found)[LABELS]) == pytest.approx(1)


def test_labels_of_sources():
    source = Arrays(np.zeros([6, 2, 2, 1], np.uint8), np.arange(6))
    np.testing.assert_array_equal(labels_of(source), np.arange(6))
    np.testing.assert_array_equal(labels_of(Part(source, 1, 4)), [1, 2, 3])

    class Unlabeled:
        pass

    with pytest.raises(ConfigError) as caught:
        labels_of(Part(Unlabeled(), 0, 1))
    assert str(caught.value) == (
        "balanced sampling and class weights need the labels of all images; the source Unlabeled has no attribute "
        "labels, integers [N]"
    )
    with pytest.raises(ConfigError, match="balanced sampling needs at least one image, got none"):
        balanced_order(np.array([], int))
