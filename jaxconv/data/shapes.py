"""Shapes: generated images of colored shapes with exact masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jaxconv._base.errors import ConfigError
from jaxconv._base.limits import check_memory
from jaxconv.data.dataset import Arrays, Dataset
from jaxconv.data.moments import moments
from jaxconv.data.spatial import Mask

__all__ = ["shapes"]

_MOST_CLASSES = 255  # 255 itself is the label of pixels that are ignored
_LEAST_SIZE = 8
_RADII = 0.15, 0.3  # of the image's side

Inside = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _star(points: int, inner: float) -> Inside:
    """Inside of a star with its points on the unit circle; `inner` is the radius of its dents."""
    half = np.pi / points
    edge = np.array([inner * np.cos(half) - 1, inner * np.sin(half)])

    def inside(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        angle = np.abs((np.arctan2(v, u) + half) % (2 * half) - half)
        radius = np.hypot(u, v)
        x, y = radius * np.cos(angle), radius * np.sin(angle)
        return np.asarray(edge[0] * y - edge[1] * (x - 1) >= 0)

    return inside


def _polygon(sides: int) -> Inside:
    return _star(sides, np.cos(np.pi / sides))


KINDS: dict[str, Inside] = {
    "circle": lambda u, v: np.hypot(u, v) <= 0.85,
    "square": _polygon(4),
    "triangle": _polygon(3),
    "star": _star(5, 0.4),
    "cross": lambda u, v: (np.minimum(abs(u), abs(v)) <= 0.3) & (np.maximum(abs(u), abs(v)) <= 0.9),
    "ring": lambda u, v: (np.hypot(u, v) <= 0.95) & (np.hypot(u, v) >= 0.5),
    "bar": lambda u, v: (abs(u) <= 1) & (abs(v) <= 0.3),
    "crescent": lambda u, v: (np.hypot(u, v) <= 0.95) & (np.hypot(u - 0.45, v) >= 0.7),
}
"""The shapes within the unit circle: `(u, v) -> whether a point is inside`."""


def shapes(
    size: int = 64,
    num_classes: int = 6,
    train: int = 2000,
    test: int = 400,
    objects: int = 4,
    seed: int = 0,
) -> Dataset[Arrays]:
    """Colored shapes on textured background with exact masks, generated from a seed; nothing to download.

    A pixel has the class of the topmost shape that its center is in; class 0 is the background. Each shape has a random
    place, size, rotation and color. Beyond eight shapes, classes also differ by hue.

    Args:
      size: side of the images in pixels, 8 or more.
      num_classes: number of classes with the background, 2 to 255.
      train: number of training images.
      test: number of test images.
      objects: largest number of shapes in an image; the least is 1.
      seed: seed of the images.

    Raises:
      ConfigError: if an argument is out of range.

    >>> found = shapes(size=16, num_classes=3, train=4, test=2)
    >>> found.train.images.shape, found.train.labels.values.shape, found.classes
    ((4, 16, 16, 3), (4, 16, 16), ('background', 'circle', 'square'))
    """
    lines = [
        f"data.{name}: must be from {least} to {most:,}, got {value}"
        for name, value, least, most in [
            ("size", size, _LEAST_SIZE, 4096),
            ("num_classes", num_classes, 2, _MOST_CLASSES),
            ("train", train, 1, 10**7),
            ("test", test, 1, 10**7),
            ("objects", objects, 1, 100),
            ("seed", seed, 0, 2**63 - 1),
        ]
        if not least <= value <= most
    ]
    if lines:
        raise ConfigError("\n".join(lines))
    check_memory(f"data.train={train} of {size}×{size}", (train + test) * size**2 * 4, "fewer or smaller images")
    first, second = (_part(size, num_classes, count, objects, [seed, part]) for part, count in enumerate((train, test)))
    return Dataset("shapes", first, second, _names(num_classes), *moments(first.images), task="segmentation")


def _hues(num_classes: int) -> int:
    """Number of hues that tell classes of one shape apart."""
    return -(-(num_classes - 1) // len(KINDS))


def _names(num_classes: int) -> tuple[str, ...]:
    kinds, hues = list(KINDS), _hues(num_classes)
    names = [
        kinds[label % len(kinds)] + (f" {label // len(kinds) + 1}" if hues > 1 else "")
        for label in range(num_classes - 1)
    ]
    return ("background", *names)


def _part(size: int, num_classes: int, count: int, objects: int, seed: list[int]) -> Arrays:
    """The images of a training or test set; each depends on the seed and its own number alone."""
    images = np.empty([count, size, size, 3], np.uint8)
    masks = np.empty([count, size, size], np.uint8)
    for number in range(count):
        images[number], masks[number] = _scene(np.random.default_rng([*seed, number]), size, num_classes, objects)
    return Arrays(images, Mask(masks))


def _scene(rng: np.random.Generator, size: int, num_classes: int, objects: int) -> tuple[np.ndarray, np.ndarray]:
    """An image uint8 [size, size, 3] and its mask uint8 [size, size]."""
    centers = ((np.arange(size) + 0.5) / size).astype(np.float32)
    image, mask = _texture(rng, centers, centers, 0.25), np.zeros([size, size], np.uint8)
    for _ in range(rng.integers(1, objects + 1)):
        label, radius, turn = int(rng.integers(num_classes - 1)), rng.uniform(*_RADII), rng.uniform(0, 2 * np.pi)
        kind, hue = list(KINDS.values())[label % len(KINDS)], label // len(KINDS)
        middle = rng.uniform(0.1, 0.9, 2)
        rows, columns = (slice(*np.searchsorted(centers, [place - radius, place + radius])) for place in middle)
        y, x = ((centers[part] - place) / radius for part, place in zip((rows, columns), middle, strict=True))
        cos, sin = np.cos(turn), np.sin(turn)
        inside = kind(cos * x + sin * y[:, None], cos * y[:, None] - sin * x)
        color = _color((hue + rng.uniform(0.1, 0.9)) / _hues(num_classes), rng.uniform(0.6, 1), rng.uniform(0.7, 1))
        fill = color + _texture(rng, centers[rows], centers[columns], 0.1) - 0.5
        image[rows, columns][inside], mask[rows, columns][inside] = fill[inside], label + 1
    image += 0.02 * rng.standard_normal(image.shape, np.float32)
    return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8), mask


def _texture(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray, contrast: float) -> np.ndarray:
    """A texture of three waves around a random tone near gray, float32 [rows, columns, 3], about 0.5."""
    frequency, direction, phase = rng.uniform(2, 12, 3), rng.uniform(0, np.pi, 3), rng.uniform(0, 2 * np.pi, 3)
    along = np.exp(2j * np.pi * np.outer(frequency * np.sin(direction), rows)).astype(np.complex64)
    across = np.exp(2j * np.pi * np.outer(frequency * np.cos(direction), columns) + 1j * phase[:, None])
    waves = (along.T @ across.astype(np.complex64)).imag / 3
    tone = 0.5 + rng.uniform(-contrast, contrast, 3) / 2
    return (tone + contrast * waves[..., None]).astype(np.float32)


def _color(hue: float, saturation: float, value: float) -> np.ndarray:
    """RGB of a color in HSV, from 0 to 1."""
    distance = np.abs((6 * hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    return np.asarray(value * (1 - saturation * (1 - np.clip(distance, 0, 1))))
