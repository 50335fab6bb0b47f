"""Draw and animate a window sliding over its input, the picture that explains a convolution."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxconv import geometry
from jaxconv._base.errors import ShapeError, count
from jaxconv._base.types import Ints, Padding
from jaxconv.engine.window import window
from jaxconv.viz.grid import COLORS, INPUT, PADDING, PAPER, TAP, UNIT, draw_grid, hatch, rows_and_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["animate_window", "draw_window"]


_MOST_FRAMES = 1024
_NEARLY_WHITE = 240
_WIDEST = 5.5
_GAP = 0.9


def draw_window(
    size: Ints,
    kernel: Ints,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    position: Ints = 0,
) -> Figure:
    """Draw the input with the taps of one window, the output unit that they produce, and the formula.

    Padding is hatched. The taps of a dilated window are spread within its outline.

    Args:
      size: cells of the input; an int for a square image, (rows, columns), or (cells,) for a signal.
      kernel, stride, padding, dilation: as in `jaxconv.conv`.
      position: output unit: its index, or its number in row-major order.

    Returns:
      A figure of two axes, input and output, and a text with the unit's receptive field.

    Raises:
      ShapeError: if there are more than two axes, the position does not exist, or the window is invalid.

    >>> figure = draw_window(7, 3, stride=2, padding="same", position=(1, 2))
    >>> figure.axes[0].get_title(), figure.axes[1].get_xlabel()
    ('input 7×7, padded to 9×9', 'output 4×4')
    >>> figure.texts[-1].get_text()
    'unit (1, 2) sees rows 1 to 3 and columns 3 to 5'
    """
    picture = _Picture(size, kernel, stride, padding, dilation)
    picture.move(position)
    return picture.figure


def animate_window(
    size: Ints,
    kernel: Ints,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    *,
    seconds: float = 0.4,
    dpi: int = 80,
) -> bytes:
    """Animate the window over all positions, row by row.

    Args:
      size, kernel, stride, padding, dilation: as in `draw_window`.
      seconds: duration of each position.
      dpi: dots per inch.

    Returns:
      The bytes of a looping GIF.

    Raises:
      ShapeError: as in `draw_window`, or if the output has more than 1024 units.

    >>> animate_window((4,), (2,), dpi=40)[:6]
    b'GIF89a'
    """
    from PIL import Image

    picture = _Picture(size, kernel, stride, padding, dilation)
    units = math.prod(picture.window.out)
    if units > _MOST_FRAMES:
        raise ShapeError(
            f"an animation has at most {_MOST_FRAMES} positions",
            got=f"{units} units of output",
            fix="a smaller input or a larger stride; draw_window for one position",
        )
    if not seconds > 0:
        raise ShapeError("seconds must be positive", got=f"{seconds=}")
    drawn = _frames(picture, [0, units - 1, *range(units)], dpi)
    # One palette for all frames, or colors would flicker; padding, if any, appears at the first or last position.
    palette = Image.fromarray(np.concatenate([next(drawn), next(drawn)])).quantize(64)
    colors = np.reshape(palette.getpalette() or [], (-1, 3))
    palette.putpalette(np.where((colors > _NEARLY_WHITE).all(1, keepdims=True), 255, colors).ravel().tolist())
    frames = [Image.fromarray(pixels).quantize(palette=palette, dither=Image.Dither.NONE) for pixels in drawn]
    stream = io.BytesIO()
    milliseconds = round(1000 * seconds)
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
    return stream.getvalue()


def _frames(picture: _Picture, positions: Sequence[int], dpi: int) -> Iterator[np.ndarray]:
    """RGB frames [H, W, 3]; the static part is drawn once."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    picture.figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(picture.figure)
    for artist in picture.moving:
        artist.set_animated(True)
    canvas.draw()
    still = canvas.copy_from_bbox(picture.figure.bbox)
    for position in positions:
        picture.move(position)
        canvas.restore_region(still)
        for artist in picture.moving:
            artist.draw(canvas.get_renderer())
        yield np.array(canvas.buffer_rgba())[..., :3]


class _Picture:
    """A figure with a movable window. A signal is one row of cells, with its output below."""

    def __init__(self, size: Ints, kernel: Ints, stride: Ints, padding: Padding, dilation: Ints):
        from matplotlib.figure import Figure

        self.shape = tuple(size) if isinstance(size, Sequence) else (geometry.integer(size, "size"),) * 2
        if len(self.shape) not in (1, 2):
            fix = "size=28 for an image, size=(28,) for a signal"
            raise ShapeError("a drawing has one or two spatial axes", got=f"size={size!r}", fix=fix)
        geometry.per_axis(self.shape, len(self.shape), "size")
        self.window = window(self.shape, kernel, stride=stride, padding=padding, dilation=dilation, op="conv")
        self.flat = len(self.shape) == 1
        lows, highs = zip(*self.window.padding, strict=True)
        self.low = rows_and_columns(lows, 0)
        self.padded = rows_and_columns(
            [low + n + high for low, n, high in zip(lows, self.shape, highs, strict=True)], 1
        )
        self.out = rows_and_columns(self.window.out, 1)

        texts = self._formula()
        (rows, columns), (out_rows, out_columns) = self.padded, self.out
        cell = min(0.42, _WIDEST / max(rows, columns, out_rows, out_columns))
        if self.flat:
            width, height = cell * max(columns, out_columns), cell * 2 + _GAP
        else:
            width, height = cell * (columns + out_columns) + _GAP, cell * max(rows, out_rows)
        left, below, above = 0.6, 0.55 + 0.22 * (len(texts) + 1), 0.75
        sides = max(width, 5.2)
        self.figure = Figure(figsize=(sides + 2 * left, height + below + above))
        left += (sides - width) / 2
        top = self.figure.get_size_inches()[1] - above

        def place(start: float, end: float, rows: int, columns: int) -> Axes:
            box = np.array([start, end - cell * rows, cell * columns, cell * rows])
            return self.figure.add_axes(tuple(box / np.tile(self.figure.get_size_inches(), 2)))

        if self.flat:
            self.input = place(left + (width - cell * columns) / 2, top, 1, columns)
            self.output = place(left + (width - cell * out_columns) / 2, top - cell - _GAP, 1, out_columns)
        else:
            self.input = place(left, top - (height - cell * rows) / 2, rows, columns)
            start = left + cell * columns + _GAP
            self.output = place(start, top - (height - cell * out_rows) / 2, out_rows, out_columns)
        # The output's labels are on the sides with few lines from the window, and drawn over those.
        self.seen, lines = draw_grid(self.input, self._bare(), self.low, self.shape, cell, below=False)
        self.unit, more = draw_grid(self.output, self._empty(), (0, 0), self.window.out, cell, below=True)
        strips = hatch(self.input, self.low, rows_and_columns(self.shape, 1), self.padded)
        self._titles()
        self._outline()
        for number, line in enumerate(texts):
            y = (0.22 * (len(texts) - number) - 0.02) / self.figure.get_size_inches()[1]
            self.figure.text(0.5, y, line, ha="center", va="center", fontsize=9)
        self.told = self.figure.text(0.5, 1 - 0.14 / self.figure.get_size_inches()[1], "", ha="center", va="top")
        self.told.set_fontsize(10)
        words = [self.output.xaxis, self.output.yaxis, self.told]
        self.moving = [self.seen, *strips[:-1], *lines, strips[-1], self.box, *self.lines, self.unit, *more, *words]

    def move(self, position: Ints) -> None:
        """Show the window of one unit."""
        unit = _index(position, self.window.out)
        taps = [
            [o * s + tap * d for tap in range(k)]
            for o, k, s, d in zip(unit, self.window.kernel_size, self.window.stride, self.window.dilation, strict=True)
        ]
        cells = self._bare()
        rows, columns = rows_and_columns(taps, [0])
        cells[np.ix_(rows, columns)] += TAP - INPUT
        self.seen.set_data(cells)
        output = self._empty()
        output[rows_and_columns(unit, 0)] = UNIT
        self.unit.set_data(output)
        self.box.set_bounds(columns[0] - 0.5, rows[0] - 0.5, columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
        self._join((rows[0] - 0.5, rows[-1] + 0.5), (columns[0] - 0.5, columns[-1] + 0.5), rows_and_columns(unit, 0))
        self.told.set_text(self._sentence(unit, taps))

    def _bare(self) -> np.ndarray:
        cells = np.full(self.padded, PADDING)
        (row, column), (rows, columns) = self.low, rows_and_columns(self.shape, 1)
        cells[row : row + rows, column : column + columns] = INPUT
        return cells

    def _empty(self) -> np.ndarray:
        return np.full(self.out, INPUT)

    def _titles(self) -> None:
        padded = _times(self.padded[1 if self.flat else 0 :])
        added = f", padded to {padded}" if any(map(any, self.window.padding)) else ""
        self.input.set_title(f"input {_times(self.shape)}{added}", fontsize=9, pad=14)
        self.output.set_xlabel(f"output {_times(self.window.out)}", fontsize=9, bbox=PAPER)
        self.output.set_zorder(2)

    def _outline(self) -> None:
        """The outline of the window, and two lines from it to its unit."""
        from matplotlib.patches import ConnectionPatch, Rectangle

        self.box = Rectangle((0, 0), 1, 1, fill=False, edgecolor=COLORS[UNIT], linewidth=2.2, zorder=4)
        self.box.set_clip_on(False)
        self.input.add_patch(self.box)
        style: dict[str, Any] = {"color": COLORS[UNIT], "linewidth": 0.9, "zorder": 1}
        self.lines = [
            ConnectionPatch((0, 0), (0, 0), "data", "data", axesA=self.input, axesB=self.output, **style)
            for _ in range(2)
        ]
        for line in self.lines:
            self.figure.add_artist(line)

    def _join(self, rows: Sequence[float], columns: Sequence[float], unit: Sequence[int]) -> None:
        row, column = unit
        if self.flat:
            ends = [((c, rows[1]), (column + side, row - 0.5)) for c, side in zip(columns, (-0.5, 0.5), strict=True)]
        else:
            ends = [((columns[1], r), (column - 0.5, row + side)) for r, side in zip(rows, (-0.5, 0.5), strict=True)]
        for line, (start, end) in zip(self.lines, ends, strict=True):
            line.xy1, line.xy2 = start, end

    def _sentence(self, unit: Sequence[int], taps: Sequence[Sequence[int]]) -> str:
        """unit (1, 2) sees rows 1 to 3 and columns 3 to 5, as cells of the input."""
        seen = [[tap - low for tap in axis] for axis, (low, _) in zip(taps, self.window.padding, strict=True)]
        words = ("cell",) if self.flat else ("row", "column")
        spans = [_spoken(word, axis, n) for word, axis, n in zip(words, seen, self.shape, strict=True)]
        return f"unit {unit[0] if self.flat else tuple(unit)} sees {' and '.join(spans)}"

    def _formula(self) -> list[str]:
        """The formula with its numbers: once where both axes have the same."""
        win = self.window
        columns = zip(self.shape, win.kernel_size, win.stride, win.padding, win.dilation, strict=True)
        texts = [f"out = {geometry.formula(*column)}" for column in columns]
        if len(set(texts)) > 1:
            texts = [f"{word}: {text}" for word, text in zip(("rows", "columns"), texts, strict=True)]
        return ["out = floor((n + lo + hi - d*(k - 1) - 1) / s) + 1", *dict.fromkeys(texts)]


def _index(position: Ints, out: Sequence[int]) -> tuple[int, ...]:
    """The index of a unit, given its index or its number."""
    if isinstance(position, Sequence) and not isinstance(position, str):
        index = tuple(geometry.integer(p, "position", 0) for p in position)
        if len(index) == len(out) and all(p < o for p, o in zip(index, out, strict=True)):
            return index
    elif (number := geometry.integer(position, "position", 0)) < math.prod(out):
        return tuple(int(i) for i in np.unravel_index(number, out))
    last = tuple(o - 1 for o in out)
    raise ShapeError(
        f"position must be one of the {count(math.prod(out), 'unit')} of an output of {_times(out)}",
        got=f"position={position!r}",
        fix=f"at most {math.prod(out) - 1}, or {last if len(last) > 1 else f'({last[0]},)'}",
    )


def _spoken(word: str, cells: Sequence[int], n: int) -> str:
    """Ranges of input cells as text; cells outside the input are padding."""
    inside = [cell for cell in cells if 0 <= cell < n]
    if not inside:
        return f"no {word} but padding"
    step = cells[1] - cells[0] if len(cells) > 1 else 1
    text = f"{inside[0]} to {inside[-1]}" if len(inside) > 2 else " and ".join(map(str, inside))
    every = f" by {step}" if step > 1 and len(inside) > 2 else ""
    outside = len(cells) - len(inside)
    return f"{word if len(inside) == 1 else f'{word}s'} {text}{every}" + (f" ({outside} of padding)" if outside else "")


def _times(cells: Sequence[int]) -> str:
    return "×".join(map(str, cells))
