"""Drawn windows: the cells that stand out are those that a window sees, and all of it can be read."""

import io
import itertools
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from support.figures import assert_nothing_cut, overlapping
from typer.testing import CliRunner

from jaxconv import geometry
from jaxconv._base.errors import ShapeError
from jaxconv.cli.commands import app
from jaxconv.viz import grid
from jaxconv.viz.window import animate_window, draw_window

pytestmark = pytest.mark.sampled

CASES = {  # size, kernel, stride, padding, dilation
    "same": (7, 3, 2, "same", 1),
    "plain": (5, 5, 1, 0, 1),
    "tiny": (1, 1, 1, 0, 1),
    "oblong": ((6, 9), (2, 3), (2, 1), ((0, 1), (2, 3)), (1, 2)),
    "wide": ((2, 20), (1, 5), 3, "full", 1),
    "dilated": (9, 3, 1, 1, 3),
    "signal": ((12,), (3,), 1, "causal", 2),
    "long signal": ((32,), (5,), 4, (0, 1), 1),
    "large": (32, 5, 4, 2, 1),
}


def seen_by(n, k, s, pair, d):
    """For each unit along one axis, the cells of the padded input that its taps fall on."""
    low, high = pair
    starts = [start for start in range(0, low + n + high, s) if start + d * (k - 1) < low + n + high]
    return [[start + tap * d for tap in range(k)] for start in starts]


def axes_of(size, kernel, stride, padding, dilation):
    shape = size if isinstance(size, tuple) else (size, size)
    rank = len(shape)
    sizes, strides, dilations = (geometry.per_axis(v, rank, "v") for v in (kernel, stride, dilation))
    pairs = geometry.pads(padding, shape, sizes, strides, dilations)
    return shape, pairs, [seen_by(*axis) for axis in zip(shape, sizes, strides, pairs, dilations, strict=True)]


@pytest.mark.parametrize("name", CASES)
def test_the_cells_that_stand_out_are_those_that_the_window_sees(name):
    shape, pairs, units = axes_of(*CASES[name])
    out = [len(axis) for axis in units]
    inside = np.pad(np.ones(shape, bool), pairs)
    every = list(np.ndindex(*out))
    for unit in {every[0], every[-1], every[len(every) // 2], every[len(every) // 3]}:
        figure = draw_window(*CASES[name], position=unit)
        taps = np.zeros(inside.shape, bool)
        taps[np.ix_(*[axis[o] for axis, o in zip(units, unit, strict=True)])] = True
        want = np.select([taps & inside, taps, inside], [grid.TAP, grid.TAP_ON_PADDING, grid.INPUT], grid.PADDING)
        left, right = figure.axes
        np.testing.assert_array_equal(left.images[0].get_array(), np.atleast_2d(want))
        output = np.full(out, grid.INPUT)
        output[unit] = grid.UNIT
        np.testing.assert_array_equal(right.images[0].get_array(), np.atleast_2d(output))
        cells = np.argwhere(np.atleast_2d(taps))
        box = next(patch for patch in left.patches if patch.get_edgecolor()[:3] == to_rgb(grid.COLORS[grid.UNIT]))
        first, last = cells.min(0), cells.max(0)
        assert (box.get_y(), box.get_x()) == tuple(first - 0.5)
        assert (box.get_height(), box.get_width()) == tuple(last - first + 1)


@pytest.mark.parametrize("name", CASES)
def test_everything_can_be_read(name):
    figure = draw_window(*CASES[name], position=0)
    assert_nothing_cut(figure)
    left, right = figure.axes
    words = [left.title, right.xaxis.label, *figure.texts]
    for axes in figure.axes:
        words += [*axes.get_xticklabels(), *axes.get_yticklabels()]
    words = [word for word in words if word.get_visible() and word.get_window_extent().width]
    assert not overlapping(words)
    boxes = [axes.get_window_extent() for axes in figure.axes]
    assert not boxes[0].overlaps(boxes[1])
    assert not [text for text in figure.texts if any(text.get_window_extent().overlaps(box) for box in boxes)]
    dots = [box.width / (axes.get_xlim()[1] + 0.5) for box, axes in zip(boxes, figure.axes, strict=True)]
    assert dots[0] == pytest.approx(dots[1])
    assert dots[0] / figure.dpi > 0.13


def test_the_text_is_the_formula_and_what_the_unit_sees():
    *_, units = axes_of(*CASES["oblong"])
    figure = draw_window(*CASES["oblong"], position=(2, 0))
    rows, columns = map(len, units)
    assert [text.get_text() for text in figure.texts] == [
        "out = floor((n + lo + hi - d*(k - 1) - 1) / s) + 1",
        f"rows: out = floor((6 + 0 + 1 - 1*(2 - 1) - 1) / 2) + 1 = {rows}",
        f"columns: out = floor((9 + 2 + 3 - 2*(3 - 1) - 1) / 1) + 1 = {columns}",
        "unit (2, 0) sees rows 4 and 5 and columns 0 and 2 (1 of padding)",
    ]
    assert figure.axes[0].get_title() == "input 6×9, padded to 7×14"
    assert figure.axes[1].get_xlabel() == f"output {rows}×{columns}"
    told = {
        (((12,), (3,), 1, "causal", 2), 0): "unit 0 sees cell 0 (2 of padding)",
        (((12,), (4,), 1, 0, 2), 1): "unit 1 sees cells 1 to 7 by 2",
        (((2,), (1,), 1, 1, 1), 0): "unit 0 sees no cell but padding",
        ((4, 1, 1, 0, 1), 7): "unit (1, 3) sees row 1 and column 3",
    }
    for (case, position), text in told.items():
        assert draw_window(*case, position=position).texts[-1].get_text() == text
    assert len(draw_window(7, 3).texts) == 3  # one line for both axes


def test_padding_is_hatched_and_nothing_else():
    figure = draw_window(*CASES["oblong"])
    hatched = np.zeros((7, 14), int)
    for patch in figure.axes[0].patches:
        if patch.get_hatch():
            row, column = round(patch.get_y() + 0.5), round(patch.get_x() + 0.5)
            hatched[row : row + round(patch.get_height()), column : column + round(patch.get_width())] += 1
    np.testing.assert_array_equal(hatched, np.pad(np.zeros((6, 9), int), [(0, 1), (2, 3)], constant_values=1))
    assert not [patch for patch in draw_window(7, 3).axes[0].patches if patch.get_hatch()]


# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision deficiency" (2009),
# severity 1: protanopia, deuteranopia, tritanopia.
BLIND = [
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
]


@pytest.mark.parametrize("matrix", BLIND, ids=["protan", "deutan", "tritan"])
def test_any_color_vision_tells_the_cells_apart(matrix):
    white = np.ones(3)
    colors = [white, *(np.array(to_rgb(color)) for color in grid.COLORS[1:])]
    seen = [np.array(matrix) @ color**2.2 for color in colors]
    apart = [
        np.linalg.norm(a.clip(0) ** (1 / 2.2) - b.clip(0) ** (1 / 2.2)) for a, b in itertools.combinations(seen, 2)
    ]
    assert min(apart) > 0.15


@pytest.mark.slow
def test_an_animation_has_every_position():
    data = animate_window(4, 2, 1, (0, 1), seconds=0.2, dpi=40)
    assert data == animate_window(4, 2, 1, (0, 1), seconds=0.2, dpi=40)
    with Image.open(io.BytesIO(data)) as gif:
        assert (gif.n_frames, gif.info["loop"], gif.info["duration"]) == (16, 0, 200)
        for position in (0, 5, 15):
            gif.seek(position)
            frame = np.asarray(gif.convert("RGB")).astype(int)
            stream = io.BytesIO()
            draw_window(4, 2, 1, (0, 1), position=position).savefig(stream, format="png", dpi=40)
            still = np.asarray(Image.open(stream).convert("RGB")).astype(int)
            assert frame.shape == still.shape
            assert (frame[0, 0] == 255).all()
            assert np.abs(frame - still).mean() < 2.5, position
            assert (np.abs(frame - still).max(-1) > 80).mean() < 0.005, position


UNITS = "position must be one of the 9 units of an output of 3×3\n  got: position={}\n  fix: at most 8, or (2, 2)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_window(5, 3, position=9), UNITS.format(9)),
        (lambda: draw_window(5, 3, position=(0, 3)), UNITS.format((0, 3))),
        (lambda: draw_window(5, 3, position=(0,)), UNITS.format((0,))),
        (lambda: draw_window(5, 3, position=-1), "position must be ≥ 0\n  got: position=-1"),
        (lambda: draw_window((5, 5, 5), 3),
         "a drawing has one or two spatial axes\n  got: size=(5, 5, 5)\n"
         "  fix: size=28 for an image, size=(28,) for a signal"),
        (lambda: draw_window(0, 3), "size must be ≥ 1\n  got: size=0"),
        (lambda: draw_window((5, 0), 3), "size must be ≥ 1\n  got: size=0"),
        (lambda: draw_window(3, 5),
         "conv: a kernel of 5 must fit into the padded input of 3 + 0 + 0 cells on spatial axis 0\n"
         "  got: spatial shape (3, 3); out = floor((3 + 0 + 0 - 1*(5 - 1) - 1) / 1) + 1 = -1\n"
         "  fix: a larger input, a kernel of at most 3, or padding='same'"),
        (lambda: animate_window(40, 3),
         "an animation has at most 1024 positions\n  got: 1444 units of output\n"
         "  fix: a smaller input or a larger stride; draw_window for one position"),
        (lambda: animate_window(4, 3, seconds=0), "seconds must be positive\n  got: seconds=0"),
    ],
)  # fmt: skip
def test_messages(call, message):
    with pytest.raises(ShapeError) as caught:
        call()
    assert str(caught.value) == message


def invoke(*arguments):
    return CliRunner().invoke(app, ["plot", "window", *map(str, arguments)])


@pytest.mark.slow
def test_the_command_draws_a_picture_or_an_animation(tmp_path):
    still, moving, signal = tmp_path / "w.png", tmp_path / "w.gif", tmp_path / "s.png"
    same = ("--stride", 2, "--padding", "same")
    result = invoke("--size", 5, "--kernel", 3, *same, "--position", "1x2", "--out", still)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"wrote {still}\n", "")
    stream = io.BytesIO()
    draw_window(5, 3, 2, "same", position=(1, 2)).savefig(stream, format="png", dpi=150)
    with Image.open(still) as image:
        assert image.tobytes() == Image.open(stream).tobytes()
    assert invoke("--size", "3x4", "--kernel", "2x3", "--padding", "0,1", "--out", moving).exit_code == 0
    assert moving.read_bytes() == animate_window((3, 4), (2, 3), 1, (0, 1))
    assert invoke("--size", 9, "--kernel", 3, "--signal", "--dilation", 2, "--out", signal).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"w.png", "w.gif", "s.png"}


def test_the_commands_errors_are_lines(tmp_path):
    number = "must be a number like 3, or one for each axis like 3x5; got"
    for arguments, message in [
        (("--size", "7", "--kernel", "three"), f"--kernel {number} 'three'"),
        (("--size", "-7", "--kernel", "3"), f"--size {number} '-7'"),
        (("--size", "7", "--kernel", "3", "--out", tmp_path / "w.jpg"),
         f"--out must end in .png or .gif; got {tmp_path}/w.jpg"),
        (("--size", "7", "--kernel", "3", "--padding", "smae"),
         "padding must be one of valid, same, same_lower, full, causal, an int, a pair, or a pair for each axis\n"
         "  got: padding='smae'; did you mean 'same'?"),
    ]:  # fmt: skip
        result = invoke(*arguments)
        assert (result.exit_code, result.stderr, result.stdout) == (2, f"error: {message}\n", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_pyplot_is_never_imported_and_matplotlib_only_when_drawing():
    code = """
import sys
from jaxconv.viz import window as drawing
print("matplotlib" in sys.modules)
print(len(drawing.draw_window(4, 2).axes), drawing.animate_window((3,), (2,), dpi=40)[:3])
print("matplotlib.pyplot" in sys.modules)
"""
    process = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (process.stderr, process.stdout) == ("", "False\n2 b'GIF'\nFalse\n")
