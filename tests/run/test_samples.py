"""Training images as the net sees them."""

import numpy as np
import pytest
from support.config_text import config_text

from jaxconv.data import load
from jaxconv.run import config
from jaxconv.run.samples import DRAWS, IMAGES, sample


def drawn(tmp_path, augment, data="digits"):
    text = config_text(
        {"features": [4], "kernel_size": 3, "hidden": []},
        optim={"name": "sgd", "learning_rate": 0.1},
        train={"epochs": 1, "batch_size": 8},
        augment=augment,
    )
    (tmp_path / "config.toml").write_text(text)
    dataset = load(data)
    found = sample(config.read(tmp_path / "config.toml"), dataset)
    cells = [np.asarray(axes.images[0].get_array()) for axes in found.figure.axes]
    return found, dataset, [cells[i : i + DRAWS + 1] for i in range(0, len(cells), DRAWS + 1)]


def test_without_augmentation_all_draws_are_the_stored_image(tmp_path):
    found, dataset, rows = drawn(tmp_path, {})
    assert len(rows) == IMAGES
    for row in rows:
        for cell in row[1:]:
            np.testing.assert_allclose(cell, row[0])
    stored = {image.tobytes() for image in dataset.train.images}
    assert all(np.round(row[0] * 16).astype(np.uint8).tobytes() in stored for row in rows)
    assert "no augmentation" in found.figure.get_suptitle()
    assert found.shape == (8, 8, 1)


def test_draws_are_the_config_s(tmp_path):
    found, _, rows = drawn(tmp_path, {"flip": True})
    either = [[np.allclose(cell, row[0]), np.allclose(cell, row[0][:, ::-1])] for row in rows for cell in row[1:]]
    assert all(any(pair) for pair in either)
    assert {tuple(pair) for pair in either} >= {(True, False), (False, True)}
    assert "flip" in found.figure.get_suptitle()


def test_the_range_is_that_of_normalized_draws(tmp_path):
    found, dataset, rows = drawn(tmp_path, {})
    pixels = (16 * np.array([row[1] for row in rows]) - dataset.mean[0]) / dataset.std[0]
    got = found.low, found.high, found.mean, found.std
    np.testing.assert_allclose(got, [pixels.min(), pixels.max(), pixels.mean(), pixels.std()], rtol=1e-4, atol=1e-5)


def test_mixed_labels_are_named_with_their_shares(tmp_path):
    found, _, _ = drawn(tmp_path, {"mixup": 1.0})
    titles = [axes.get_title() for axes in found.figure.axes]
    assert all(len(title) == 1 for title in titles[:: DRAWS + 1])
    assert any(" + " in title for title in titles)


@pytest.mark.slow
@pytest.mark.parametrize("augment", [{}, {"flip": True, "rotate": 20}])
def test_masks_are_drawn_over_their_images(tmp_path, augment):
    found, _, rows = drawn(tmp_path, augment, "shapes")
    assert all(cell.shape[-1] == 3 for row in rows for cell in row)
    assert {axes.get_title() for axes in found.figure.axes} == {""}
