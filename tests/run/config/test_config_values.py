"""Any value of any key is accepted, or refused in words that name the key."""

import random
import tomllib

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support import config_values
from support.config_values import BASE, FOLDER, VALUES, examine

from jaxconv._base import limits
from jaxconv._base.errors import ConfigError, DataError, ShapeError
from jaxconv.run import config
from jaxconv.training import optim

KEYS = list(dict.fromkeys(config_values.keys()))


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """Where configs and ten pictures of each of two classes are."""
    folder = tmp_path_factory.mktemp("values")
    for name in "ab":
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / "pictures" / name / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(limits, "memory_bytes", lambda: 16 * 10**9)
        yield folder


def outcome(text, key, value):
    """What is said of a config with one value changed; None where it is accepted."""
    with open("tried.toml", "w", encoding="utf-8") as stream:
        stream.write(text)
    try:
        settings = examine("tried.toml", key, value)
    except (ConfigError, DataError, ShapeError) as error:
        return str(error).replace(f"tried.toml with {key}={value}: ", "tried.toml: ")  # must be named below it
    assert config.parse(tomllib.loads(config.to_toml(settings))) is not None
    return None


def assert_named(text, key, value):
    said = outcome(text, key, value)
    section, _, name = key.rpartition(".")
    named = said is None or name in said or f"{section}:" in said or value.strip('"') in said or "×" in said
    assert named, f"{key}={value[:40]}: {said}"


@pytest.mark.parametrize("number", range(30))
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")  # 1e308 as float32
def test_a_sample_of_all_values(number):
    assert_named(*random.Random(number).choice(KEYS), random.Random(number).choice(VALUES))


@pytest.mark.slow
@pytest.mark.parametrize(("text", "key"), KEYS, ids=[key for _, key in KEYS])
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")  # 1e308 as float32
def test_all_values(text, key):
    for value in VALUES:
        assert_named(text, key, value)


MISTAKE = "tried.toml: 1 error\n  "
STATE = "the state of net.name=conv_pool, "


@pytest.mark.parametrize(
    ("text", "key", "value", "message"),
    [
        (BASE, "train.seed", 2**32, MISTAKE + "train.seed: must be less than 4294967296, got 4294967296"),
        (BASE, "ensemble.size", 2**32,
         MISTAKE + "ensemble.size: must be less than 4294967296, got 4294967296"),
        (BASE, "ensemble.size", 2**31,
         f"ensemble.size=2147483648 times {STATE}net.features=[4], net.kernel_size=3, net.hidden=[5] needs 11,166.9 GB "
         "of memory, expected at most 16.0 GB; try a smaller ensemble"),
        (BASE, "train.epochs", "1e308",
         "train.epochs must take at most 2,147,483,647 steps; got 1e+308, which take inf"),
        (BASE, "net.kernel_size", 2**32, MISTAKE + "net.kernel_size: must be at most 2,147,483,647, got 4294967296"),
        (BASE, "net.features", f"[4, {2**40}]",
         MISTAKE + "net.features: must be at most 2,147,483,647, got 1099511627776"),
        (BASE, "net.hidden", "[2000000000]",
         f"{STATE}net.features=[4], net.kernel_size=3, net.hidden=[2000000000] needs 1,800.0 GB of memory, "
         "expected at most 16.0 GB; try a smaller net"),
        (BASE, "net.kernel_size", 2**31 - 1,
         f"{STATE}net.features=[4], net.kernel_size=2147483647, net.hidden=[5] needs more memory than any machine has; "
         "try a smaller net"),
        (BASE, "net.dropout", "1.5",
         "net.name: conv_pool cannot be made of net.features=[4], net.kernel_size=3, net.padding='same', "
         "net.hidden=[5], net.dropout=1.5, net.batch_norm=True, net.activation='relu': rate must be a number in "
         "[0, 1)\n"
         "  got: rate=1.5"),
        (BASE, "optim.weight_decay", "1" + "0" * 400,
         MISTAKE + f"optim.weight_decay: must be a number, got 1{'0' * 400}"),
        (BASE, "optim.schedule.warmup_steps", -(2**63),
         MISTAKE + "optim.schedule.warmup_steps: must be a number of steps up to 2,147,483,647, "
         "got -9223372036854775808"),
        (BASE, "optim.schedule.warmup_epochs", "1e308",
         MISTAKE + "optim.schedule.warmup_epochs: must be at most 2,147,483,647 steps, got 1e+308"),
        (BASE, "augment.shift", 2**31,
         MISTAKE + "augment.shift: pixels must be at most 2,147,483,647 in size, got 2147483648"),
        (BASE, "augment.shift", 100,
         "shift of 8×8 images must be at most 8 pixels\n  got: pixels=100\n  fix: pixels=8 shifts an image completely "
         "out of view"),
        (BASE, "augment.elastic.sigma", "1e308",
         MISTAKE + "augment.elastic: sigma must be a number of pixels above 0, up to 10,000, "
         "got 1e+308"),
        (FOLDER, "data.size", 100_000,
         "data.size=100000: one image of 100000×100000×3 needs 30.0 GB of memory, expected at most 16.0 GB; "
         "try a smaller data.size"),
        (FOLDER, "data.size", 30_000,
         "train.batch_size=4 of images 30000×30000×3 needs 43.2 GB of memory, expected at most 16.0 GB; "
         "try a smaller train.batch_size, or smaller images, as by data.size"),
        (FOLDER, "data.root", "x" * 256, f"data.root: File name too long: {'x' * 60}…"),
        (BASE, "pretrained.weights", "x" * 256, f"cannot read {'x' * 256}: File name too long"),
    ],
)  # fmt: skip
def test_what_is_too_large_is_refused_before_it_is_allocated(text, key, value, message):
    assert outcome(text, key, str(value)) == message


@pytest.mark.parametrize("key", ["optim.weight_decay", "optim.b1", "optim.eps"])
def test_whole_numbers_beyond_int32_are_numbers(key):
    assert outcome(BASE, key, str(2**32)) is None


def test_a_large_whole_number_means_what_it_says():
    params, gradient = {"kernel": jnp.float32([3.0])}, {"kernel": jnp.float32([0.0])}
    tx = optim.optimizer("sgd", 2.0**-20, 1, weight_decay=2**32)
    update, _ = tx.update(gradient, tx.init(params), params)
    np.testing.assert_array_equal(update["kernel"], [-3.0 * 2**12])
