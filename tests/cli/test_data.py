"""`jaxconv data`: what it prints of a folder with copies, a damaged file and a wrong label."""

import re

import numpy as np
import pytest
from PIL import Image
from support.config_text import config_text
from typer.testing import CliRunner

from jaxconv.cli.commands import app


@pytest.fixture
def config(tmp_path, rng):
    for name in ("ant", "bee"):
        for part, count in (("train", 4), ("val", 2)):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (12, 12, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / part / name / f"{i}.png")
    folder = tmp_path / "photos"
    (folder / "val" / "bee" / "1.png").write_bytes((folder / "train" / "ant" / "2.png").read_bytes())
    (folder / "train" / "bee" / "3.png").write_bytes(b"\x89PNG")
    text = config_text(
        {"features": [4], "kernel_size": 3, "hidden": []},
        optim={"name": "sgd", "learning_rate": 0.1},
        data={"name": "images", "root": str(folder), "size": 12},
        train={"epochs": 1, "batch_size": 4},
    )
    (tmp_path / "config.toml").write_text(text)
    return str(tmp_path / "config.toml")


def invoked(*words):
    result = CliRunner().invoke(app, ["data", *words])
    return result.exit_code, result.output


def test_sizes_classes_damage_and_copies(config, tmp_path):
    code, out = invoked(config, "--samples", str(tmp_path / "samples.png"))
    assert code == 0, out
    assert "photos: images of 12×12×3, 2 classes, classification" in out
    assert re.search(r"^train\t8\t1\t", out, re.M)
    assert re.search(r"^test\t4\t0\t", out, re.M)
    assert re.search(r"train: cannot be read: 1\n  .*bee/3\.png", out)
    assert "ant\t4\t57.1%\t2\t50.0%" in out
    assert "bee\t3\t42.9%\t2\t50.0%" in out
    copies = "test images with a copy in training: 1; groups with different labels: 1"
    assert f"equal images: 1 group, 2 images; {copies}" in out

    assert re.search(r"ant/2\.png \(ant\), .*bee/1\.png \(bee\)", out)
    assert "nearly" not in out
    assert re.search(r"the net's input: 12×12×3, from -\d", out)
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.width > 300


def test_near_copies_and_short_lists(config):
    code, out = invoked(config, "--near", "--most", "0")
    assert code == 0, out
    assert "no nearly equal images" in out
    assert "  … 1 more: --most 1" in out
    assert "ant/2.png" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data.sise=3",), "did you mean 'size'?"),
        (("--samples", "samples.jpg"), "--samples must end in .png; got samples.jpg"),
        (("--run", "nowhere"), "there is no run nowhere"),
        (("data.root=nowhere",), "nowhere does not exist; it must be a folder or a file of images"),
    ],
)
def test_bad_input(config, words, message):
    code, out = invoked(config, *words)
    assert code == 2, out
    assert message in re.sub(r"\s+", " ", out)
