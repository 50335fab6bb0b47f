"""Pictures for terminals, decoded by an independent terminal; sparklines by hand."""

import numpy as np
import pytest
from PIL import Image
from support.screen import screen

from jaxconv.viz.terminal import fitted, half_blocks, kitty, sixel, sparkline


def noise(height, width, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8))


SIZES = [(1, 1), (5, 7), (6, 12), (13, 2), (60, 80)]


@pytest.mark.parametrize("size", [*SIZES, (300, 200)], ids=str)
def test_kitty_sends_the_very_pixels(size):
    picture = noise(*size)
    text = kitty(picture, 9, 4)
    shown = screen("ab" + text + "c")
    [(row, column, image, cells)] = shown.pictures
    assert (row, column, cells) == (0, 2, (9, 4))
    np.testing.assert_array_equal(image, picture)
    assert shown.line(0) == "abc"  # the cursor is where it was


def test_kitty_sends_several_commands():
    assert kitty(noise(60, 80), 1, 1).count("\x1b_G") == kitty(noise(60, 80), 1, 1).count("\x1b\\") > 3
    assert kitty(noise(1, 1), 1, 1).count("\x1b_G") == 1


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sixel_of_few_colors_is_exact_to_a_percent(size):
    picture = noise(*size).quantize(200, dither=Image.Dither.NONE).convert("RGB")
    [(_, _, image, _)] = screen(sixel(picture)).pictures
    assert image.size == picture.size
    assert np.abs(np.asarray(image, int) - np.asarray(picture)).max() <= 3  # 1 % of 255, rounded twice


def test_sixel_of_many_colors_is_close():
    ramp = np.stack(np.meshgrid(np.arange(0, 256, 2), np.arange(0, 256, 4)), -1)
    picture = Image.fromarray(np.concatenate([ramp, ramp[..., :1] // 2], -1).astype(np.uint8))
    [(_, _, image, _)] = screen(sixel(picture)).pictures
    assert np.abs(np.asarray(image, int) - np.asarray(picture)).mean() < 8


def test_sixel_runs_are_short():
    assert len(sixel(Image.new("RGB", (500, 500)))) < 1000


@pytest.mark.parametrize("truecolor", [True, False])
@pytest.mark.parametrize("size", [(2, 1), (6, 5), (20, 20), (7, 3)], ids=str)
def test_half_blocks_have_two_pixels_a_cell(size, truecolor):
    picture = noise(*size)
    shown = screen("\n".join(half_blocks(picture, truecolor)) + "x")
    pixels = np.asarray(picture).astype(int)
    for row, column in np.ndindex(size[0] // 2, size[1]):
        character, above, below = shown.cells[row, column]
        assert character == "▀"
        for found, want in ((above, pixels[2 * row, column]), (below, pixels[2 * row + 1, column])):
            difference = np.abs(np.subtract(found, want)).max()
            assert difference == 0 if truecolor else difference <= 48  # half of the cube's widest step
    assert shown.cells[max(size[0] // 2 - 1, 0), size[1]] == ("x", None, None)  # colors end with the line


def test_grays_have_their_own_colors_among_256():
    ramp = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)[None].repeat(2, 0))
    shown = screen(half_blocks(ramp, truecolor=False)[0])
    assert max(abs(shown.cells[0, v][1][0] - v) for v in range(256)) <= 10


@pytest.mark.parametrize(
    ("size", "room", "want"),
    [
        ((8, 8), (160, 160), (160, 160)),
        ((10, 40), (20, 20), (20, 5)),
        ((400, 10), (20, 20), (1, 20)),
        ((1, 9), (3, 9), (3, 1)),
    ],
)
def test_a_picture_fits_with_its_shape(size, room, want):
    assert fitted(noise(*size), *room).size == want


def test_growing_keeps_pixels_sharp():
    np.testing.assert_array_equal(fitted(noise(3, 3), 12, 12), np.asarray(noise(3, 3)).repeat(4, 0).repeat(4, 1))
    assert fitted(Image.new("L", (3, 3), 200), 1, 1).getpixel((0, 0)) == (200, 200, 200)


@pytest.mark.parametrize(
    ("values", "width", "low", "high", "want"),
    [
        ([], 8, 0, 1, ""),
        ([0.5], 8, 0.5, 0.5, "▁"),
        ([3, 2, 1, 0], 4, 0, 3, "█▆▃▁"),
        ([0, 0, 4, 4], 2, 0, 4, "▁█"),
        ([float("inf"), 1], 2, 0, 1, "×█"),
        ([-5, 9], 2, 0, 1, "▁█"),
        (range(100), 5, 0, 99, "▂▃▅▆▇"),
    ],
)
def test_sparklines(values, width, low, high, want):
    assert sparkline(list(values), width, low, high) == want
