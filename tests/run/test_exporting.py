"""Exported runs: loaded by programs that cannot import jaxconv, and what goes wrong."""

import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.config_text import config_text
from support.tiny_run import CONFIG, invoke

from jaxconv import ConfigError, run
from jaxconv.export import _convert
from jaxconv.run import config, exporting

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ALONE = {
    "onnx": "import onnxruntime; session = onnxruntime.InferenceSession(path)\n"
    "answer = lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]",
    "jaxexport": "import jax.export; content = bytearray(open(path, 'rb').read())\n"
    "answer = jax.export.deserialize(content).call",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, no_pictures):
    """The folder of a finished run; only read."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "tiny.toml").write_text(CONFIG)
    run.train(config.read(folder / "tiny.toml", ["train.epochs=0.1"]), folder / "run")
    return folder / "run"


def answers(path, images, tmp_path):
    """The predictions of an exported file, in a process without jaxconv, in batches of one image and of the others."""
    np.save(tmp_path / "images.npy", images)
    code = f"""
import sys, numpy
sys.modules["jaxconv"] = None
path = {str(path)!r}
{ALONE[path.suffix[1:]]}
images = numpy.load("images.npy")
numpy.save("answers.npy", numpy.concatenate([answer(images[:1]), answer(images[1:])]))
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)
    return np.load(tmp_path / "answers.npy")


def pixels(shape, count=4):
    return np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(np.uint8)


def close(got, want):
    np.testing.assert_allclose(got, want, atol=1e-4 * max(1, np.abs(want).max()), rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["onnx", "jaxexport"])
def test_a_file_answers_as_the_run_does(ending, finished, tmp_path):
    """Images from 0 to 255, while those of the digits go up to 16."""
    path, loaded = tmp_path / f"net.{ending}", run.load(finished)
    result = invoke("export", finished, path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.search(r"^images compared +100\nlargest difference +\d\.\de[-+]\d\d\nwrote +", result.stdout, re.M)
    images = pixels(loaded.input.shape)
    want = loaded.outputs(images.astype(np.float32) * 16 / 255)
    close(answers(path, images, tmp_path), want)
    written = {file.name for file in tmp_path.iterdir()} - {"images.npy", "answers.npy"}
    assert written == ({path.name} if ending == "onnx" else {path.name, f"{path.name}.json"})


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["onnx", "jaxexport"])
def test_without_preprocessing(ending, finished, tmp_path):
    path, loaded = tmp_path / f"net.{ending}", run.load(finished)
    run.export(loaded, path, preprocess=False, fold=False)
    images = pixels(loaded.input.shape).astype(np.float32) * 16 / 255
    close(answers(path, np.asarray(loaded.prepare(images)), tmp_path), loaded.outputs(images))


def test_metadata(finished, tmp_path):
    """Mean and standard deviation are those of pixels up to 255."""
    import onnx

    run.export(loaded := run.load(finished), tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    found = {each.key: json.loads(each.value) for each in model.metadata_props}
    assert found["classes"] == [*"0123456789"]
    assert (found["task"], found["net"]) == ("classification", "conv_pool")
    assert (found["input"]["shape"], found["input"]["dtype"], found["input"]["range"]) == ([8, 8, 1], "uint8", [0, 255])
    np.testing.assert_allclose(found["input"]["mean"], np.array(loaded.input.mean) * 255 / 16)
    np.testing.assert_allclose(found["input"]["std"], np.array(loaded.input.std) * 255 / 16)
    assert set(found["versions"]) == {"jaxconv", "jax"}
    assert [each.name for each in (*model.graph.input, *model.graph.output)] == ["images", "log_probabilities"]


def test_weights(finished, tmp_path):
    result = invoke("export", finished, tmp_path / "net.safetensors")
    assert (result.exit_code, result.stderr) == (0, "")
    theirs, loaded = load_file(tmp_path / "net.safetensors"), run.load(finished)
    ours = load_file(finished / "params.safetensors")
    assert sorted(a.size for a in theirs.values()) == sorted(a.size for a in ours.values() if a.ndim)
    kernel = loaded.params["conv0"]["kernel"]
    (found,) = (a for a in theirs.values() if a.ndim == 4 and a.shape == kernel.transpose(3, 2, 0, 1).shape)
    np.testing.assert_array_equal(found, kernel.transpose(3, 2, 0, 1))


def message(*parts):
    """A message of Triton's schema (model_config.proto), from (name, number, type, repeated)."""
    from google.protobuf import descriptor_pb2

    (name, *fields) = parts
    made = descriptor_pb2.DescriptorProto(name=name)
    for field, number, kind, repeated in fields:
        one = made.field.add(name=field, number=number, label=3 if repeated else 1)
        one.type = {"string": 9, "int32": 5, "int64": 3}.get(kind, 14 if kind == "DataType" else 11)
        if one.type in (11, 14):
            one.type_name = f".inference.{kind}"
    return made


def triton_config(text):
    """A config.pbtxt, read by the part of Triton's own schema that it uses."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    kinds = file.enum_type.add(name="DataType")
    for name, number in (("TYPE_INVALID", 0), ("TYPE_UINT8", 2), ("TYPE_FP32", 11)):
        kinds.value.add(name=name, number=number)
    file.message_type.extend([
        message("ModelInput", ("name", 1, "string", 0), ("data_type", 2, "DataType", 0), ("dims", 4, "int64", 1)),
        message("ModelOutput", ("name", 1, "string", 0), ("data_type", 2, "DataType", 0), ("dims", 3, "int64", 1),
                ("label_filename", 4, "string", 0)),
        message("ModelDynamicBatching"),
        message("ModelConfig", ("name", 1, "string", 0), ("max_batch_size", 4, "int32", 0),
                ("backend", 17, "string", 0),
                ("input", 5, "ModelInput", 1), ("output", 6, "ModelOutput", 1),
                ("dynamic_batching", 11, "ModelDynamicBatching", 0)),
    ])  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))()
    return text_format.Parse(text, made)


def test_a_model_repository_of_triton(finished, tmp_path):
    import onnxruntime

    result = invoke("export", finished, "--triton", tmp_path / "models")
    assert (result.exit_code, result.stderr) == (0, "")
    folder = tmp_path / "models" / "run"
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*")) == [
        "1", "1/model.onnx", "config.pbtxt", "labels.txt",
    ]  # fmt: skip
    assert [each.name for each in (tmp_path / "models").iterdir()] == ["run"]
    found = triton_config((folder / "config.pbtxt").read_text())
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
    assert (found.name, found.backend, found.max_batch_size) == ("run", "onnxruntime", 64)
    assert found.HasField("dynamic_batching")
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (found.input[0].name, [*found.input[0].dims], found.input[0].data_type) == (given.name, given.shape[1:], 2)
    assert (found.output[0].name, [*found.output[0].dims], found.output[0].data_type) == (made.name, made.shape[1:], 11)
    assert (given.type, made.type) == ("tensor(uint8)", "tensor(float)")
    loaded, images = run.load(finished), pixels([*found.input[0].dims])
    close(session.run(None, {given.name: images})[0], loaded.outputs(images.astype(np.float32) * 16 / 255))
    assert (folder / found.output[0].label_filename).read_text().split() == list(loaded.input.classes)
    again = invoke("export", finished, "--triton", tmp_path / "models")
    assert (again.exit_code, again.stderr) == (
        2, f"error: the repository must not have a model of this name; {folder} exists: remove it, or rename the run\n",
    )  # fmt: skip


RUNS = {
    "an ensemble": ("ensemble.size=2",),
    "half precision": ("precision.compute=bfloat16",),
    "views": ("tta.flip=true", "tta.shift=1"),
    "temperature": ("train.temperature_scaling=true", "data.validation=300"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_runs_of_every_kind(name, tmp_path, no_pictures):
    """Nets with batch norms, which are folded; half precision is exported in float32."""
    text = config_text(
        {"name": "resnet_cifar", "depth": 8, "width": 4},
        optim={"name": "sgd", "learning_rate": 0.1},
        train={"epochs": 0.5, "batch_size": 64, "eval_every": 0},
    )
    (tmp_path / "tiny.toml").write_text(text)
    run.train(config.read(tmp_path / "tiny.toml", RUNS[name]), tmp_path / "run")
    loaded = run.load(tmp_path / "run")
    found = run.export(loaded, tmp_path / "net.onnx")
    assert float(found["largest difference"]) < 1e-4
    images = pixels(loaded.input.shape)
    got, want = answers(tmp_path / "net.onnx", images, tmp_path), loaded.outputs(images.astype(np.float32) * 16 / 255)
    if name == "half precision":
        np.testing.assert_allclose(got, want, atol=0.1)
    else:
        close(got, want)


MISSING = 'ONNX files need onnx: python -m pip install "jaxconv[export]"'


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (("net.h5",), "the file to export must end in .onnx, .jaxexport, .safetensors; net.h5 ends in .h5"),
        (("net",), "the file to export must end in .onnx, .jaxexport, .safetensors; net has no ending"),
        ((), "export needs a file or --triton DIR: jaxconv export RUN model.onnx"),
        (("net.onnx", "--triton", "models"), "export needs a file or --triton DIR: jaxconv export RUN model.onnx"),
        (
            ("net.safetensors", "--no-preprocess", "--fold"),
            "a .safetensors file has the weights alone; leave out --fold and --no-preprocess, "
            "or export .onnx or .jaxexport",
        ),
    ],
)
def test_wrong_arguments(arguments, wrong, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("export", finished, *arguments)
    assert (result.exit_code, result.stderr, result.stdout) == (2, f"error: {wrong}\n", "")
    assert not [*tmp_path.iterdir()]


def test_no_such_run(tmp_path):
    result = invoke("export", tmp_path / "run", tmp_path / "net.onnx")
    assert (result.exit_code, result.stderr) == (2, f"error: there is no run {tmp_path / 'run'}\n")


def test_no_such_folder(finished, tmp_path):
    result = invoke("export", finished, tmp_path / "none" / "net.safetensors")
    assert (result.exit_code, result.stderr) == (
        74, f"error: cannot write {tmp_path / 'none' / 'net.safetensors'}: No such file or directory\n",
    )  # fmt: skip


def test_without_onnx(finished, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else find(name))
    result = invoke("export", finished, tmp_path / "net.onnx")
    assert (result.exit_code, result.stderr) == (2, f"error: {MISSING}\n")


@pytest.mark.parametrize("where", [["net.onnx"], ["--triton", "models"]])
def test_an_operation_that_onnx_cannot_express(where, finished, tmp_path, monkeypatch):
    """Its layer is named, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(_convert.RULES, "conv_general_dilated")
    result = invoke("export", finished, *where)
    assert result.exit_code == 2
    message = "error: at conv0: ONNX must have each operation of the function\n  got: conv_general_dilated of "
    assert result.stderr.startswith(message)
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["onnx", "jaxexport"])
def test_predictions_that_differ(ending, finished, tmp_path, monkeypatch):
    """A file that stands there stays as it is."""
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    path = tmp_path / f"net.{ending}"
    path.write_text("before")
    result = invoke("export", finished, path)
    assert result.exit_code == 2
    message = "error: exported predictions must agree with the run's within -1\n  got: a difference of "
    assert result.stderr.startswith(message)
    assert (path.read_text(), len([*tmp_path.iterdir()])) == ("before", 1)


def test_weights_of_an_ensemble(finished, tmp_path):
    with pytest.raises(ConfigError) as raised:
        run.export(dataclasses.replace(run.load(finished), members=True), tmp_path / "net.safetensors")
    message = "a .safetensors file has the weights of one net, this run is an ensemble; export .onnx instead"
    assert str(raised.value) == message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fails"), [("net.onnx", 1), ("net.safetensors", 1), ("net.jaxexport", 1), ("net.jaxexport", 2)]
)
def test_a_write_that_fails_leaves_nothing(name, fails, finished, tmp_path, monkeypatch):
    """At the first or the second file of an export."""
    replace, calls = os.replace, []

    def broken(source, target):
        calls.append(target)
        if len(calls) == fails:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="No space left on device"):
        run.export(run.load(finished), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
