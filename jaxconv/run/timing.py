"""`layers.json`: the time and the formulations of each layer of a trained net."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from jaxconv.analysis.layer_times import layer_times
from jaxconv.run.build.precision import in_precision
from jaxconv.run.config import Config
from jaxconv.run.finished import Member
from jaxconv.run.records import LayerRecord, LayerTimes, read_layer_times

__all__ = ["TIMES", "layers_of", "timed_layers"]

TIMES = "layers.json"
_NUMBERS = 1 << 20  # maximum elements of an input batch
_BATCH = 64
_SHARE, _LEAST, _MOST = 0.02, 1.5, 20.0  # seconds: a share of the run's, within bounds


def timed_layers(settings: Config, member: Member, shape: tuple[int, ...], seconds: float) -> LayerTimes:
    """Time each layer of a net on a small batch, in the precision of its run.

    Args:
      settings: the run's config.
      member: the net in float32.
      shape: of an image, [H, W, C].
      seconds: of the run; a fiftieth of it is spent, at least 1.5 s. Layers that this was too short for have no
        times.

    Returns:
      The content of `layers.json`.
    """
    batch = max(1, min(settings.train.batch_size, _BATCH, _NUMBERS // math.prod(shape)))
    found = layer_times(
        member.net,
        member.params,
        member.state,
        (batch, *shape),
        seconds=min(max(_LEAST, _SHARE * seconds), _MOST),
        change=lambda layer: in_precision(layer, settings.precision),
    )
    layers: list[LayerRecord] = [
        {"path": each.path, "formulations": dict(each.formulations)}
        | {name: 1e3 * value for name, value in _times(each).items() if value is not None}  # type: ignore[misc]
        for each in found
    ]
    return {"batch": batch, "device": jax.devices()[0].device_kind, "layers": layers}


def _times(each: Any) -> dict[str, float | None]:
    return {"forward_ms": each.forward, "backward_ms": each.backward}


def layers_of(folder: Path) -> tuple[str, Mapping[str, LayerRecord]]:
    """What was measured of a run's layers: in words, and by path; nothing if it was not measured.

    Raises:
      DataError: if the file was altered.
    """
    found = read_layer_times(folder / TIMES)
    if found is None:
        return "", {}
    words = f"Milliseconds for {found['batch']} image{'s' if found['batch'] > 1 else ''}, each layer alone, on "
    return words + found["device"], {layer["path"]: layer for layer in found["layers"]}
