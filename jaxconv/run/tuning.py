"""Tuning: time the formulations of a config's convolutions on this device."""

from __future__ import annotations

from collections.abc import Callable

import jax

from jaxconv import engine
from jaxconv.engine.form import Form
from jaxconv.engine.tune import Measurement, listening, measurements
from jaxconv.run.build import build, matmul_precision
from jaxconv.run.build.inputs import batch_struct
from jaxconv.run.config import Config
from jaxconv.training.ensemble import over_members

__all__ = ["tune"]

Report = Callable[[Form, Measurement], None]


def tune(settings: Config, report: Report = lambda form, measured: None) -> dict[Form, Measurement]:
    """Time the formulations of the convolutions in a config's step; nothing is trained.

    Args:
      settings: the config.
      report: called with each form and its times as soon as they are known.

    Returns:
      Times of each convolution and gradient of the step, measured now or read from an earlier measurement.

    Raises:
      ConfigError, DataError, ShapeError: if the config is invalid.
    """
    inputs, _, training = build(settings)
    measurements.clear()
    batch = batch_struct(inputs.dataset, settings.train.batch_size)
    step = over_members(training.step, training.members, (0, None))
    with engine.using(impl="tune"), listening(report), matmul_precision(settings.precision):
        jax.jit(step).lower(jax.eval_shape(training.start), batch)
    return {form: measured for (form, _), measured in measurements.items()}
