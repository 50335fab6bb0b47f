"""Receptive fields over an image: the theoretical one as a box, the effective one as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxconv._base.errors import ShapeError
from jaxconv.viz.field import EffectiveField
from jaxconv.viz.palette import VERMILION
from jaxconv.viz.style import gray, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

__all__ = ["draw_fields"]

_LEAST = 1e-3  # share of the largest gradient below which nothing is drawn


def draw_fields(image: np.ndarray, fields: Sequence[EffectiveField], title: str = "") -> Figure:
    """Draw each layer's receptive field over the image: theoretical as a box, effective as a heat map.

    The heat map of each layer ranges from 0 to the largest gradient of that layer and is transparent at 0.

    Args:
      image: [H, W, C] or [H, W], on any scale; drawn in gray.
      fields: from `effective_fields`, for images of that size.
      title: of the figure.

    Returns:
      A figure with one axes for each field and one for the scale.

    Raises:
      ShapeError: if there is no field, or one of another size than the image.

    >>> from jaxconv.viz.field import effective_fields
    >>> from jaxconv.layers import Conv, chain
    >>> image = np.ones((9, 9, 1))
    >>> figure = draw_fields(image, effective_fields(chain(Conv(4, 3), Conv(4, 3)), image[None]))
    >>> figure.axes[1].get_title()
    'conv1 (2, 2)\\nreceptive field 5×5,\\n95 % in 5×5'
    """
    image = np.asarray(image)
    wrong = next((f for f in fields if f.heat.shape != image.shape[:2]), None)
    if image.ndim not in (2, 3) or not fields or wrong is not None:
        came = f"image {image.shape}, fields of {wrong.heat.shape}" if wrong else f"image {image.shape}, "
        came += "" if wrong else f"{len(fields)} fields"
        raise ShapeError("draw_fields needs an image [H, W, C] and at least one field of its size", got=came)
    titles = [_words(field) for field in fields]
    figure, cells = panels(titles, image.shape[1] / image.shape[0], title)
    for axes, field, words in zip(cells, fields, titles, strict=True):
        shown = _draw(axes, gray(image), field)
        axes.set_title(words, fontsize=8, pad=4, parse_math=False)
    bar = figure.colorbar(shown, ax=cells, fraction=0.04, pad=0.02, aspect=30)
    bar.set_label("gradient magnitude,\nshare of the layer's largest", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def _words(field: EffectiveField) -> str:
    unit = f" {field.unit}" if field.unit else ""
    whole, most = ("×".join(map(str, sides)) for sides in (field.size, field.within(0.95)))
    return f"{field.layer}{unit}\nreceptive field {whole},\n95 % in {most}"


def _draw(axes: Axes, image: np.ndarray, field: EffectiveField) -> AxesImage:
    from matplotlib.patches import Rectangle

    largest = float(field.heat.max())
    share = field.heat / largest if largest > 0 else np.zeros_like(field.heat)
    interpolation = "nearest" if max(image.shape) <= 96 else "auto"
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation=interpolation)
    opaque = np.where(share > _LEAST, 0.35 + 0.6 * np.sqrt(share), 0)
    shown = axes.imshow(share, cmap="viridis", vmin=0, vmax=1, alpha=opaque, interpolation="nearest")
    (top, bottom), (left, right) = field.box
    box = Rectangle((left - 0.5, top - 0.5), right - left + 1, bottom - top + 1, fill=False, edgecolor=VERMILION)
    box.set(linewidth=1.8, clip_on=False)
    axes.add_patch(box)
    axes.set(xticks=[], yticks=[], xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    axes.spines[:].set_visible(False)
    return shown
