"""Model repositories of Triton Inference Server."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import jax

from jaxconv._base.errors import ConfigError
from jaxconv._base.files import writing
from jaxconv.run.export_resizing import Size
from jaxconv.run.exporting import Program, onnx_file, program
from jaxconv.run.finished import Run

__all__ = ["write_repository"]

_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
_MAX_BATCH = 64


def write_repository(
    run: Run, folder: Path, *, fold: bool = True, preprocess: bool = True, image_size: Size | None = None
) -> dict[str, str]:
    """Write a finished run into a model repository of Triton Inference Server, as a model of the run's name.

    Args:
      run: from `jaxconv.run.load`.
      folder: the repository; it gets `NAME/config.pbtxt`, `NAME/labels.txt` and `NAME/1/model.onnx`.
      fold, preprocess, image_size: see `program`.

    Returns:
      What was measured, by name, to be printed.

    Raises:
      ConfigError: if the repository has a model of that name, or as in `export`; nothing is written then.
      WriteError: if a file cannot be written.

    Source: https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_repository.html
    """
    name = run.folder.resolve().name
    target = folder / name
    if target.exists():
        raise ConfigError(
            f"the repository must not have a model of this name; {target} exists: remove it, or rename the run"
        )
    made = program(run, fold=fold, preprocess=preprocess, image_size=image_size)
    content, found = onnx_file(made)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=f".{name}."))
        try:
            os.chmod(temporary, 0o755)
            (temporary / "1").mkdir()
            (temporary / "1" / "model.onnx").write_bytes(content)
            (temporary / "labels.txt").write_text("".join(f"{label}\n" for label in run.input.classes), "utf-8")
            (temporary / "config.pbtxt").write_text(_triton_config(name, made), "utf-8")
            os.rename(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return found


def _triton_config(name: str, made: Program) -> str:
    """The content of config.pbtxt; sizes are those of one image, batches are made by the server."""
    output = jax.eval_shape(made.run, jax.ShapeDtypeStruct((2, *made.images.shape[1:]), made.images.dtype))
    labels = '    label_filename: "labels.txt"\n' if output.ndim == 2 and made.output == "log_probabilities" else ""
    return (
        f"name: {json.dumps(name)}\n"
        'backend: "onnxruntime"\n'
        f"max_batch_size: {_MAX_BATCH}\n"
        "input [\n  {\n"
        '    name: "images"\n'
        f"    data_type: {_TYPES[str(made.images.dtype)]}\n"
        f"    dims: {[*made.images.shape[1:]]}\n"
        "  }\n]\n"
        "output [\n  {\n"
        f'    name: "{made.output}"\n'
        f"    data_type: {_TYPES[str(output.dtype)]}\n"
        f"    dims: {[*output.shape[1:]]}\n{labels}"
        "  }\n]\n"
        "dynamic_batching { }\n"
    )
