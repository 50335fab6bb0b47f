"""A finished run's files, written without training."""

import json

import jax
from support.config_text import config_text

from jaxconv.data.fingerprint import fingerprint
from jaxconv.models._registry import make_net
from jaxconv.run import config
from jaxconv.run.build import load_dataset, load_inputs, resolved
from jaxconv.run.manifest import manifest
from jaxconv.run.settings import schedule_record
from jaxconv.run.tasks import task_name, tasks
from jaxconv.run.trained import trained
from jaxconv.training import checkpoint

CONFIG = config_text(
    {"features": [8], "kernel_size": 3, "padding": "same", "hidden": []},
    optim={"name": "adam", "learning_rate": 0.02},
    train={"epochs": 1, "batch_size": 64},
)
RESULT = {
    "test_accuracy": 0.875,
    "test_loss": 0.42,
    "steps": 23,
    "seconds": {"training": 0.2, "waiting": 0.0, "compiling": 4.2, "total": 27.1},
    "images_per_second": 7619.7,
    "input": {"shape": [8, 8, 1], "peak": 16.0, "mean": [4.9], "std": [6.0], "classes": list("0123456789")},
}
LINES = [
    {"step": 10, "loss": 2.2, "accuracy": 0.35, "learning_rate": 0.02},
    {"step": 23, "test_loss": 0.42, "test_accuracy": 0.875},
]


def write(folder, *overrides, finished=True):
    """A run of CONFIG with changes; returns its folder."""
    source = folder.parent / "source.toml"
    source.parent.mkdir(exist_ok=True, parents=True)
    source.write_text(CONFIG)
    given = config.read(source, overrides)
    inputs = load_inputs(given)
    settings = resolved(given, len(inputs.train))
    folder.mkdir()
    (folder / "config.toml").write_text(config.to_toml(settings))
    notes = manifest(settings, fingerprint(inputs.dataset)) | schedule_record(given, settings)
    (folder / "manifest.json").write_text(json.dumps(notes))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    if finished:
        (folder / "result.json").write_text(json.dumps(RESULT))
    return folder


def write_untrained(folder, text):
    """In a folder, a config and parameters and a result as if its net had been trained."""
    (folder / "config.toml").write_text(text)
    found = config.read(folder / "config.toml")
    dataset = load_dataset(found)
    net, size = make_net(found.net.name, found.net.arguments, len(dataset.classes)), found.ensemble.size
    task = task_name(found, dataset)

    def init(seed):
        return trained(*net.init(jax.random.key(seed), (1, *dataset.image_shape)))

    one = jax.jit(init)(0) if size == 1 else jax.jit(jax.vmap(init))(jax.numpy.arange(size))
    checkpoint.save(folder / "params.safetensors", one)
    names = ("peak", "mean", "std", "classes", "photographs")
    seen = {"shape": dataset.image_shape} | {name: getattr(dataset, name) for name in names}
    result = RESULT | {"input": seen, "task": task, f"test_{tasks[task].metric}": 0.875}
    (folder / "result.json").write_text(json.dumps(result))
