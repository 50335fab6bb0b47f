"""A folder of small images, and the config of a run that reads them while it trains."""

import numpy as np
from PIL import Image
from support import smooth_net
from support.config_text import config_text


def write_images(root, rng, *, train=30, val=5):
    """Bright and dark PNG files, so many of each to train on and to test on."""
    for part, count in (("train", train), ("val", val)):
        for name, level in (("bright", 200), ("dark", 40)):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = (level + rng.integers(0, 50, (9, 12, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")


def write_streamed(folder, rng):
    """The config file of 50 steps of a small residual network on random crops of images, of which two are damaged."""
    write_images(folder / "images", rng, val=7)
    for number in (3, 8):
        (folder / "images" / "train" / "dark" / f"{number}.png").write_bytes(b"\x89PNG damaged")
    text = config_text(
        {"name": smooth_net.NAME, "width": 8},
        data={"name": "images", "root": str(folder / "images"), "size": 8, "in_memory": False, "corrupt": "skip"},
        optim={"name": "sgd", "learning_rate": 2e-3, "momentum": 0.9},
        train={"epochs": 13.2, "batch_size": 16, "log_every": 1, "eval_every": 16},
        augment={"flip": True, "random_resized_crop": True},
        log={"writers": []},
    )
    (folder / "streamed.toml").write_text(text)
    return folder / "streamed.toml"
