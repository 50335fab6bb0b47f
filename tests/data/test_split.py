"""Images that are kept back."""

import numpy as np
import pytest

from jaxconv._base.errors import ConfigError
from jaxconv.data import Arrays
from jaxconv.data.split import Part, held_back


class Listed:
    """A source that does not lie in memory."""

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return np.full([2, 2, 1], self.labels[index], np.uint8), self.labels[index]


@pytest.mark.parametrize("count", [1, 3, 6])
def test_every_image_is_in_one_part(count):
    labels = [5, 3, 1, 4, 2, 0, 6]
    images = np.arange(7 * 4, dtype=np.uint8).reshape(7, 2, 2, 1)
    before, after = held_back(Arrays(images, np.array(labels, np.int32)), count)
    assert len(after) == count
    np.testing.assert_array_equal(np.concatenate([before.images, after.images]), images)
    assert [*before.labels, *after.labels] == labels
    before, after = held_back(Listed(labels), count)
    assert [part[i][1] for part in (before, after) for i in range(len(part))] == labels
    assert isinstance(after, Part)
    with pytest.raises(IndexError):
        after[count]
    with pytest.raises(IndexError):
        after[-1]


def test_nothing_kept_back_and_nothing_left():
    source = Listed([1, 2])
    assert held_back(source, 0) == (source, None)
    with pytest.raises(ConfigError) as caught:
        held_back(source, 2)
    assert str(caught.value) == "data.validation must leave images to train on; got 2 of 2"
