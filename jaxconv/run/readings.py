"""Readings of a prediction by task: its words, and which of its scores are explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxconv._base.errors import ConfigError
from jaxconv.viz.training import short

__all__ = ["NOUNS", "READINGS", "Asked", "Reading"]

_MOST = 6  # labels that are explained without being asked for
_BACKGROUND = "background"


class Asked(NamedTuple):
    """What is to be explained of an image.

    Args:
      classes: names of the classes, labels or targets.
      label: index of one of them; None for what is predicted.
      where: bool [H, W], pixels of a segmentation; None for the predicted mask.
      name: of the image, for messages.
      temperature: that class scores are divided by.
    """

    classes: Sequence[str]
    label: int | None = None
    where: np.ndarray | None = None
    name: str = "the image"
    temperature: float = 1.0


class Reading(NamedTuple):
    """A prediction in words.

    Args:
      lines: names and values to print.
      caption: of the image.
      labels: index of each score that is explained.
      where: bool [H, W], the pixels that the score is a sum over; None for scores of the image.
    """

    lines: list[tuple[str, str]]
    caption: str
    labels: list[int]
    where: np.ndarray | None = None


def _classes(scores: np.ndarray, asked: Asked) -> Reading:
    """The most probable class, of logits [K]."""
    p = np.exp(scores / asked.temperature - np.max(scores / asked.temperature))
    p /= p.sum()
    best = int(p.argmax())
    label = best if asked.label is None else asked.label
    name = asked.classes[best]
    caption = f"{short(name)}, {p[best]:.1%}"
    caption += "" if label == best else f"\nexplained: {short(asked.classes[label])}, {p[label]:.1%}"
    return Reading([(name, f"{p[best]:.1%}")], caption, [label])


def _labels(scores: np.ndarray, asked: Asked) -> Reading:
    """The labels above one half, or the most probable one, of logits [K]."""
    p = 1 / (1 + np.exp(-scores.astype(np.float64)))
    present = [int(k) for k in np.argsort(-p, kind="stable") if p[k] > 0.5]
    best = int(p.argmax())
    labels = [asked.label] if asked.label is not None else present[:_MOST] or [best]

    def words(k: int) -> str:
        return f"{short(asked.classes[k])}, {p[k]:.1%}"

    lines = [(asked.classes[k], f"{p[k]:.1%}") for k in present]
    nothing = ("no label", f"the most probable is {asked.classes[best]} with {p[best]:.1%}")
    caption = "\n".join(map(words, present[:_MOST])) or "no label"
    caption += "" if labels == present[:_MOST] else f"\nexplained: {words(labels[0])}"
    return Reading(lines or [nothing], caption, labels)


def _numbers(values: np.ndarray, asked: Asked) -> Reading:
    """The predicted numbers [K], of which one is explained."""
    lines = [(name, f"{value:.4g}") for name, value in zip(asked.classes, values, strict=True)]
    if asked.label is None and len(values) > 1:
        raise ConfigError(f"--class must name the target to explain; expected one of {', '.join(asked.classes)}")
    label = asked.label or 0
    return Reading(lines, f"{short(asked.classes[label])} {values[label]:.4g}", [label])


def _pixels(scores: np.ndarray, asked: Asked) -> Reading:
    """The class of each pixel, of logits [H, W, K]; explained over its predicted mask, or over the given pixels."""
    answer, count = scores.argmax(-1), scores.shape[-1]
    found = np.bincount(answer.ravel(), minlength=count)
    where, label = asked.where, asked.label
    if label is None:
        inside = np.bincount((answer if where is None else answer[where]).ravel(), minlength=count)
        if where is None and asked.classes[0] == _BACKGROUND and inside[1:].any():
            inside[0] = 0
        label = int(inside.argmax())
    if where is None:
        where = answer == label
        if not where.any():
            fix = f"--pixels ROW,COLUMN, to explain why not, or --class {asked.classes[int(found.argmax())]}"
            raise ConfigError(f"{asked.classes[label]} is predicted at no pixel of {asked.name}; {fix}")
    shares = found / answer.size
    lines = [(asked.classes[k], f"{shares[k]:.1%}") for k in np.argsort(-shares, kind="stable") if shares[k] > 0]
    pixels = f"{where.sum():,} pixel{'s' if where.sum() > 1 else ''}"
    return Reading(lines, f"{short(asked.classes[label])}\nover {pixels}", [label], where)


READINGS: dict[str, Callable[[np.ndarray, Asked], Reading]] = {
    "classification": _classes,
    "multilabel": _labels,
    "regression": _numbers,
    "segmentation": _pixels,
}
"""`(scores of one image, asked) -> reading` by task; of the others nothing is explained."""

NOUNS = {"multilabel": "label", "regression": "target"}
"""What a score belongs to, by task, where it is no class."""
