"""Small pictures and curves for terminals: kitty's graphics protocol, sixel, half blocks, sparklines."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxconv.viz.style import encoded

__all__ = ["fitted", "half_blocks", "kitty", "sixel", "sparkline"]

_CHUNK = 4096  # most characters of a command of kitty's protocol
_CUBE = np.array([0, 95, 135, 175, 215, 255])
_XTERM = np.array([*itertools.product(_CUBE, repeat=3), *([8 + 10 * i] * 3 for i in range(24))])  # colors 16 to 255
_BARS = "▁▂▃▄▅▆▇█"


def fitted(picture: Any, width: int, height: int) -> Any:
    """A `PIL.Image` at the largest size of its shape within width × height; pixels stay sharp when it grows.

    >>> from PIL import Image
    >>> fitted(Image.new("RGB", (8, 4)), 100, 100).size
    (100, 50)
    """
    from PIL import Image

    scale = min(width / picture.width, height / picture.height)
    size = [max(1, round(side * scale)) for side in picture.size]
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return picture.convert("RGB").resize(size, method)


def kitty(picture: Any, columns: int, rows: int) -> str:
    """The commands that draw a `PIL.Image` over so many cells, by kitty's graphics protocol, cursor unmoved.

    The terminal answers nothing (q=2). See https://sw.kovidgoyal.net/kitty/graphics-protocol/.

    >>> from PIL import Image
    >>> kitty(Image.new("RGB", (2, 2)), 4, 2)[:37]
    '\\x1b_Ga=T,f=100,q=2,C=1,c=4,r=2,m=0;iVBO'
    """
    data = base64.b64encode(encoded(picture)).decode()
    chunks = [data[i : i + _CHUNK] for i in range(0, len(data), _CHUNK)]
    first = f"a=T,f=100,q=2,C=1,c={columns},r={rows},"
    return "".join(
        f"\x1b_G{'' if i else first}m={int(i < len(chunks) - 1)};{chunk}\x1b\\" for i, chunk in enumerate(chunks)
    )


def sixel(picture: Any) -> str:
    """The sixel commands that draw a `PIL.Image`, in at most 256 colors.

    Source: VT330/VT340 Programmer Reference Manual, volume 2 (1988), chapter 14.

    >>> from PIL import Image
    >>> sixel(Image.new("RGB", (5, 6), (255, 0, 0)))
    '\\x1bP0;1q"1;1;5;6#0;2;100;0;0#0!5~\\x1b\\\\'
    """
    from PIL import Image

    indexed = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    pixels = np.asarray(indexed)
    palette = np.array(indexed.getpalette()).reshape(-1, 3)
    used = np.unique(pixels)
    colors = (f"#{c};2;{';'.join(str(round(v / 2.55)) for v in palette[c])}" for c in used)
    bands = (_band(pixels[top : top + 6]) for top in range(0, len(pixels), 6))
    return f'\x1bP0;1q"1;1;{picture.width};{picture.height}{"".join(colors)}{"-".join(bands)}\x1b\\'


def _band(pixels: np.ndarray) -> str:
    """Six rows: for each color the bits of every column, in runs."""
    weights = 1 << np.arange(len(pixels))
    lines = (f"#{c}" + _runs(chr(63 + bits) for bits in weights @ (pixels == c)) for c in np.unique(pixels))
    return "$".join(lines)


def _runs(characters: Any) -> str:
    found = ((character, len([*group])) for character, group in itertools.groupby(characters))
    return "".join(f"!{n}{character}" if n > 3 else character * n for character, n in found)


def half_blocks(picture: Any, truecolor: bool = True) -> list[str]:
    """Lines of ▀, whose colors are two rows of pixels of a `PIL.Image`, one cell a column.

    Args:
      picture: the image; a last row of an odd number is left out.
      truecolor: 24-bit colors; else the nearest of xterm's 256.

    >>> from PIL import Image
    >>> half_blocks(Image.new("RGB", (3, 2), (255, 0, 0)))
    ['\\x1b[38;2;255;0;0;48;2;255;0;0m▀▀▀\\x1b[0m']
    """
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    words = [[f"2;{r};{g};{b}" if truecolor else f"5;{_nearest(r, g, b)}" for r, g, b in row] for row in pixels]
    lines = []
    for upper, lower in zip(words[::2], words[1::2], strict=False):
        cells = ((pair, len([*group])) for pair, group in itertools.groupby(zip(upper, lower, strict=True)))
        lines.append("".join(f"\x1b[38;{above};48;{below}m" + "▀" * n for (above, below), n in cells) + "\x1b[0m")
    return lines


def _nearest(*color: int) -> int:
    """The nearest of xterm's colors 16 to 255, which themes leave as they are."""
    return 16 + int(((_XTERM - color) ** 2).sum(axis=1).argmin())


def sparkline(values: Sequence[float], width: int, low: float, high: float) -> str:
    """A curve as at most `width` block characters: means of equal parts; × for what is not finite.

    Args:
      values: of the curve.
      width: number of characters.
      low, high: values of the lowest and the highest block.

    >>> sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8, 0, 7), sparkline([1, float("nan"), 0, 0], 2, 0, 1)
    ('▁▂▃▄▅▆▇█', '×▁')
    """
    parts = np.array_split(np.asarray(values, float), min(width, len(values))) if len(values) else []
    means = [float(part.mean()) for part in parts]
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        _BARS[round(min(max((v - low) * scale, 0), len(_BARS) - 1))] if np.isfinite(v) else "×" for v in means
    )
