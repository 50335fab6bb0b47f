"""Pictures of `predict` and curves of `runs`: on which terminals, where on them, and plain text elsewhere."""

import contextlib
import fcntl
import io
import json
import os
import pty
import struct
import termios

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from support.config_text import config_text
from support.screen import screen
from support.tiny_run import invoke

from jaxconv import run
from jaxconv.cli.pictures import beside, kind_of

XTERM = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
CONFIG = config_text(
    optim={"name": "adam", "learning_rate": 0.01},
    train={"epochs": 1, "batch_size": 256, "log_every": 1, "eval_every": 2, "seed": 0},
)
KINDS = ("kitty", "sixel", "blocks")


@contextlib.contextmanager
def terminal(columns=80, cell=(8, 16), environ=XTERM, encoding="utf-8"):
    """A console on a pseudo-terminal, of which nothing is ever read: a question to it would have no answer."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, columns * cell[0], 40 * cell[1]))
    with open(theirs, "w", encoding=encoding) as file:
        yield Console(file=file, width=columns, _environ=environ)
    os.close(ours)


@pytest.mark.parametrize(
    ("environ", "kind"),
    [
        ({}, "blocks"),
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM_PROGRAM": "WezTerm"}, "kitty"),
        ({"TERM": "foot-direct"}, "blocks"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "mlterm"}, "sixel"),
        ({"TERM_PROGRAM": "iTerm.app"}, "sixel"),
        ({"TERM_PROGRAM": "mintty"}, "sixel"),
        ({"KONSOLE_VERSION": "230801"}, "sixel"),
        ({"KONSOLE_VERSION": "210401"}, "blocks"),
        ({"KONSOLE_VERSION": "?"}, "blocks"),
        ({"TERM_PROGRAM": "vscode", "KITTY_WINDOW_ID": "1"}, "blocks"),  # started from kitty
        ({"TERM": "alacritty", "KITTY_WINDOW_ID": "1"}, "blocks"),
        ({"VTE_VERSION": "7600", "KITTY_WINDOW_ID": "1"}, "blocks"),
        ({"TMUX": "/tmp/tmux", "TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, "blocks"),
        ({"STY": "1.x", "TERM": "screen-256color", "TERM_PROGRAM": "iTerm.app"}, "blocks"),
        ({"TERM": "xterm-256color", "COLORTERM": ""}, "blocks"),
        ({"TERM": "xterm", "COLORTERM": ""}, "none"),
        ({"TERM": "linux", "COLORTERM": ""}, "none"),
        ({"TERM": "dumb"}, "none"),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, "none"),
    ],
    ids=str,
)
def test_the_kind_by_the_environment(environ, kind):
    environ = XTERM | environ
    with terminal(environ=environ) as console:
        assert kind_of("auto", console, environ) == kind
        for wanted in (*KINDS, "none"):
            assert kind_of(wanted, console, environ) == wanted


@pytest.mark.parametrize("environ", [XTERM, {"TERM": "xterm-kitty"}, XTERM | {"FORCE_COLOR": "1"}], ids=str)
def test_a_pipe_has_no_pictures(environ):
    assert kind_of("auto", Console(file=io.StringIO(), _environ=environ), environ) == "none"
    with open(os.devnull, "w") as file:
        assert kind_of("auto", Console(file=file, _environ=environ), environ) == "none"


def test_a_terminal_of_another_encoding_has_no_pictures():
    with terminal(encoding="latin-1") as console:
        assert kind_of("auto", console, XTERM) == "none"


PICTURES = [(8, 8), (30, 90), (200, 40), (1, 1)]
LINES = [f"class {number}  {number}%" for number in range(5)]


@pytest.mark.parametrize("lines", [[], LINES, LINES * 4], ids=len)
@pytest.mark.parametrize("columns", [34, 40, 80, 200])
@pytest.mark.parametrize("size", PICTURES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_text_is_beside_the_picture(kind, size, columns, lines):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8))
    with terminal(columns) as console:
        shown = screen(beside(picture, lines, kind, console) + "\nend")
    if kind == "blocks":
        cells = {at for at, cell in shown.cells.items() if cell[0] == "▀"}
        wide, high = 1 + max(column for _, column in cells), 1 + max(row for row, _ in cells)
        assert len(cells) == wide * high
    else:
        [(row, column, image, cells)] = shown.pictures
        assert (row, column) == (0, 0)
        wide, high = -(-image.width // 8), -(-image.height // 16)
        assert cells in (None, (wide, high))
        assert max(abs(image.width - 8 * size[1] / size[0] * image.height / 8), 0) <= max(size[1] / size[0], 1)
    assert 1 <= high <= 10
    assert 1 <= wide <= 20
    for row, line in enumerate(lines):
        text = "".join(cell[0] for at, cell in sorted(shown.cells.items()) if at[0] == row and at[1] >= wide + 2)
        assert text.rstrip() == line
    assert max(column for _, column in shown.cells) < columns
    assert shown.line(max(high, len(lines))) == "end"


@pytest.mark.parametrize("kind", KINDS)
def test_long_names_are_cut_and_narrow_terminals_have_text_alone(kind):
    picture = Image.new("RGB", (8, 8))
    with terminal(50) as console:
        shown = screen(beside(picture, ["熊" * 40 + "  9%"], kind, console))
        assert shown.line(0).endswith("熊…")
    with terminal(33) as console:
        assert beside(picture, LINES, kind, console) == "\n".join(LINES)


def test_cells_without_known_pixels():
    with terminal(cell=(0, 0)) as console:
        [(_, _, image, _)] = screen(beside(Image.new("RGB", (8, 8)), LINES, "sixel", console)).pictures
    assert image.size == (160, 160)  # of cells of 8×16 pixels
    unknown = beside(Image.new("RGB", (8, 8)), LINES, "sixel", Console(file=io.StringIO(), width=80))
    assert screen(unknown).pictures[0][2].size == (160, 160)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished run, an unfinished one, and one whose losses are not numbers."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "tiny.toml").write_text(CONFIG)
    result = invoke("train", folder / "tiny.toml", "--out", folder / "runs" / "done")
    assert result.exit_code == 0, result.output
    lines = [{"step": step, "loss": None if step > 2 else 100.0 / step, "accuracy": 0.1} for step in range(1, 6)]
    for name, records in (("diverged", lines), ("begun", [])):
        other = folder / "runs" / name
        other.mkdir()
        (other / "config.toml").write_text(CONFIG)
        (other / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in records))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_predict_shows_what_the_net_is_given(finished, tmp_path, kind):
    pixels = np.kron(np.arange(64).reshape(8, 8) * 4, np.ones((5, 5))).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "light.png")
    folder = finished / "runs" / "done"
    result = invoke("predict", folder, tmp_path / "light.png", "--pictures", kind)
    assert (result.exit_code, result.stderr) == (0, "")
    shown = screen(result.stdout)
    assert shown.line(0).startswith(str(tmp_path / "light.png"))
    plain = invoke("predict", folder, tmp_path / "light.png").stdout
    assert plain == invoke("predict", folder, tmp_path / "light.png", "--pictures", "none").stdout
    assert "\x1b" not in plain
    first, chance = plain.split(": ", 1)[1].split(", ")[0].split("  ")
    assert shown.line(1).lstrip("▀ ").split() == [first, chance.strip()]
    given = run.load(folder).picture(tmp_path / "light.png").pixels[..., 0] * 255 / 16
    if kind == "blocks":
        drawn = np.array(
            [[shown.cells[1 + row // 2, column][1 + row % 2][0] for column in range(20)] for row in range(20)]
        )
        at = (np.arange(20) * 8 // 20)[:, None], np.arange(20) * 8 // 20
        error = 64  # the cells of 8 and of 20 pixels differ
    else:
        [(row, column, image, _)] = shown.pictures
        assert (row, column) == (1, 0)
        drawn, at, error = np.asarray(image)[10::20, 10::20, 0], np.ix_(range(8), range(8)), 3
    assert np.abs(drawn - given[at].astype(int)).max() <= error


def test_runs_have_curves_on_a_terminal_only(finished):
    plain = invoke("runs", finished / "runs").stdout
    assert plain == invoke("runs", finished / "runs", "--pictures", "none").stdout
    assert "curve" not in plain
    rows = [line.split("\t") for line in invoke("runs", finished / "runs", "--pictures", "blocks").stdout.splitlines()]
    assert rows[0][:7] == ["run", "accuracy", "loss", "step", "seconds", "accuracy curve", "loss curve"]
    curves = {row[0]: row[5:7] for row in rows[1:]}
    assert curves["begun"] == ["", ""]
    assert curves["diverged"] == ["▁▁▁▁▁", "█▄×××"]
    accuracy, loss = curves["done"]
    assert accuracy[-1] == "█"
    assert set(loss) == {"▁"}  # on one scale with 100
    assert 2 <= len(accuracy) <= 10
    assert len(loss) == 6


def test_damaged_measurements_cost_no_table(finished, tmp_path):
    copied = tmp_path / "runs" / "done"
    copied.mkdir(parents=True)
    for name in ("config.toml", "manifest.json", "result.json"):
        (copied / name).write_bytes((finished / "runs" / "done" / name).read_bytes())
    (copied / "metrics.jsonl").write_text("{}\n{}\n")
    header, row = invoke("runs", tmp_path / "runs", "--pictures", "blocks").stdout.splitlines()
    assert dict(zip(header.split("\t"), row.split("\t"), strict=True))["loss curve"] == ""
