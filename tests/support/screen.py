"""A terminal for tests, written from the manuals and not from our encoders: what text and pictures look like on it.

xterm's control sequences (ctlseqs), kitty's graphics protocol, and sixels by the VT330/VT340 manual.
"""

import base64
import dataclasses
import io
import re

import numpy as np
from PIL import Image

TOKEN = re.compile(
    r"\x1b_G(?P<apc>.*?)\x1b\\|\x1bP(?P<dcs>.*?)\x1b\\|\x1b\[(?P<csi>[\d;]*)(?P<final>[A-Za-z])|\x1b(?P<esc>[78])|(?P<c>.)",
    re.S,
)


@dataclasses.dataclass
class Screen:
    """Cells {(row, column): (character, foreground, background)}, and pictures (row, column, image, cells or None)."""

    cells: dict
    pictures: list

    def line(self, row):
        columns = [column for at, column in self.cells if at == row]
        text = "".join(self.cells.get((row, column), (" ",))[0] for column in range(max(columns, default=-1) + 1))
        return text.rstrip()


def screen(text):
    """What is on a terminal of unlimited size after a text. Raises AssertionError at a sequence that is unknown."""
    found, row, column, saved, colors, pending = Screen({}, []), 0, 0, (0, 0), [None, None], None
    for token in TOKEN.finditer(text.replace("\r\n", "\n")):
        if token["apc"] is not None:
            control, _, data = token["apc"].partition(";")
            keys = dict(pair.split("=") for pair in control.split(","))
            assert len(token["apc"]) <= 4096 + 64
            pending = (keys, data) if pending is None else (pending[0], pending[1] + data)
            if keys["m"] == "0":
                first, data = pending
                assert (first["a"], first["f"], first["q"], first["C"]) == ("T", "100", "2", "1")
                image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
                found.pictures.append((row, column, image.convert("RGB"), (int(first["c"]), int(first["r"]))))
                pending = None
        elif token["dcs"] is not None:
            found.pictures.append((row, column, sixels(token["dcs"]), None))
        elif token["esc"]:
            if token["esc"] == "7":
                saved = row, column
            else:
                row, column = saved
        elif token["final"]:
            numbers = [int(n or 0) for n in token["csi"].split(";")]
            if token["final"] == "m":
                colors = styled(colors, numbers)
            elif token["final"] == "A":
                row -= numbers[0]
                assert row >= 0
            elif token["final"] == "C":
                column += numbers[0]
            else:
                raise AssertionError(token[0])
        elif token["c"] == "\n":
            row, column = row + 1, 0
        else:
            assert token["c"].isprintable(), token[0]
            found.cells[row, column] = (token["c"], *colors)
            column += 1
    assert pending is None
    return found


def styled(colors, numbers):
    """Foreground and background after an SGR sequence."""
    colors = list(colors)
    while numbers:
        first, *numbers = numbers
        if first == 0:
            colors = [None, None]
        elif first in (38, 48):
            count = {2: 3, 5: 1}[numbers[0]]
            value, numbers = numbers[1 : 1 + count], numbers[1 + count :]
            colors[first == 48] = tuple(value) if count == 3 else xterm(value[0])
    return colors


def xterm(number):
    """One of the colors 16 to 255."""
    assert 16 <= number <= 255
    if number >= 232:
        return (8 + 10 * (number - 232),) * 3
    return tuple([0, 95, 135, 175, 215, 255][(number - 16) // base % 6] for base in (36, 6, 1))


def sixels(text):
    """The image of a sixel sequence; every pixel must have been painted exactly once."""
    head, body = text.split("q", 1)
    assert head == "0;1"
    raster = re.match(r'"1;1;(\d+);(\d+)', body)
    width, height = int(raster[1]), int(raster[2])
    pixels, painted = np.zeros((-(-height // 6) * 6, width, 3), np.uint8), np.zeros((-(-height // 6) * 6, width), int)
    palette, color, top, left = {}, None, 0, 0
    for token in re.finditer(
        r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|([$-])|(.)", body[raster.end() :], re.S
    ):
        number, *levels = token.groups()[:4]
        assert token[9] is None, token[0]
        if number is not None:
            color = int(number)
            if levels[0] is not None:
                palette[color] = [round(int(level) * 2.55) for level in levels]
        elif token[8] == "$":
            left = 0
        elif token[8] == "-":
            top, left = top + 6, 0
        else:
            times, bits = int(token[5] or 1), ord(token[6] or token[7]) - 63
            for bit in range(6):
                if bits >> bit & 1:
                    pixels[top + bit, left : left + times] = palette[color]
                    painted[top + bit, left : left + times] += 1
            left += times
            assert left <= width
    assert (painted[:height] == 1).all()
    assert not painted[height:].any()
    return Image.fromarray(pixels[:height])
