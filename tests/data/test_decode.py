"""Photographs as squares, against resampling written out in NumPy."""

import threading
import time

import numpy as np
import pytest
from PIL import Image, ImageOps

from jaxconv._base.errors import DataError
from jaxconv.data.decode import INTERPOLATIONS, in_threads, read_square, read_whole


def lanczos(length, start, side, size):
    """Rows that resample `length` pixels, from `start` on for `side`, to `size`: Lanczos of 3 lobes."""
    scale = side / size
    width = max(scale, 1.0)
    centers = start + (np.arange(size) + 0.5) * scale - 0.5
    distance = (np.arange(length) - centers[:, None]) / width
    rows = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    return rows / rows.sum(1, keepdims=True)


@pytest.mark.parametrize("shape", [(40, 40), (64, 37), (37, 64), (16, 90), (9, 7), (16, 16)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_shorter_side_is_resized_and_the_middle_kept(tmp_path, rng, shape, channels):
    pixels = rng.integers(0, 256, (*shape, 3) if channels == 3 else shape).astype(np.uint8)
    path = tmp_path / "x.png"
    Image.fromarray(pixels).save(path)
    found = read_square(path, 16, channels)
    assert (found.shape, found.dtype) == ((16, 16, channels), np.uint8)
    side = min(shape)
    rows, columns = (lanczos(length, (length - side) / 2, side, 16) for length in shape)
    # Pillow keeps 8 bits between the two passes.
    across = np.einsum("jw,hwc->hjc", columns, pixels.reshape(*shape, -1).astype(np.float64))
    expected = np.einsum("ih,hjc->ijc", rows, np.round(np.clip(across, 0, 255)))
    assert np.abs(found - np.clip(expected, 0, 255)).max() <= 1.5


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_every_filter_is_pillows(tmp_path, rng, interpolation):
    """Of a whole image and of a crop; a JPEG four times as large is decoded at half its size, but for the nearest."""
    pixels = np.asarray(Image.fromarray(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)).resize((96, 72)))
    filter = getattr(Image.Resampling, interpolation.upper())
    Image.fromarray(pixels).save(tmp_path / "x.png")
    want = Image.fromarray(pixels).resize((16, 16), filter, box=(12, 0, 84, 72))
    np.testing.assert_array_equal(read_square(tmp_path / "x.png", 16, interpolation=interpolation), np.asarray(want))
    want = Image.fromarray(pixels).resize((32, 24), filter)
    np.testing.assert_array_equal(read_whole(tmp_path / "x.png", 24, interpolation=interpolation), np.asarray(want))
    Image.fromarray(pixels).save(tmp_path / "x.jpg", quality=95)
    with Image.open(tmp_path / "x.jpg") as whole:
        if interpolation != "nearest":
            whole.draft("RGB", (32, 32))
        side = whole.height
        left = (whole.width - side) / 2
        want = whole.resize((16, 16), filter, box=(left, 0, left + side, side))
    np.testing.assert_array_equal(read_square(tmp_path / "x.jpg", 16, interpolation=interpolation), np.asarray(want))


def test_a_reduced_jpeg_is_near_the_whole_one(tmp_path, rng):
    smooth = rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)
    picture = Image.fromarray(smooth).resize((640, 480), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "x.jpg", quality=95)
    with Image.open(tmp_path / "x.jpg") as whole:
        expected = np.asarray(ImageOps.fit(whole, (32, 32), Image.Resampling.LANCZOS), np.float64)
    assert np.abs(read_square(tmp_path / "x.jpg", 32) - expected).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_as_the_camera_was_held(tmp_path, orientation):
    upright = np.zeros([32, 32, 3], np.uint8)
    upright[:16, :16] = 255
    upright[:8, 16:] = 120
    turned = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(turned)).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(read_square(tmp_path / "x.png", 32), upright)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK", "I;16", "YCbCr"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode(tmp_path, mode, channels):
    gray = np.zeros([24, 24], np.uint8)
    gray[6:18, 6:18] = 255
    path = tmp_path / ("x.tiff" if mode in ("CMYK", "YCbCr") else "x.png")
    if mode == "I;16":
        Image.fromarray(gray.astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(gray).convert("RGB").convert(mode).save(path)
    found = read_square(path, 24, channels)
    np.testing.assert_allclose(found, np.repeat(gray[..., None], channels, -1), atol=2)


def test_what_is_transparent_is_white(tmp_path):
    layer = np.zeros([8, 8, 4], np.uint8)
    layer[2:4, 2:4] = (10, 20, 30, 255)
    Image.fromarray(layer).save(tmp_path / "x.png")
    found = read_square(tmp_path / "x.png", 8)
    np.testing.assert_array_equal(found[2, 2], [10, 20, 30])
    np.testing.assert_array_equal(found[0, 0], [255, 255, 255])


def test_an_absurdly_large_picture_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    Image.new("L", (40, 30)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match="is too large a picture"):
        read_square(path, 8)


def test_a_broken_head_never_escapes_as_another_error(tmp_path, rng):
    """Whatever bytes are wrong: an image, or DataError with the file's name."""
    path = tmp_path / "x.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rng.integers(0, 256, (30, 30, 3)).astype(np.uint8)).save(path, exif=exif)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(150):
        broken = whole.copy()
        places = rng.integers(2, 250, 4)
        broken[places] = rng.integers(0, 256, 4)
        path.write_bytes(broken.tobytes())
        try:
            assert read_square(path, 8).shape == (8, 8, 3)
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017


def test_threads_keep_order_and_stop_at_an_error():
    def slow(number):
        time.sleep(0.002 * (5 - number % 5))
        return number

    assert list(in_threads(slow, range(40), 8)) == list(range(40))
    called = []

    def fails(number):
        called.append(number)
        time.sleep(0.001)
        if number == 3:
            raise DataError("three")

    with pytest.raises(DataError, match="three"):
        list(in_threads(fails, range(10_000), 2))
    assert len(called) < 1000
    assert threading.active_count() < 10
