"""Autotuning, `impl="tune"`: time all formulations that can run a form, cache the fastest.

Each formulation is timed alone, on random arrays, on this device; within a larger program, XLA may choose another
layout or fusion. A cache file stores the choices, so that each form is measured once per device and JAX version, not
once per process.
"""

import contextlib
import dataclasses
import functools
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.compat import jax_version, jaxlib_version
from jaxconv._base.errors import DataError
from jaxconv._base.files import read_text, write_atomically
from jaxconv._base.limits import cpu_cores
from jaxconv.engine import native
from jaxconv.engine.form import Form
from jaxconv.engine.rules import FORMULATIONS, Place, is_candidate, preferred

CACHE_VARIABLE = "JAXCONV_CACHE"
RUNS, MAX_SECONDS = 5, 2.0
"""Timed runs per formulation; fewer if they take more than MAX_SECONDS in total."""

Records = dict[str, dict[str, Any]]
"""Content of the cache file: {key: {"impl": name, "ms": {name: milliseconds}}}."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Measurement of a form.

    Attributes:
      impl: the fastest formulation.
      ms: milliseconds by formulation.
      auto: the formulation that the rules choose.
    """

    impl: str
    ms: dict[str, float]
    auto: str


measurements: dict[tuple[Form, Place], Measurement] = {}
"""Measurements of all forms tuned in this process; the forms have `impl="auto"`."""

_listeners: list[Callable[[Form, Measurement], None]] = []


@contextlib.contextmanager
def listening(listener: Callable[[Form, Measurement], None]) -> Iterator[None]:
    """In this block, call `listener` with each form that is tuned, and with its measurement."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def can_measure(place: Place) -> bool:
    """Whether measurements of this process apply: the only process, and the program runs on one of its devices."""
    if not place.one_device or jax.process_count() > 1:  # processes could choose differently and run other programs
        return False
    try:
        return bool(jax.devices(place.platform))
    except RuntimeError:  # lowered for a platform that this process does not have
        return False


def fastest(form: Form, place: Place) -> str:
    """The fastest formulation for a form of one member: from the cache, or else measured and cached.

    Raises:
      DataError: if the cache file is damaged.
    """
    form = form.open(form.slot, members=None, impl="auto")
    records, name, auto = _records(cache_file()), key(form, place), preferred(form, place)
    if name not in records or records[name]["impl"] not in FORMULATIONS:
        ms = {impl: round(1e3 * seconds, 4) for impl, seconds in measure(form, place).items()}
        winner = min(ms, key=ms.__getitem__, default=auto)
        near = auto in ms and ms[auto] <= 1.05 * ms[winner]  # within noise: keep the rules' choice
        records[name] = {"impl": auto if near else winner, "ms": ms}
        _save(cache_file(), name, records[name])
    record = records[name]
    first = (form, place) not in measurements
    measurements[form, place] = Measurement(record["impl"], record["ms"], auto)
    for listener in _listeners if first else []:
        listener(form, measurements[form, place])
    return str(record["impl"])


def candidates(form: Form, place: Place) -> list[str]:
    """The formulations to measure: the rules' choice, and those that may be faster."""
    auto = preferred(form, place)
    return [name for name in FORMULATIONS if name == auto or is_candidate(name, form, place)]


def measure(form: Form, place: Place) -> dict[str, float]:
    """Seconds by formulation: the median of five runs after a warm-up run.

    Safe to call while JAX lowers another function. Formulations that raise are omitted.
    """
    form = form.open(form.slot, members=None)
    device, rng, measured = jax.devices(place.platform)[0], np.random.default_rng(0), {}
    with jax.ensure_compile_time_eval(), jax.default_device(device):
        shapes = (form.shape(slot) for slot in form.operands)
        a, b = (jnp.asarray(rng.standard_normal(shape).astype(jnp.dtype(form.dtype))) for shape in shapes)
        for name in candidates(form, place):
            one = form.open(form.slot, impl=name)
            run = functools.partial(jax.jit(FORMULATIONS[name], static_argnums=2), a, b, one)
            with contextlib.suppress(RuntimeError, TypeError, ValueError):
                measured[name] = median_seconds(run)
    return measured


def median_seconds(run: Callable[[], Any], runs: int = RUNS, limit: float = MAX_SECONDS) -> float:
    """Median seconds of so many runs after a warm-up run; of fewer if they take more than `limit` in total."""
    jax.block_until_ready(run())
    times: list[float] = []
    while len(times) < runs and sum(times) < limit:
        began = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def key(form: Form, place: Place) -> str:
    """Cache key of a form: device, versions and all fields of the form but `impl`."""
    device = jax.devices(place.platform)[0].device_kind
    if place.platform == "cpu":
        device += f" × {cpu_cores()}"
        if native.available():
            device += f", native {native.isa()}{'' if native.winograd_enabled() else ' without Winograd'}"
    fields = (field.name for field in dataclasses.fields(form) if field.name != "impl")
    values = " ".join(f"{name}={getattr(form, name)}" for name in fields)
    return f"{device}; jax {jax_version()}, jaxlib {jaxlib_version()}; {values}"


# ---------------------------------------------------------------- cache file


def cache_file() -> Path:
    """Path of the cache: `tune.json` in `$JAXCONV_CACHE`, or else in the user's cache directory."""
    folder = os.environ.get(CACHE_VARIABLE)
    if folder:
        return Path(folder) / "tune.json"
    try:
        import platformdirs
    except ImportError:
        return Path.home() / ".cache" / "jaxconv" / "tune.json"
    return Path(platformdirs.user_cache_dir("jaxconv")) / "tune.json"


@functools.cache
def _records(file: Path) -> Records:
    """Records of this process: those of the file, read once, and its own."""
    return _read(file)


def _read(file: Path) -> Records:
    try:
        records = json.loads(read_text(file))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _damaged(file, f"{type(error).__name__}: {error}") from None
    if not isinstance(records, dict):
        raise _damaged(file, f"a {type(records).__name__}")
    for name, record in records.items():
        if not (
            isinstance(record, dict) and isinstance(record.get("impl"), str) and isinstance(record.get("ms"), dict)
        ):
            raise _damaged(file, f"{json.dumps(record)} for {name!r}")
    return records


def _damaged(file: Path, got: str) -> DataError:
    return DataError(
        f"{file} must contain measured formulations as JSON; got {got}\n"
        "  fix: delete it; convolutions are then measured again"
    )


def _save(file: Path, name: str, record: dict[str, Any]) -> None:
    """Add a record to the file; keeps those that other processes have added."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_read(file) | {name: record}, indent=1, ensure_ascii=False, sort_keys=True)
        write_atomically(file, (text + "\n").encode())
    except OSError as error:  # convolutions run without a cache, too
        warnings.warn(
            f"cannot cache measured formulations in {file}: {error.strerror or error}; set {CACHE_VARIABLE} to a "
            "writable directory, or each process measures them again",
            stacklevel=2,
        )
