"""`jaxconv plot RUN`: each picture of a run, on the command line as a user meets it."""

import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from support import finished_run
from support.config_text import config_text
from support.figures import assert_nothing_cut
from typer.testing import CliRunner

from jaxconv import run
from jaxconv.cli.commands import app
from jaxconv.data import load
from jaxconv.run import config
from jaxconv.run.plots import KINDS, draw, drawings

CONFIG = config_text(
    {"features": [4, 6], "kernel_size": 3, "padding": "same", "hidden": [8], "activation": "sigmoid"},
    optim={"name": "sgd", "learning_rate": 0.5},
    train={"epochs": 0.5, "batch_size": 48, "log_every": 5, "log_norms": True},
)
NAMES = ["kernels", "features", "field", "activations", "norms"]


def invoke(*arguments):
    return CliRunner().invoke(app, ["plot", *map(str, arguments)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run's folder as training leaves it, of a net that was not trained."""
    folder = tmp_path_factory.mktemp("plots") / "a run"
    folder.mkdir()
    finished_run.write_untrained(folder, CONFIG)
    rng = np.random.default_rng(0)
    parts = ("conv0", "conv1", "dense0", "head")
    lines = [
        {
            "step": 5 * i,
            "gradient_norm": rng.uniform(0.1, 1),
            "weight_norms": {part: rng.uniform(1, 3) for part in parts},
        }
        for i in range(1, 4)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def drawn(finished):
    """What the command printed, and the figures that it drew."""
    kept = {}

    def keeping(*arguments):
        for kind, figure in drawings(*arguments):
            kept[kind] = figure
            yield kind, figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxconv.run.plots.drawings", keeping)
        return invoke(finished, "--image", 3), kept


@pytest.mark.slow
def test_all_pictures_go_to_the_runs_folder_and_their_paths_are_printed(finished, drawn):
    result, _ = drawn
    paths = [finished / "plots" / f"{name}.png" for name in NAMES]
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "".join(f"{path}\n" for path in paths)
    for path in paths:
        with Image.open(path) as image:
            assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
            assert min(image.size) > 200
    assert list(KINDS) == NAMES


@pytest.mark.slow
def test_the_pictures_show_this_run(finished, drawn):
    _, figures = drawn
    params = load_file(finished / "params.safetensors")
    tiles = np.ma.filled(figures["kernels"].axes[0].images[0].get_array(), np.nan)
    np.testing.assert_allclose(tiles[:12:4, 13:25:4], params["params/conv0/kernel"][..., 0, 1], rtol=1e-6)
    assert figures["kernels"].get_suptitle() == "a run: conv0"
    pixels, label = load("digits").test[3]
    image = np.asarray(pixels[..., 0], float)
    shown = figures["features"].axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, (image - image.min()) / np.ptp(image), atol=1e-6)
    assert figures["features"].get_suptitle() == f"a run, test image 3 ({label})"
    titles = [axes.get_title().split(" (")[0] for axes in figures["field"].axes[:-1]]
    assert titles == ["conv0", "max_pool0", "conv1"]  # the center unit of the last pool sees no more than that
    labels = [text.get_text() for text in figures["activations"].axes[0].get_yticklabels()]
    assert labels[:3] == ["conv0", "max_pool0", "sigmoid0"]
    assert len(figures["activations"].axes) == 3  # a sigmoid can be saturated
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    gradient, weights = figures["norms"].axes
    assert list(gradient.lines[0].get_ydata()) == [line["gradient_norm"] for line in lines]
    assert [curve.get_label() for curve in weights.lines] == ["conv0", "conv1", "dense0", "head"]
    assert [curve.get_ydata()[-1] for curve in weights.lines] == list(lines[-1]["weight_norms"].values())
    for figure in figures.values():
        assert_nothing_cut(figure)


def test_kinds_are_chosen_and_a_folder_of_ones_own(finished, tmp_path):
    result = invoke(finished, "norms", "kernels", "--out", tmp_path / "deep" / "er")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        str(tmp_path / "deep" / "er" / f"{name}.png") for name in ("norms", "kernels")
    ]
    assert {path.name for path in (tmp_path / "deep" / "er").iterdir()} == {"norms.png", "kernels.png"}
    named = invoke("run", finished, "kernels", "--out", tmp_path / "again")
    assert named.stdout == f"{tmp_path / 'again' / 'kernels.png'}\n"


def test_the_commands_errors_are_lines(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = "expected one of kernels, features, field, activations, norms"
    cases = [
        ((finished, "kernel"), f"unknown plot 'kernel'; {known}; did you mean 'kernels'?"),
        ((finished, "norms", "windows"), f"unknown plot 'windows'; {known}"),
        ((finished, "features", "--image", 359), "there is no test image 359; there are 359: 0 to 358"),
        ((tmp_path, "kernels"), f"{tmp_path} is not a run: config.toml, params.safetensors, result.json missing"),
    ]
    for arguments, message in cases:
        result = invoke(*arguments)
        assert (result.exit_code, result.stderr, result.stdout) == (2, f"error: {message}\n", "")
    taken = invoke(finished, "kernels", "--out", finished / "result.json")
    assert (taken.exit_code, taken.stderr) == (74, f"error: cannot write {finished}/result.json: File exists\n")
    missing = invoke("runs/nowhere", "kernels")
    assert (missing.exit_code, missing.stderr.split(";")[0]) == (2, "error: there is no run runs/nowhere\n")
    wrong = invoke("winodw", "--size", 7)
    assert wrong.exit_code == 2
    assert "No such command 'winodw'. Did you mean 'window'?" in wrong.stderr


@pytest.mark.slow
def test_what_a_run_has_nothing_for_is_left_out(finished, tmp_path):
    """A run without norms, of a net of dense layers alone: only activations can be drawn."""
    plain = tmp_path / "plain"
    plain.mkdir()
    finished_run.write_untrained(plain, CONFIG.replace("features = [4, 6]", "features = []"))
    (plain / "metrics.jsonl").write_text('{"step": 5, "loss": 1.0}\n')
    result = invoke(plain)
    assert (result.exit_code, result.stdout) == (0, f"{plain / 'plots' / 'activations.png'}\n")
    untrained = "this run logged no norms; train it with train.log_norms=true"
    assert result.stderr.splitlines() == [
        "kernels skipped: this net has no convolution over images",
        "features skipped: no layer of this net returns feature maps",
        "field skipped: no layer of this net has a receptive field smaller than the image",
        f"norms skipped: {untrained}",
    ]
    named = invoke(plain, "activations", "norms")
    drawn = f"{plain / 'plots' / 'activations.png'}\n"
    assert (named.exit_code, named.stdout, named.stderr) == (2, drawn, f"error: norms: {untrained}\n")


@pytest.mark.slow
def test_a_run_that_was_trained(tmp_path):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    run.train(config.read(tmp_path / "tiny.toml"), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "loss" in line]
    assert [line["step"] for line in lines] == [5, 10, 15]
    assert all(0 < line["gradient_norm"] < 100 for line in lines)
    params = load_file(tmp_path / "run" / "params.safetensors")
    for name in ("conv0", "conv1", "dense0", "head"):
        leaves = [leaf for path, leaf in params.items() if path.startswith(f"params/{name}/")]
        want = np.sqrt(sum((leaf.astype(np.float64) ** 2).sum() for leaf in leaves))
        assert lines[-1]["weight_norms"][name] == pytest.approx(want, rel=1e-5)
    assert not any(isinstance(figure, str) for figure in draw(tmp_path / "run", NAMES).values())


@pytest.mark.slow
def test_the_first_member_of_an_ensemble_is_shown(tmp_path):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    overrides = ["ensemble.size=2", "train.epochs=0.2", "precision.compute=bfloat16"]
    run.train(config.read(tmp_path / "tiny.toml", overrides), tmp_path / "two")
    figures = draw(tmp_path / "two", NAMES)
    params = load_file(tmp_path / "two" / "params.safetensors")
    tiles = np.ma.filled(figures["kernels"].axes[0].images[0].get_array(), np.nan)
    np.testing.assert_allclose(tiles[:12:4, 13:25:4], params["params/conv0/kernel"][0, ..., 0, 1], rtol=1e-6)
    assert figures["activations"].get_suptitle() == "two, member 1 of 2, 64 test images"
    assert not any(isinstance(figure, str) for figure in figures.values())
