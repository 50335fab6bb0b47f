"""`jaxconv pack`: a config, a file or a folder packed, checked, and used by the config that it was packed for."""

import numpy as np
import pytest
from PIL import Image
from support.config_text import config_text
from support.tiny_run import invoke

from jaxconv.run import config
from jaxconv.run.build.inputs import load_dataset

pytest.importorskip("array_record.python.array_record_module")

REST = {"optim": {"name": "sgd", "learning_rate": 0.1}, "train": {"epochs": 1, "batch_size": 4}}


@pytest.fixture
def photos(tmp_path, rng):
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def test_the_data_of_a_config(photos, tmp_path):
    images = {"name": "images", "root": str(photos), "size": 8, "mean": "measure", "test_share": 0.25}
    (tmp_path / "x.toml").write_text(config_text(data=images, **REST))
    result = invoke("pack", tmp_path / "x.toml", tmp_path / "packed", "data.channels=1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == ["6 of 8 images", "8 of 8 images", f"wrote {tmp_path / 'packed'}"]
    read = [
        config.read(tmp_path / "x.toml", [f"data.root={root}", "data.channels=1"])
        for root in (photos, tmp_path / "packed")
    ]
    given, packed = (load_dataset(settings) for settings in read)
    np.testing.assert_array_equal(given.train.images, packed.train.images)
    assert (given.mean, given.classes) == (packed.mean, packed.classes)
    result = invoke("pack", "--check", tmp_path / "packed")
    assert [line.split() for line in result.stdout.splitlines()] == [["train", "6"], ["test", "2"], ["shards", "2"]]


def test_a_folder_with_files_that_are_damaged(photos, tmp_path):
    for name in ("a", "b"):
        (photos / name / "2.png").write_bytes(b"none")
    result = invoke("pack", photos, tmp_path / "packed", "size=8", "--keep-encoded")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith("2.png is not a readable picture\n")
    assert not any(path.name.startswith("packed") for path in tmp_path.iterdir())
    result = invoke("pack", photos, tmp_path / "packed", "data.size=8", "corrupt=skip")
    assert f"left out: {photos / 'a' / '2.png'} is not a readable picture\n" in result.stdout
    shard = tmp_path / "packed" / "train-00000-of-00001.array_record"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    result = invoke("pack", "--check", tmp_path / "packed")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {shard} was ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos"], "pack needs a folder to write: jaxconv pack CONFIG OUT"),
        (["photos", "size=8"], "pack needs a folder to write: jaxconv pack CONFIG OUT"),
        (["photos", "--check"], "photos is no packed dataset: it has no packed.json"),
        (["photos", "out", "sise=8"], "data.sise: images takes"),
        (["x.toml", "out"], "jaxconv pack needs data.name = \"images\", got 'digits'"),
        (["nowhere", "out"], "data.root = nowhere does not exist; it must be a folder or a file of images"),
        (["photos", "photos", "size=8"], "photos exists; jaxconv pack never overwrites"),
    ],
)
def test_what_cannot_be_packed(photos, monkeypatch, arguments, message):
    monkeypatch.chdir(photos.parent)
    (photos.parent / "x.toml").write_text(config_text(**REST))
    result = invoke("pack", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {message}")
