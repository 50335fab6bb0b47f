"""Export of finished runs: from images to predictions in one file, for runtimes without jaxconv."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxconv import port
from jaxconv._accelerate.plain import plain
from jaxconv._base.errors import ConfigError
from jaxconv._base.files import write_atomically
from jaxconv.export import to_onnx
from jaxconv.layers import fold_batch_norms, reparameterize
from jaxconv.layers.layer import Layer
from jaxconv.models._registry import make_net
from jaxconv.run.export_resizing import Size, resizing
from jaxconv.run.finished import Run
from jaxconv.run.manifest import versions

__all__ = ["FORMATS", "Program", "export", "onnx_file", "program"]

PLATFORMS = ("cpu", "cuda", "tpu")
TOLERANCE = 1e-4
"""Of predictions, as a share of the largest, or of 1 if that is smaller."""
_BATCHES = (1, 3, *[16] * 6)  # of the images that an exported program is checked on


@dataclasses.dataclass(frozen=True)
class Program:
    """What an exported file computes.

    Args:
      run: images [N, H, W, C] -> predictions [N, …], those of `jaxconv predict`.
      images: shape and dtype of the images, with a symbolic batch.
      output: name of the predictions.
      metadata: classes, input, output and versions, each as JSON.
    """

    run: Callable[[jax.Array], jax.Array]
    images: jax.ShapeDtypeStruct
    output: str
    metadata: dict[str, str]


def program(run: Run, *, fold: bool = True, preprocess: bool = True, image_size: Size | None = None) -> Program:
    """The program of a finished run, in float32.

    Args:
      run: from `jaxconv.run.load`; its test-time augmentation, ensemble and temperature are part of the program.
      fold: whether batch norms are folded into the layers before them, and parallel branches merged.
      preprocess: whether images are uint8 from 0 to 255, which the program normalizes; else float32, normalized.
      image_size: height and width of the images, which the program resizes and crops as `Run.picture` does; None for
        images of the run's size.

    Raises:
      ConfigError: if images are to be resized without `preprocess`, or cannot be, see `resizing`.
    """
    if image_size is not None and not preprocess:
        raise ConfigError(
            "images that are normalized already cannot be resized; leave out --image-size or --no-preprocess"
        )
    shape = run.input.shape
    resize = None if image_size is None else resizing(run, image_size)
    net, params, state = _net(run), run.params, run.state
    if fold:
        net, params, state = _folded(net, params, state, shape, run.members)
    options: dict[str, Any] = {"members": run.members, "temperature": run.temperature}
    predict = run.task.make_predict(net, run.prepare if preprocess else None, run.views, **options)
    scale = run.input.peak / 255

    def outputs(images: jax.Array) -> jax.Array:
        pixels = images.astype(jnp.float32) if resize is None else resize(images.astype(jnp.float32))
        return predict(params, state, pixels * scale if preprocess and scale != 1 else pixels)

    batch = jax.export.symbolic_shape("n")
    given = (*(image_size or shape[:2]), shape[2])
    images = jax.ShapeDtypeStruct((*batch, *given), jnp.uint8 if preprocess else jnp.float32)
    about = {**run.task.prediction._asdict(), "shape": list(jax.eval_shape(outputs, images).shape[1:])}
    metadata = _metadata(run, preprocess, image_size) | {"output": json.dumps(about)}
    return Program(outputs, images, run.task.prediction.name, metadata)


def _net(run: Run) -> Layer:
    """The run's net in float32, whatever it was trained in."""
    return make_net(run.settings.net.name, run.settings.net.arguments, len(run.input.classes))


def _folded(net: Any, params: Any, state: Any, shape: Sequence[int], members: bool) -> tuple[Any, Any, Any]:
    """A net without its batch norms and parallel branches; of an ensemble, each member's."""

    def fold(params: Any, state: Any) -> tuple[Any, Any, Any]:
        return fold_batch_norms(*reparameterize(net, params, state, (1, *shape)), (1, *shape))

    if not members:
        return fold(params, state)
    one = jax.tree.map(lambda leaf: leaf[0], (params, state))
    return fold(*one)[0], *jax.vmap(lambda params, state: fold(params, state)[1:])(params, state)


def _metadata(run: Run, preprocess: bool, image_size: Size | None = None) -> dict[str, str]:
    scale, shape = 255 / run.input.peak, run.input.shape
    resized = {"size": shape[:2], "shorter": run.input.shorter or min(shape[:2]), "filter": run.input.interpolation}
    found = {
        "task": run.task_name,
        "net": run.settings.net.name,
        "classes": list(run.input.classes),
        "input": {
            "shape": [*(image_size or shape[:2]), shape[2]],
            "dtype": "uint8" if preprocess else "float32",
            "range": [0, 255] if preprocess else "(pixel - mean) / std, of pixels from 0 to 255",
            "mean": [value * scale for value in run.input.mean],
            "std": [value * scale if value > 0 else scale for value in run.input.std],
            **({} if image_size is None else {"resize": resized}),
        },
        "versions": {name: versions()[name] for name in ("jaxconv", "jax")},
    }
    return {key: json.dumps(value, ensure_ascii=False) for key, value in found.items()}


def export(
    run: Run,
    path: Path,
    *,
    fold: bool | None = None,
    preprocess: bool | None = None,
    image_size: Size | None = None,
) -> dict[str, str]:
    """Write a finished run as a file for other runtimes.

    Args:
      run: from `jaxconv.run.load`.
      path: the file; its ending is one of `FORMATS`.
      fold, preprocess, image_size: see `program`; not for .safetensors, which has the weights alone.

    Returns:
      What was measured, by name, to be printed.

    Raises:
      ConfigError: if the ending is unknown, a library is missing, an operation cannot be exported, or the exported
        program does not agree with the run; nothing is written then.
      WriteError: if the file cannot be written.
    """
    if path.suffix not in FORMATS:
        ending = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise ConfigError(f"the file to export must end in {', '.join(FORMATS)}; {path.name} {ending}")
    options = {"fold": fold, "preprocess": preprocess, "image_size": image_size}
    return FORMATS[path.suffix](run, path, {name: value for name, value in options.items() if value is not None})


def _onnx(run: Run, path: Path, options: dict[str, Any]) -> dict[str, str]:
    content, found = onnx_file(program(run, **options))
    write_atomically(path, content)
    return found


def onnx_file(made: Program) -> tuple[bytes, dict[str, str]]:
    """The content of a program's ONNX file, checked, and what was measured."""
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f'ONNX files need {" and ".join(missing)}: python -m pip install "jaxconv[export]"')
    import onnxruntime

    model = to_onnx(made.run, made.images, input_names=["images"], output_names=[made.output], metadata=made.metadata)
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = _checked(made, lambda images: session.run(None, {"images": images})[0])
    return content, {"nodes": f"{len(model.graph.node)}", **found}


def _jaxexport(run: Run, path: Path, options: dict[str, Any]) -> dict[str, str]:
    made = program(run, **options)
    exported = jax.export.export(jax.jit(plain(made.run)), platforms=PLATFORMS)(made.images)
    content = bytes(exported.serialize())
    loaded = jax.export.deserialize(bytearray(content))
    found = _checked(made, lambda images: np.asarray(loaded.call(images)))
    notes = {name: json.loads(value) for name, value in made.metadata.items()}
    beside = path.with_name(f"{path.name}.json")
    write_atomically(beside, (json.dumps(notes, indent=1, ensure_ascii=False) + "\n").encode())
    try:
        write_atomically(path, content)
    except BaseException:
        beside.unlink()
        raise
    return {"platforms": ", ".join(PLATFORMS), **found}


def _safetensors(run: Run, path: Path, options: dict[str, Any]) -> dict[str, str]:
    if options:
        flags = " and ".join(f"--{'' if value else 'no-'}{name.replace('_', '-')}" for name, value in options.items())
        raise ConfigError(
            f"a .safetensors file has the weights alone; leave out {flags}, or export .onnx or .jaxexport"
        )
    if run.members:
        raise ConfigError(
            "a .safetensors file has the weights of one net, this run is an ensemble; export .onnx instead"
        )
    metadata = _metadata(run, preprocess=False)
    port.save(path, _net(run), run.params, run.state, x=(1, *run.input.shape), metadata=metadata)
    return {"names": "of torchvision"}


FORMATS: dict[str, Callable[[Run, Path, dict[str, Any]], dict[str, str]]] = {
    ".onnx": _onnx,
    ".jaxexport": _jaxexport,
    ".safetensors": _safetensors,
}
"""Writers by the ending of the file."""


def _checked(made: Program, run: Callable[[np.ndarray], np.ndarray]) -> dict[str, str]:
    """Compare an exported program with the run on 100 random images, in batches of several sizes.

    Raises:
      ConfigError: if predictions differ by more than `TOLERANCE`.
    """
    rng, worst = np.random.default_rng(0), 0.0
    reference = jax.jit(made.run)
    for count in _BATCHES:
        shape = (count, *made.images.shape[1:])
        uint8 = made.images.dtype == jnp.uint8
        images = rng.integers(0, 256, shape).astype(np.uint8) if uint8 else rng.normal(size=shape).astype(np.float32)
        want, got = np.asarray(reference(images)), run(images)
        error = np.abs(want - got).max() / max(1.0, np.abs(want).max()) if want.shape == got.shape else np.inf
        worst = max(worst, float(np.nan_to_num(error, nan=np.inf)))
    if worst > TOLERANCE:
        raise ConfigError(
            f"exported predictions must agree with the run's within {TOLERANCE:g}\n  got: a difference of {worst:.2g}\n"
            "  fix: report it with the run's config.toml"
        )
    return {"images compared": f"{sum(_BATCHES)}", "largest difference": f"{worst:.1e}"}
