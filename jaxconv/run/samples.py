"""Training images as a config's net sees them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import augment
from jaxconv._base.errors import DataError
from jaxconv.data import Batch, Dataset, Mask, Source
from jaxconv.data.labels import as_label, stacked
from jaxconv.run.config import Config
from jaxconv.viz.masks import overlay
from jaxconv.viz.samples import draw_samples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Sampled", "sample"]

IMAGES, DRAWS = 8, 5


@dataclasses.dataclass(frozen=True)
class Sampled:
    """Augmented training images, and the range of what the net computes with.

    Args:
      figure: images in rows, each stored and augmented.
      low, high, mean, std: of the normalized pixels of these draws.
      shape: of the net's input, [H, W, C].
    """

    figure: Figure
    low: float
    high: float
    mean: float
    std: float
    shape: tuple[int, ...]


def sample(settings: Config, dataset: Dataset[Any]) -> Sampled:
    """Draw some training images, stored and augmented as a config says.

    Args:
      settings: the config; its seed chooses the images and draws.
      dataset: the config's.

    Raises:
      DataError: if no image can be read.
    """
    generator = np.random.default_rng(settings.train.seed)
    chosen, items = _readable(dataset.train, generator.permutation(len(dataset.train)))
    images, labels = np.stack([image for image, _ in items]), stacked([as_label(label) for _, label in items])
    change = jax.jit(augment.from_config(settings.augment, len(dataset.classes), dataset.peak))
    rows = np.arange(len(chosen), dtype=np.int32)
    batches = [
        change(
            jax.random.fold_in(jax.random.key(settings.train.seed), epoch),
            Batch(images, labels, np.ones(len(chosen), np.float32), chosen.astype(np.int32), np.full_like(rows, epoch)),
        )
        for epoch in range(DRAWS)
    ]
    seen = np.stack([np.asarray(batch.image, np.float32) for batch in batches], axis=1)
    inputs = np.asarray(augment.normalize(jnp.asarray(seen), dataset.mean, dataset.std))
    columns = [(images, labels), *((np.asarray(batch.image), batch.label) for batch in batches)]
    shown = [
        np.stack([_shown(image, _of(label, k), dataset.peak) for k, image in enumerate(v)]) for v, label in columns
    ]
    titles = [[_title(_of(label, k), dataset) for _, label in columns] for k in range(len(chosen))]
    figure = draw_samples(
        shown[0],
        np.stack(shown[1:], axis=1),
        titles,
        peak=255,
        title=f"{dataset.name}: stored, and {DRAWS} draws of {', '.join(settings.augment) or 'no augmentation'}",
    )
    low, high, mean, std = (float(reduced(inputs)) for reduced in (np.min, np.max, np.mean, np.std))
    return Sampled(figure, low, high, mean, std, seen.shape[2:])


def _readable(source: Source, order: np.ndarray) -> tuple[np.ndarray, list[Any]]:
    """The first readable images in an order, ascending: their indices, and the images with their labels."""
    found: dict[int, Any] = {}
    problem: DataError | None = None
    for index in order.tolist():
        try:
            found[index] = source[index]
        except DataError as error:
            problem = error
        if len(found) == IMAGES:
            break
    if not found:
        raise problem or DataError("there are no images")
    return np.array(sorted(found)), [found[index] for index in sorted(found)]


def _of(label: Any, index: int) -> Any:
    return jax.tree.map(lambda values: np.asarray(values)[index], label)


def _shown(image: np.ndarray, label: Any, peak: float) -> np.ndarray:
    """Pixels in 0..255 of 1 or 3 channels, with the classes of a mask in color."""
    picture = image if image.shape[-1] in (1, 3) else image[..., :1]
    if isinstance(label, Mask):
        return overlay(picture, np.where(label.values == label.outside, 0, label.values), peak)
    return np.asarray(picture, np.float32) * (255 / peak)


def _title(label: Any, dataset: Dataset[Any]) -> str:
    """The class, or the shares of a mixed label; nothing for a mask."""
    if isinstance(label, Mask):
        return ""
    if np.ndim(label) == 0:
        return dataset.classes[int(label)][:16]
    if dataset.task == "multilabel":
        return ", ".join(name for name, present in zip(dataset.classes, label, strict=True) if present > 0.5)[:24]
    if dataset.task != "classification":
        return ", ".join(f"{value:.3g}" for value in label[:2])
    best = np.argsort(-label, kind="stable")[:2]
    return " + ".join(f"{label[k]:.2g} {dataset.classes[k][:9]}" for k in best if label[k] > 0)
