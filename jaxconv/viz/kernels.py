"""Kernels of a net's first convolution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxconv._base.errors import ShapeError, count
from jaxconv._base.types import Params
from jaxconv.layers.layer import Layer
from jaxconv.viz.training import inches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_kernels", "first_kernel", "kernel_pixels"]

_MOST = 64
_MOST_CHANNELS = 8
_MOST_BY_CHANNEL = 24
_MOST_OF_MATRIX = 96  # rows and columns
_TILE = 0.9  # inches of a kernel if there is room
_FINE = 12
_GAP = 1  # cells between two kernels
_BETWEEN = "#9A9A9A"  # not on the color scale, on which white is 0


def first_kernel(net: Layer, params: Params) -> tuple[str, Any] | None:
    """Path and kernel of the first layer, in definition order, with a kernel of two spatial axes.

    Args:
      net: a Layer.
      params: its own.

    Returns:
      (path, kernel [kh, kw, C_in, C_out]); None if no layer has one.

    >>> import jax
    >>> from jaxconv.layers import Conv, Dense, chain
    >>> net = chain(stem=Conv(8, 3), head=Dense(2))
    >>> path, kernel = first_kernel(net, net.init(jax.random.key(0), (1, 6, 6, 3))[0])
    >>> path, kernel.shape
    ('stem', (3, 3, 3, 8))
    """
    kernel = params.get("kernel") if isinstance(params, dict) else None
    if not net.parts or not set(net.parts) <= set(params):
        return (net.name, kernel) if getattr(kernel, "ndim", 0) == 4 else None
    for name, part in net.parts.items():
        if (found := first_kernel(part, params[name])) is not None:
            return (name if not part.parts else f"{name}/{found[0]}"), found[1]
    return None


def draw_kernels(kernel: Any, title: str = "") -> Figure:
    """Draw every kernel of a convolution on one scale.

    Kernels on three channels are shown in color, with gray for 0. Kernels on one channel form a grid; on any other
    number there is a row for each channel and a column for each kernel.

    Args:
      kernel: [kh, kw, C_in, C_out]; at most 64 kernels are drawn (24 on 8 channels if there are more than three).
      title: of the figure.

    Returns:
      A figure whose first axes is one image of all kernels.

    Raises:
      ShapeError: if the kernel has another number of axes, or is empty.

    >>> figure = draw_kernels(np.linspace(-1, 1, 5 * 5 * 20).reshape(5, 5, 1, 20), "conv0")
    >>> figure.axes[0].get_title()
    '20 kernels of 5×5'
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    kernel = np.asarray(kernel, np.float64)
    if kernel.ndim != 4 or not kernel.size:
        raise ShapeError("kernels are drawn from an array [kh, kw, C_in, C_out]", got=f"shape {kernel.shape}")
    height, width, channels, _ = kernel.shape
    colors, alone = channels == 3, channels in (1, 3)
    shown = _first(kernel)
    largest = float(np.abs(shown).max()) or 1.0
    fine = max(1, _FINE // max(height, width))  # makes the gap between kernels thinner than a weight
    tiles = _tiles(shown.repeat(fine, 0).repeat(fine, 1), *_grid(shown.shape))
    if colors:
        tiles = np.where(np.isnan(tiles), 1.0, 0.5 + tiles / (2 * largest))

    words = _words(kernel.shape, shown.shape)
    scale = f"as red, green and blue: gray is 0, white {largest:.2g} and black −{largest:.2g}" if colors else ""
    inch = min(_TILE / max(height, width) / fine, 8.5 / tiles.shape[1], 7.0 / tiles.shape[0])
    wide = max(
        tiles.shape[1] * inch + 1.5, *(inches(text, 9) + 0.5 for text in (words, scale)), inches(title, 10) + 0.5
    )
    figure = Figure(figsize=(wide, tiles.shape[0] * inch + (1.3 if colors else 0.9)), layout="constrained")
    axes = figure.subplots()
    if colors:
        axes.imshow(tiles, interpolation="nearest")
        axes.set_xlabel(scale, fontsize=8)
    else:
        cmap = colormaps["RdBu_r"].with_extremes(bad=_BETWEEN)
        image = axes.imshow(tiles, cmap=cmap, vmin=-largest, vmax=largest, interpolation="nearest")
        bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02)
        bar.set_label("weight", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    axes.set_title(words, fontsize=9)
    axes.spines[:].set_visible(False)
    axes.set(xticks=[], yticks=[])
    if not alone:
        rows = np.arange(shown.shape[2]) * (height * fine + _GAP) + (height * fine - 1) / 2
        axes.set_yticks(rows, [f"channel {i}" for i in range(len(rows))], fontsize=8)
        axes.tick_params(length=0)
    if title:
        figure.suptitle(title, fontsize=10, parse_math=False)
    return figure


def kernel_pixels(kernel: Any) -> tuple[np.ndarray, str]:
    """Every kernel of a convolution on one scale, a pixel for each weight, as `draw_kernels` arranges them.

    Kernels of one tap are a matrix with a row for each input channel and a column for each output channel.

    Args:
      kernel: [kh, kw, C_in, C_out].

    Returns:
      uint8 [rows, columns, 3], and words on what is shown.

    >>> pixels, words = kernel_pixels(np.linspace(-1, 1, 3 * 3 * 2).reshape(3, 3, 1, 2))
    >>> pixels.shape, words
    ((3, 7, 3), '2 kernels of 3×3; blue is negative, red positive')
    >>> kernel_pixels(np.ones([1, 1, 4, 120]))[1]
    '1×1: the 4 input channels down, the first 96 of 120 output channels across; blue is negative, red positive'
    """
    kernel = np.asarray(kernel, np.float64)
    if kernel.shape[:2] == (1, 1):
        shown = kernel[..., :_MOST_OF_MATRIX, :_MOST_OF_MATRIX]
        tiles, words = shown[0, 0], _matrix_words(kernel.shape[2:], shown.shape[2:])
    else:
        shown = _first(kernel)
        tiles, words = _tiles(shown, *_grid(shown.shape)), _words(kernel.shape, shown.shape)
    tiles = tiles / (float(np.abs(shown).max()) or 1.0)
    if tiles.ndim == 3:
        colors, words = 0.5 + tiles / 2, f"{words} as red, green and blue; gray is 0"
    else:  # from blue over white to red
        shares = np.clip(np.abs(tiles), 0, 1)[..., None]
        ends = np.where((tiles < 0)[..., None], (0.02, 0.19, 0.38), (0.4, 0.0, 0.12))
        colors, words = 1 - shares * (1 - ends), f"{words}; blue is negative, red positive"
    return (255 * np.where(np.isnan(colors), 0.6, colors)).round().astype(np.uint8), words


def _matrix_words(whole: tuple[int, ...], shown: tuple[int, ...]) -> str:
    """1×1: the first 96 of 128 input channels down, the 10 output channels across."""
    parts = []
    for n, m, kind, way in zip(whole, shown, ("input", "output"), ("down", "across"), strict=True):
        many = count(n, f"{kind} channel")
        parts.append(f"the {many if m == n else f'first {m} of {many}'} {way}")
    return f"1×1: {', '.join(parts)}"


def _first(kernel: np.ndarray) -> np.ndarray:
    """The kernels and channels of a kernel that are drawn."""
    alone = kernel.shape[2] in (1, 3)
    return kernel[..., : kernel.shape[2] if alone else _MOST_CHANNELS, : _MOST if alone else _MOST_BY_CHANNEL]


def _grid(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of tiles: a grid that is wider than high with few holes, or one row for each channel."""
    _, _, channels, count = shape
    if channels not in (1, 3):
        return channels, count
    across = min(range(min(count, 8), min(count, 16) + 1), key=lambda n: (-count % n, abs(n - math.sqrt(2 * count))))
    return math.ceil(count / across), across


def _tiles(kernel: np.ndarray, down: int, across: int) -> np.ndarray:
    """Kernels [kh, kw, C_in, C_out] side by side, NaN between: [rows, columns], or [rows, columns, 3] of three."""
    height, width, channels, count = kernel.shape
    depth = 3 if channels == 3 else 1
    found = np.full((down * (height + _GAP) - _GAP, across * (width + _GAP) - _GAP, depth), np.nan)
    for number in range(count if channels in (1, 3) else count * channels):
        row, column = divmod(number, across)
        tile = kernel[..., number] if channels in (1, 3) else kernel[:, :, row, column, None]
        top, left = row * (height + _GAP), column * (width + _GAP)
        found[top : top + height, left : left + width] = tile
    return found if depth == 3 else found[..., 0]


def _words(whole: tuple[int, ...], shown: tuple[int, ...]) -> str:
    """20 kernels of 5×5; the first 64 of 128 kernels of 3×3 on the first 8 of 16 channels."""
    height, width, channels, kernels = whole
    many = f"{count(kernels, 'kernel')}" if shown[-1] == kernels else f"the first {shown[-1]} of {kernels} kernels"
    text = f"{many} of {height}×{width}"
    if channels in (1, 3):
        return text
    some = f"the first {shown[2]} of {channels} channels"
    return f"{text} on {count(channels, 'channel') if shown[2] == channels else some}"
