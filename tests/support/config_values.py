"""Keys of config files, and values that few of them can have."""

import dataclasses
import inspect

import jax
import optax
from support.config_text import config_text

from jaxconv import run
from jaxconv.augment.named import registry
from jaxconv.data.images import images
from jaxconv.models import conv_pool
from jaxconv.run import config
from jaxconv.run.build import check, matmul_precision, training_feed
from jaxconv.run.config.records import NESTED
from jaxconv.training.ensemble import over_members

BASE = config_text(
    {"features": [4], "kernel_size": 3, "padding": "same", "hidden": [5], "dropout": 0.1, "batch_norm": True},
    optim={"name": "adamw", "learning_rate": 0.02, "weight_decay": 0.01},
    optim__schedule={"name": "warmup_cosine_decay_schedule"},
    train={"epochs": 1, "batch_size": 4},
)
WATCHED = BASE.replace('"digits"', '"digits"\nvalidation = 100').replace(
    "[train]", "[optim.plateau]\npatience = 3\n[train]\neval_every = 5"
)
TABLES = {
    "optim.plateau": WATCHED,
    "optim.pruning": BASE.replace("[train]", "[optim.pruning]\nsparsity = 0.5\n[train]"),
}
FOLDER = BASE.replace('"digits"', '"images"\nroot = "pictures"\nsize = 8')
VALUES = [
    "-1", "0", "1", "3", "2147483648", "4294967296", "9223372036854775808", "1" + "0" * 40, "1" + "0" * 400,
    "-9223372036854775809", "0.5", "-0.5", "1e-320", "1e308", "inf", "-inf", "nan", "true", '"x"', '""', "[]", "[1]",
    "[-1, 1e300]", "[4294967296]", "{a = 1}", "{}", f'"{"x" * 256}"', '"\\u0000"',
]  # fmt: skip


def keys():
    """(text of a config, key) of every key of the records, and of what each kind of function takes."""
    for section, record in config.SECTIONS.items():
        yield BASE, section
        yield from ((BASE, f"{section}.{field.name}") for field in dataclasses.fields(record))
    for path, record in NESTED.items():
        if path != "optim.schedule":
            text = TABLES.get(path, BASE)  # with what the table requires
            yield from ((text, f"{path}.{field.name}") for field in dataclasses.fields(record))
    yield from ((BASE, f"net.{key}") for key in inspect.signature(conv_pool).parameters)
    yield from ((BASE, f"optim.{key}") for key in inspect.signature(optax.adamw).parameters)
    schedule = inspect.signature(optax.warmup_cosine_decay_schedule).parameters
    durations = ("name", "warmup_epochs", "warmup_percent", "warmup_examples")
    yield from ((BASE, f"optim.schedule.{key}") for key in (*schedule, *durations))
    for name, function in registry.items():
        yield BASE, f"augment.{name}"
        for key in dict.fromkeys([*inspect.signature(function).parameters, "probability"]):
            yield BASE.replace("[train]", f"[augment]\n{_with_first(name, function)}\n[train]"), f"augment.{name}.{key}"
    yield from ((FOLDER, f"data.{key}") for key in inspect.signature(images).parameters)


def _with_first(name, function):
    """An augmentation's table with its first argument, where it has no default."""
    first, parameter = next(iter(inspect.signature(function).parameters.items()))
    return f"{name} = {{ {first} = 1 }}" if parameter.default is parameter.empty else f"{name} = {{}}"


def examine(path, key, text):
    """All that `train` does with a config before it compiles, with one value changed."""
    settings = config.read(path, [f"{key}={text}"])
    inputs, model, training = run.build(settings)
    start = check(settings, inputs, model, training)
    feed = training_feed(inputs, settings, training.seeds, 0, training.steps, training.devices)

    def step(train, data, item):
        return training.step(train, feed.take(data, item))

    def first(train, data, items):
        mapped = over_members(step, training.members, (0, None, 0))
        return mapped(train, data, jax.tree.map(lambda leaf: leaf[0], items))

    with matmul_precision(settings.precision):
        jax.eval_shape(first, start, feed.data, feed.shapes)
    return settings
