"""Figures of a training run: confusion matrix and mistakes. They need no display and leave no global state."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxconv._base.errors import ShapeError
from jaxconv._base.files import write_atomically
from jaxconv.viz.curves import training_curves
from jaxconv.viz.palette import GRAY, SKY_BLUE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["confusion", "default_style", "gallery", "inches", "mistakes", "png", "save", "short", "training_curves"]

_NAMED_CLASSES = 40
_COUNTED_CLASSES = 20
_DOTS = 250
_LONGEST_NAME = 22


def confusion(matrix: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw a confusion matrix, with the recall of each class on the right.

    Mistakes are colored by their share of the row and correct answers are gray, so that mistakes stand out however
    good the net is.

    Args:
      matrix: integers [C, C]: number of images with the row's class as label and the column's as prediction.
      classes: the C names. Counts are printed up to 20 classes, and names up to 40; beyond 250 a dot shows the
        largest share in a block of cells, as a single cell would be invisible.

    Returns:
      A figure whose first axes contain the matrix.

    Raises:
      ShapeError: if the matrix is not [C, C], or its values are not counts.

    >>> figure = confusion(np.array([[8, 2], [0, 10]]), ["cat", "dog"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['8', '2', '0', '10']
    """
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    counts, number = np.asarray(matrix), len(classes)
    if counts.shape != (number, number) or not number:
        got, fix = f"shape {counts.shape} and {number} classes", "row: truth, column: answer, a name for each"
        raise ShapeError("confusion needs a matrix [C, C] and C classes", got=got, fix=fix)
    if not (np.issubdtype(counts.dtype, np.integer) and (counts >= 0).all()):
        got = f"dtype {counts.dtype}, smallest {counts.min()}"
        raise ShapeError("confusion needs counts: integers ≥ 0", got=got, fix="the counts, not their shares")
    names = [short(name) for name in classes]
    images, right = counts.sum(1), np.diag(counts)
    shares = np.ma.array(counts / np.maximum(images, 1)[:, None], mask=np.eye(number, dtype=bool))

    named, counted = number <= _NAMED_CLASSES, number <= _COUNTED_CLASSES
    cell = max(0.42, inches(str(counts.max()), 8) + 0.14) if counted else 0.17
    wrong = f"{images.sum() - right.sum():,} of {images.sum():,} images misclassified"
    side = max(cell * number if counted else min(cell * number, 7.5), inches(wrong, 10) + 0.2)
    label = max(inches(name, 8) for name in names) if named else 0.3
    # Axes are placed in inches: constrained layout cannot give neighbors equal heights.
    sloping = label + 0.08 > side / number
    left, bottom, top = label + 0.5, (0.75 * label if sloping else 0.1) + 0.55, 0.4
    figure = Figure(figsize=(left + side + 2.3, bottom + side + top))

    def place(start: float, width: float) -> Axes:
        size = figure.get_size_inches()
        return figure.add_axes((start / size[0], bottom / size[1], width / size[0], side / size[1]))

    axes = place(left, side)
    norm = PowerNorm(0.5, 0, max(float(shares.filled(0).max()), 0.01))
    colors = colormaps["YlOrBr"].with_extremes(bad="#d0d0d0")
    block = -(-number // _DOTS)
    dots = _largest(shares, block) if block > 1 else shares
    edges = (-0.5, dots.shape[1] * block - 0.5, dots.shape[0] * block - 0.5, -0.5)
    image = axes.imshow(dots, cmap=colors, norm=norm, aspect="auto", interpolation="nearest", extent=edges)
    axes.set(xlim=(-0.5, number - 0.5), ylim=(number - 0.5, -0.5))
    axes.set(xlabel="answer", ylabel="truth")
    axes.set_title(wrong, fontsize=10)
    if named:
        slope: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if sloping else {}
        axes.set_yticks(range(number), names, fontsize=8, parse_math=False)
        axes.set_xticks(range(number), names, fontsize=8, parse_math=False, **slope)
    if counted:
        _count(axes, counts, np.asarray(image.to_rgba(shares)))
    _recall(place(left + side + 0.15, 0.8), right, images, printed=counted)
    bar = figure.colorbar(image, cax=place(left + side + 1.3, 0.14))
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    each = f", the largest of {block}×{block} cells" if block > 1 else ""
    bar.set_label(f"mistakes, share of the row{each}", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    answers: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    *,
    peak: float = 255,
    most: int = 24,
) -> Figure:
    """Draw the misclassified images with the highest confidence, each with label, prediction and probability.

    Args:
      images: [K, H, W, C] of 1 or 3 channels, in 0..peak; correctly classified ones are skipped.
      labels: int [K], true classes.
      answers: int [K], predicted classes.
      probabilities: [K], of the predictions.
      classes: the names.
      peak: the value of white.
      most: maximum number of images.

    Returns:
      A figure with an axes for each image, highest confidence first; a note if there are no mistakes.

    Raises:
      ShapeError: if the arrays do not match, or a class has no name.

    >>> figure = mistakes(np.zeros([1, 8, 8, 1]), [0], [1], [0.97], ["shirt", "coat"])
    >>> figure.axes[0].get_title()
    'shirt → coat\\n97 %'
    """
    from matplotlib.figure import Figure

    images, labels, answers, probabilities = map(np.asarray, (images, labels, answers, probabilities))
    _agree(images, labels, answers, probabilities, len(classes))
    wrong = np.flatnonzero(labels != answers)
    order = wrong[np.argsort(-probabilities[wrong], kind="stable")][:most]
    if not len(order):
        figure = Figure(figsize=(5, 1.2))
        figure.text(0.5, 0.5, "nothing was misclassified", ha="center", va="center")
        return figure
    names = [short(name) for name in classes]
    titles = _titles([names[labels[k]] for k in order], [names[answers[k]] for k in order], probabilities[order])
    shown = f"the {len(order)} surest of {len(wrong):,} mistakes" if len(wrong) > len(order) else "the surest first"
    return gallery(images[order], titles, f"misclassified: truth → answer, {shown}", peak=peak)


def gallery(images: np.ndarray, titles: Sequence[str], title: str, *, peak: float = 255) -> Figure:
    """Draw images in rows.

    Args:
      images: [K, H, W, C] of 1 or 3 channels, in 0..peak; one or more.
      titles: one for each image, of one or more lines.
      title: of the figure.
      peak: the value of white.

    >>> figure = gallery(np.zeros([2, 8, 8, 1]), ["a", "b"], "two images")
    >>> [axes.get_title() for axes in figure.axes]
    ['a', 'b']
    """
    from matplotlib.figure import Figure

    height = min(max(1.1 * images.shape[1] / images.shape[2], 0.4), 3.0)
    cell = max(1.2, *(inches(line, 8) + 0.2 for text in titles for line in text.split("\n")))
    across = min(len(images), max(int(10 / cell), 1))
    down = -(-len(images) // across)
    across = -(-len(images) // down)
    figure = Figure(figsize=(max(across * cell, 3.6) + 0.2, down * (height + 0.42) + 0.4), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).ravel()
    # Small images stay crisp; large ones are reduced, and would alias.
    interpolation = "nearest" if max(images.shape[1:3]) <= 96 else "auto"
    for axes, image, text in zip(grid, images, titles, strict=False):
        pixels = np.clip(image / peak, 0, 1)
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation=interpolation)
        axes.set_title(text, fontsize=8, pad=3, parse_math=False)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=GRAY, linewidth=0.5)
    for axes in grid[len(images) :]:
        axes.remove()
    figure.suptitle(title, fontsize=10, parse_math=False)
    return figure


@contextlib.contextmanager
def default_style() -> Iterator[None]:
    """Use matplotlib's defaults instead of a user's `matplotlibrc`: layouts depend on the default font."""
    import matplotlib.style

    with matplotlib.style.context("default"):
        yield


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file at 150 dpi.

    Args:
      figure: any matplotlib figure.
    """
    stream = io.BytesIO()
    with default_style():
        figure.savefig(stream, format="png", dpi=150)
    return stream.getvalue()


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as a PNG file at 150 dpi. The write is atomic.

    Args:
      figure: any matplotlib figure.
      path: the file to write or replace.
    """
    write_atomically(path, png(figure))


def _largest(shares: np.ma.MaskedArray, block: int) -> np.ma.MaskedArray:
    """The maximum of each square block; the last ones may be incomplete."""
    number = -(-len(shares) // block)
    padded = np.ma.masked_all((number * block, number * block))
    padded[: len(shares), : len(shares)] = shares
    return padded.reshape(number, block, number, block).max(axis=(1, 3))


def _count(axes: Axes, counts: np.ndarray, colors: np.ndarray) -> None:
    """Write each cell's count, dark on light or light on dark."""
    # The luminance at which black and white have equal contrast (WCAG 2).
    light = colors[..., :3] ** 2.2 @ [0.2126, 0.7152, 0.0722] > 0.18
    for (row, column), count in np.ndenumerate(counts):
        color = ("black" if light[row, column] else "white") if count else GRAY
        axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=color)


def _recall(side: Axes, right: np.ndarray, images: np.ndarray, *, printed: bool) -> None:
    """Draw recall bars beside the matrix; a class without images has none."""
    from matplotlib.ticker import PercentFormatter

    recall = np.divide(right, images, out=np.full(len(right), np.nan), where=images > 0)
    edges = np.arange(len(right) + 1) - 0.5
    side.stairs(recall, edges, orientation="horizontal", fill=True, color=SKY_BLUE, baseline=0)
    side.set(xlim=(0, 1), ylim=(len(right) - 0.5, -0.5), yticks=[])
    side.set_title("recall", fontsize=9)
    side.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    side.set_xticks([] if printed else [0, 1])
    side.tick_params(labelsize=8)
    for row, value in enumerate(recall if printed else []):
        side.text(0.05, row, _rate(value), va="center", fontsize=8)


def _agree(images: np.ndarray, labels: np.ndarray, answers: np.ndarray, sure: np.ndarray, classes: int) -> None:
    one = labels.shape == answers.shape == sure.shape == images.shape[:1]
    if not one or images.ndim != 4 or images.shape[-1] not in (1, 3):
        got = f"images {images.shape}, labels {labels.shape}, answers {answers.shape}, probabilities {sure.shape}"
        must = "mistakes needs images [K, H, W, C] of 1 or 3 channels, and labels, answers and probabilities [K]"
        raise ShapeError(must, got=got, fix="images as they are stored, channels last, and one of each for each")
    if labels.size and not (min(labels.min(), answers.min()) >= 0 and max(labels.max(), answers.max()) < classes):
        got = f"classes {min(labels.min(), answers.min())} to {max(labels.max(), answers.max())} and {classes} names"
        raise ShapeError("each label and answer needs a name", got=got, fix="the names of all classes, in order")


def _titles(truths: list[str], answers: list[str], sure: np.ndarray) -> list[str]:
    """Titles of two lines; long names of label and prediction take a line each."""
    triples = [(truth, answer, _percent(share, 0)) for truth, answer, share in zip(truths, answers, sure, strict=True)]
    short = max(len(truth + answer) for truth, answer, _ in triples) <= 12
    return [f"{t} → {a}\n{share}" if short else f"{t}\n→ {a} {share}" for t, a, share in triples]


def _rate(recall: float) -> str:
    """Percentage with enough digits not to round mistakes away."""
    return "no image" if np.isnan(recall) else _percent(recall, 2 if 0.9995 <= recall < 1 else 1)


def _percent(share: float, digits: int) -> str:
    return f"{100 * share:.{digits}f} %"


def short(name: str) -> str:
    """A class name of at most 22 characters, on one line."""
    name = " ".join(str(name).split())
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def inches(text: str, size: float) -> float:
    """Width of a line of text in the default font, in inches.

    Args:
      text: one line.
      size: font size in points.
    """
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text.replace("$", "S"), size=size).get_extents().width) / 72 if text.strip() else 0.0
