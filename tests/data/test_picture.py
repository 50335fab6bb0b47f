"""Pictures of all sizes and modes, fitted."""

import numpy as np
import pytest
from PIL import Image

from jaxconv._base.errors import DataError
from jaxconv.data.decode import read_square
from jaxconv.data.picture import read_picture


@pytest.fixture
def saved(tmp_path):
    def save(array, mode=None, name="x.png", **options):
        path = tmp_path / name
        picture = Image.fromarray(array)
        (picture.convert(mode) if mode else picture).save(path, **options)
        return path

    return save


def test_the_right_size_is_taken_as_it_is(saved, rng):
    pixels = rng.integers(0, 256, (28, 28)).astype(np.uint8)
    pixels[[0, -1]] = pixels[:, [0, -1]] = 0
    picture = read_picture(saved(pixels), (28, 28, 1), 255)
    assert not picture.inverted
    np.testing.assert_allclose(picture.pixels[..., 0], pixels, atol=1e-4)


def test_a_light_border_is_inverted_unless_forbidden(saved):
    paper = np.full((28, 28), 255, np.uint8)
    paper[10:18, 12:16] = 0
    path = saved(paper)
    seen = read_picture(path, (28, 28, 1), 16)
    assert seen.inverted
    np.testing.assert_allclose(seen.pixels[..., 0], (255 - paper.astype(np.float64)) / 255 * 16, atol=1e-4)
    assert not read_picture(path, (28, 28, 1), 16, invert=False).inverted
    assert not read_picture(path, (28, 28, 3), 255).inverted


def test_aspect_is_kept_and_the_rest_is_background(saved):
    wide = np.full((50, 100), 40, np.uint8)
    wide[15:35, 30:70] = 200
    pixels = read_picture(saved(wide), (30, 30, 1), 255).pixels[..., 0]
    expected = np.full((30, 30), 40.0)
    expected[12:18, 9:21] = 200  # 100 wide becomes 30 wide, so 20×40 becomes 6×12
    inner = np.zeros((30, 30), bool)
    inner[13:17, 10:20] = True
    far = np.abs(np.arange(30) - 14.5)[:, None] > 4
    np.testing.assert_allclose(pixels[inner], expected[inner], atol=0.01)
    np.testing.assert_allclose(np.where(far, pixels, 40), 40, atol=0.01)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (1000, 7)])
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3)])
def test_any_size_fits(saved, rng, size, shape):
    picture = read_picture(saved(rng.integers(0, 256, size).astype(np.uint8)), shape, 16)
    assert picture.pixels.shape == shape
    assert 0 <= picture.pixels.min() <= picture.pixels.max() <= 16 + 1e-4


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK"])
def test_modes_agree(saved, mode):
    drawn = np.zeros((28, 28, 3), np.uint8)
    drawn[8:20, 8:20] = 255
    path = saved(drawn, mode, "x.tiff" if mode == "CMYK" else "x.png")
    np.testing.assert_allclose(read_picture(path, (28, 28, 1), 1).pixels[..., 0], drawn[..., 0] / 255, atol=0.02)


@pytest.mark.parametrize("ink", [0, 255])
def test_transparency_contrasts_with_what_is_drawn(saved, ink):
    layered = np.zeros((28, 28, 4), np.uint8)
    layered[8:20, 8:20] = (ink, ink, ink, 255)
    pixels = read_picture(saved(layered), (28, 28, 1), 1).pixels[..., 0]
    assert pixels[14, 14] == pytest.approx(1)
    assert pixels[0, 0] == pytest.approx(0)


def test_sixteen_bits_are_scaled_and_not_clipped(saved):
    deep = np.zeros((28, 28), np.uint16)
    deep[10:20, 10:20] = 32768
    assert read_picture(saved(deep), (28, 28, 1), 255).pixels[15, 15, 0] == pytest.approx(127.5, abs=0.1)


def test_what_is_no_picture(tmp_path, saved):
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    half = saved(np.random.default_rng(0).integers(0, 256, (60, 60)).astype(np.uint8), name="half.png")
    half.write_bytes(half.read_bytes()[:800])
    for path, words in [
        (text, f"{text} is not a readable picture"),
        (half, f"cannot read {half}: "),
        (tmp_path / "none.png", f"cannot read {tmp_path / 'none.png'}: No such file or directory"),
        (tmp_path, f"cannot read {tmp_path}: Is a directory"),
    ]:
        with pytest.raises(DataError) as caught:
            read_picture(path, (28, 28, 1), 255)
        assert str(caught.value).startswith(words)


RAMP = np.tile(np.linspace(0, 1, 16, dtype=np.float32), (16, 1))


@pytest.mark.parametrize(
    "array",
    [RAMP, RAMP * 255, RAMP * 65535, (RAMP * 255).astype(np.int32), (RAMP * 65535).astype(np.int32),
     (RAMP * 65535).astype(np.uint16)],
    ids=["float 1", "float 255", "float 65535", "int 255", "int 65535", "uint16"],
)  # fmt: skip
def test_more_than_8_bits(saved, array):
    """By both readers, whatever the values' unit."""
    path = saved(array, name="x.tif")
    expected = np.repeat(255 * RAMP[..., None], 3, -1)
    np.testing.assert_allclose(read_square(path, 16), expected, atol=1.01)
    np.testing.assert_allclose(read_picture(path, (16, 16, 3), 255).pixels, expected, atol=1.01)


def test_dark_pictures_of_16_bits_stay_dark(saved):
    dark = (RAMP * 200).astype(np.uint16)
    for name in ("x.tif", "x.png", "x.ppm"):
        assert read_square(saved(dark, name=name), 16).max() <= 1, name


@pytest.mark.parametrize(("value", "found"), [(np.nan, "nan"), (np.inf, "inf"), (70000.0, "70000"), (-np.inf, "1")])
@pytest.mark.parametrize("read", [lambda path: read_square(path, 16), lambda path: read_picture(path, (8, 8, 1), 255)])
def test_values_that_mean_nothing(saved, read, value, found):
    array = RAMP.copy()
    array[3, 4] = value
    path = saved(array, name="x.tif")
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path} must have pixels of at most 65,535, and none that are NaN or infinite; found {found}"
    )


def test_a_format_that_is_a_program_is_not_run(saved, tmp_path, monkeypatch):
    """Pillow would hand EPS to Ghostscript, whatever the file's name says."""
    proof, gs = tmp_path / "it_ran", tmp_path / "gs"
    gs.write_text(f"#!/bin/sh\ntouch {proof}\n")
    gs.chmod(0o755)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", str(gs))
    path = tmp_path / "x.png"
    Image.new("L", (8, 8)).save(path, "EPS")
    with pytest.raises(DataError) as caught:
        read_square(path, 8)
    assert str(caught.value) == f"{path} is not a readable picture"
    assert not proof.exists()
