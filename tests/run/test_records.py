"""Files of runs that were altered: one line, and the other runs are shown all the same."""

import json
import shutil

import pytest
from support import finished_run
from typer.testing import CliRunner

from jaxconv import run
from jaxconv._base.errors import DataError
from jaxconv.cli.commands import app
from jaxconv.run.records import read_lines, read_manifest, read_result

RESULT = finished_run.RESULT
ALTERED = [
    ("manifest.json", "{}", "data is missing"),
    ("manifest.json", "[1, 2]", "must be an object, got [1, 2]"),
    ("manifest.json", "null", "must be an object, got None"),
    ("manifest.json", "{", "is not JSON: EOF while parsing an object at line 1 column 1"),
    ("manifest.json", "[" * 10_000, "is not JSON: recursion limit exceeded at line 1 column 202"),
    ("manifest.json", '{"data": {}, "versions": {"jax": 1}}', "versions.jax must be text in quotes, got 1"),
    ("metrics.jsonl", "3\n", "line 1: must be an object, got 3"),
    ("metrics.jsonl", '{"step": 1}\n[]\n', "line 2: must be an object, got []"),
    ("metrics.jsonl", '{"step": "x"}', "line 1: step must be a whole number, got 'x'"),
    ("metrics.jsonl", '{"step": 1, "loss": NaN}', "line 1: loss must be a finite number, got nan"),
    ("metrics.jsonl", '{"step": 1, "test_accuracy": "high"}', "line 1: test_accuracy must be a number, got 'high'"),
    ("metrics.jsonl", '{"step"\n{"step": 2}\n', "line 1: is not JSON: EOF while parsing an object at line 1 column 7"),
    ("result.json", "null", "must be an object, got None"),
    ("result.json", "\xff", "is not JSON: expected value at line 1 column 1"),
    ("result.json", json.dumps(RESULT | {"test_accuracy": None}), "test_accuracy must be a number, got None"),
    ("result.json", json.dumps(RESULT | {"test_loss": float("nan")}), "test_loss must be a finite number, got nan"),
    ("result.json", json.dumps(RESULT | {"seconds": 3}), "seconds must be an object, got 3"),
    ("result.json", json.dumps(RESULT | {"seconds": {}}), "seconds.total is missing"),
    ("result.json", json.dumps(RESULT | {"steps": "7"}), "steps must be a whole number, got '7'"),
    ("result.json", json.dumps(RESULT | {"input": []}), "input must be an object, got []"),
    (
        "result.json",
        json.dumps(RESULT | {"input": RESULT["input"] | {"shape": [8, 8]}}),
        "input.shape must have at least 3 items after validation, not 2, got [8, 8]",
    ),
    (
        "result.json",
        json.dumps(RESULT | {"input": RESULT["input"] | {"std": [0.0]}}),
        "input.std.0 must be greater than 0, got 0.0",
    ),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return finished_run.write(tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize(("name", "text", "what"), ALTERED)
def test_an_altered_file_is_refused(tmp_path, name, text, what):
    read = {"manifest.json": read_manifest, "metrics.jsonl": read_lines, "result.json": read_result}[name]
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value) == f"{tmp_path / name} was altered: {what}"
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(IsADirectoryError):
        read(tmp_path)


def test_records_keep_what_was_written(whole):
    assert read_result(whole) == RESULT
    assert read_lines(whole) == finished_run.LINES
    assert read_manifest(whole) == json.loads((whole / "manifest.json").read_text())
    with open(whole.parent / "metrics.jsonl", "w", encoding="utf-8") as stream:
        stream.write('{"step": 7, "more": [1]}\n{"step": 14, "lo')  # cut off by a kill
    assert read_lines(whole.parent) == [{"step": 7, "more": [1]}]


def test_a_broken_run_is_shown_as_broken_and_the_others_as_they_are(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "good")
    shutil.copytree(whole, tmp_path / "going", ignore=shutil.ignore_patterns("result.json"))
    for number, (name, text, _) in enumerate(ALTERED):
        left_out = "result.json" if name == "metrics.jsonl" else ""  # a finished run's result says it all
        folder = shutil.copytree(whole, tmp_path / f"run{number:02}", ignore=shutil.ignore_patterns(left_out))
        (folder / name).write_bytes(text.encode("latin-1"))
    for name in ("config.toml", "result.json"):
        folder = shutil.copytree(whole, tmp_path / f"folder-{name}")
        (folder / name).unlink()
        (folder / name).mkdir()
    deep = shutil.copytree(whole, tmp_path / "deep")
    (deep / "config.toml").write_text("x = " + "[" * 3000)
    result = CliRunner().invoke(app, ["runs", str(tmp_path)])
    assert (result.exit_code, result.stderr) == (0, "")
    header, *rows = (line.split("\t") for line in result.stdout.splitlines())
    assert header == ["run", "accuracy", "loss", "step", "seconds", "problem"]
    assert rows[:2] == [
        ["good", "87.50%", "0.4200", "23", "27", ""],
        ["going", "87.50%", "0.4200", "23, not finished", "", ""],
    ]
    assert {row[0]: row[1:] for row in rows[2:]} == {
        f"run{number:02}": ["broken", "", "", "", f"{tmp_path}/run{number:02}/{name} was altered: {what}"]
        for number, (name, _, what) in enumerate(ALTERED)
    } | {
        f"folder-{name}": ["broken", "", "", "", f"cannot read {tmp_path}/folder-{name}/{name}: Is a directory"]
        for name in ("config.toml", "result.json")
    } | {"deep": ["broken", "", "", "", f"{tmp_path}/deep/config.toml is not TOML: it is nested too deeply"]}


@pytest.mark.slow
def test_what_stops_a_run_from_being_resumed_is_one_line(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "run", ignore=shutil.ignore_patterns("result.json"))
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(DataError) as caught:
        run.resume(folder)
    assert str(caught.value) == f"{folder}/manifest.json was altered: data is missing"
    for name in ("checkpoints", "events"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).write_text("")
        with pytest.raises(DataError) as caught:
            run.resume(folder)
        assert str(caught.value) == (
            f"{folder}/{name} must be a folder, got a file; move it away and resume the run again"
        )
        (folder / name).unlink()
