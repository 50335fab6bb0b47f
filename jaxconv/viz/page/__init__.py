"""The page of a run, or of several beside each other: one HTML file without any other."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from jaxconv.viz.kernels import kernel_pixels
from jaxconv.viz.style import encoded, rgb

__all__ = ["data_uri", "draw_page", "kernel_picture", "picture", "small_picture", "sprite"]

SIDE = 48
"""Longest side of a thumbnail in pixels."""
SMALL, TINY = 112, 32
"""Longest side of a small picture, and of one whose pixels are shown as they are."""


def draw_page(runs: Sequence[Mapping[str, Any]]) -> str:
    """The page as HTML.

    Args:
      runs: what the page shows of each run, see `jaxconv.run.page`; numbers must be finite. Text is shown as it is,
        whatever characters it has.

    >>> page = draw_page([{"name": "<script>"}])
    >>> "<script>" in page.split('type="application/json">')[1].split("</script>")[0]
    False
    """
    parts = {name: (files(__name__) / f"page.{name}").read_text("utf-8") for name in ("html", "css", "js")}
    data = json.dumps(list(runs), allow_nan=False, separators=(",", ":"))
    for plain, escaped in (("<", "\\u003c"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029")):
        data = data.replace(plain, escaped)
    html = parts["html"].replace("/*CSS*/", parts["css"]).replace("/*JS*/", parts["js"])
    before, after = html.split("/*DATA*/")
    return before + data + after


def data_uri(content: bytes, kind: str = "png") -> str:
    """A PNG or JPEG file as the address of an image in a page.

    >>> data_uri(b"abc")
    'data:image/png;base64,YWJj'
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def small_picture(pixels: np.ndarray) -> str:
    """The address of a picture of at most 112 pixels each way: a PNG if it is tiny, else a JPEG.

    Args:
      pixels: [H, W, C] in 0..1, of 1 or 3 channels.

    >>> small_picture(np.zeros([200, 100, 3]))[:22]
    'data:image/jpeg;base64'
    """
    shown = rgb(pixels, 1)
    if max(shown.size) <= TINY:
        return data_uri(encoded(shown))
    shown.thumbnail((SMALL, SMALL))
    stream = io.BytesIO()
    shown.save(stream, "JPEG", quality=85)
    return data_uri(stream.getvalue(), "jpeg")


def sprite(images: Sequence[np.ndarray], peak: float) -> dict[str, Any]:
    """Small copies of images in one picture, row by row.

    Args:
      images: each [H, W, C] of 1 or 3 channels, in 0..peak.
      peak: the value of white.

    Returns:
      `src`, the picture as an address; `side`, the pixels of each square; `across`, squares in a row.

    >>> sprite([np.zeros([28, 20, 1])] * 3, 255)["side"]
    28
    """
    from PIL import Image

    side = min(SIDE, max((max(image.shape[:2]) for image in images), default=1))
    across = max(1, int(np.ceil(np.sqrt(len(images)))))
    whole = Image.new("RGB", (across * side, max(1, -(-len(images) // across)) * side), (128, 128, 128))
    for number, pixels in enumerate(images):
        picture = rgb(pixels, peak)
        picture.thumbnail((side, side))
        left, top = (side - picture.width) // 2, (side - picture.height) // 2
        whole.paste(picture, (number % across * side + left, number // across * side + top))
    return {"src": data_uri(encoded(whole)), "side": side, "across": across}


def picture(pixels: np.ndarray, peak: float) -> dict[str, Any]:
    """An image [H, W, C] of 1 or 3 channels in 0..peak: its address and its size."""
    return {"src": data_uri(encoded(rgb(pixels, peak))), "height": pixels.shape[0], "width": pixels.shape[1]}


def kernel_picture(kernel: Any) -> dict[str, Any]:
    """All kernels of a convolution side by side, with words on them.

    Args:
      kernel: [kh, kw, C_in, C_out].

    >>> kernel_picture(np.ones([3, 3, 1, 4]))["words"]
    '4 kernels of 3×3; blue is negative, red positive'
    """
    from PIL import Image

    pixels, words = kernel_pixels(kernel)
    width = max(160, min(420, 8 * pixels.shape[1]))
    shown = Image.fromarray(pixels)
    if kernel.shape[:2] == (1, 1):  # a byte for each weight
        shown = shown.quantize(256, dither=Image.Dither.NONE)
    return {"src": data_uri(encoded(shown)), "width": width, "words": words}
