"""The choice by measurement: every formulation that can run a form is timed once, and the fastest is kept.

What `impl="tune"` does. The times are of each formulation alone, on random arrays, on the device at hand; inside a
larger computation XLA may lay it out or fuse it otherwise. The choices are kept in a file, so that a form is measured
once for a device and a version of JAX, not once a process.
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

from jaxconv._base.errors import DataError
from jaxconv._base.files import read_text, write_atomically
from jaxconv._base.limits import cpu_cores
from jaxconv.engine import onednn
from jaxconv.engine.form import Form
from jaxconv.engine.rules import FORMULATIONS, Place, is_candidate, preferred

VARIABLE = "JAXCONV_CACHE"
RUNS, ENOUGH = 5, 2.0
"""Timed runs of a formulation, and the seconds after which fewer will do."""

Records = dict[str, dict[str, Any]]
"""What the file holds: {key: {"impl": name, "ms": {name: milliseconds}}}."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What measuring a form led to.

    Attributes:
      impl: the fastest formulation.
      ms: milliseconds by formulation.
      auto: the formulation that the rules would have taken.
    """

    impl: str
    ms: dict[str, float]
    auto: str


seen: dict[tuple[Form, Place], Measured] = {}
"""Every form that `best` was asked for in this process, with `impl="auto"`."""


_listeners: list[Callable[[Form, Measured], None]] = []


@contextlib.contextmanager
def listening(listener: Callable[[Form, Measured], None]) -> Iterator[None]:
    """Call `listener` with each form that `best` measures or reads in the block, and with its times."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def possible(place: Place) -> bool:
    """Whether what is measured here holds there: one device, of a kind that this lone process has."""
    if not place.one_device or jax.process_count() > 1:  # processes that choose apart would run different programs
        return False
    try:
        return bool(jax.devices(place.platform))
    except RuntimeError:  # lowered for a platform that is not here
        return False


def best(form: Form, place: Place) -> str:
    """The fastest formulation for a form of one member: read if it was measured before, else measured and kept.

    Raises:
      DataError: the file of choices is damaged.
    """
    form = form.open(form.slot, members=None, impl="auto")
    records, name, auto = _kept(cache_file()), key(form, place), preferred(form, place)
    if name not in records or records[name]["impl"] not in FORMULATIONS:
        ms = {impl: round(1e3 * seconds, 4) for impl, seconds in measure(form, place).items()}
        fastest = min(ms, key=ms.__getitem__, default=auto)
        near = auto in ms and ms[auto] <= 1.05 * ms[fastest]  # a tie is noise: it stays with the rules
        records[name] = {"impl": auto if near else fastest, "ms": ms}
        _keep(cache_file(), name, records[name])
    record = records[name]
    first = (form, place) not in seen
    seen[form, place] = Measured(record["impl"], record["ms"], auto)
    for listener in _listeners if first else []:
        listener(form, seen[form, place])
    return str(record["impl"])


def candidates(form: Form, place: Place) -> list[str]:
    """The formulations worth measuring: the rules' own choice, and all that can run the form in sensible time."""
    auto = preferred(form, place)
    return [name for name in FORMULATIONS if name == auto or is_candidate(name, form, place)]


def measure(form: Form, place: Place) -> dict[str, float]:
    """Seconds by formulation: the median of five runs after one that does not count.

    May be called while JAX lowers another function. A formulation that raises is left out.
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
                measured[name] = _seconds(run)
    return measured


def _seconds(run: Callable[[], jax.Array]) -> float:
    run().block_until_ready()
    times: list[float] = []
    while len(times) < RUNS and sum(times) < ENOUGH:
        began = time.perf_counter()
        run().block_until_ready()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def key(form: Form, place: Place) -> str:
    """All that a choice depends on, in words: the device, the versions, the form."""
    import jaxlib.version

    device = jax.devices(place.platform)[0].device_kind
    if place.platform == "cpu":
        device += f" × {cpu_cores()}{'' if onednn.available() else ' without oneDNN'}"
    fields = (field.name for field in dataclasses.fields(form) if field.name != "impl")
    words = " ".join(f"{name}={getattr(form, name)}" for name in fields)
    return f"{device}; jax {jax.__version__}, jaxlib {jaxlib.version.__version__}; {words}"


# ---------------------------------------------------------------- the file


def cache_file() -> Path:
    """Where the choices are kept: `tune.json` in `$JAXCONV_CACHE`, else in the user's cache folder."""
    folder = os.environ.get(VARIABLE)
    if folder:
        return Path(folder) / "tune.json"
    try:
        import platformdirs
    except ImportError:
        return Path.home() / ".cache" / "jaxconv" / "tune.json"
    return Path(platformdirs.user_cache_dir("jaxconv")) / "tune.json"


@functools.cache
def _kept(file: Path) -> Records:
    """The choices of this process: the file's, read once, and those it adds."""
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
        f"{file} must hold the measured formulations as JSON; got {got}\n"
        "  fix: delete it, and each convolution is measured again"
    )


def _keep(file: Path, name: str, record: dict[str, Any]) -> None:
    """Add a choice to the file, beside those that other processes added meanwhile."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_read(file) | {name: record}, indent=1, ensure_ascii=False, sort_keys=True)
        write_atomically(file, (text + "\n").encode())
    except OSError as error:  # a folder that cannot be written stops no convolution
        warnings.warn(
            f"measured formulations must be kept in {file}; got {error.strerror or error}; "
            f"set {VARIABLE} to a folder that can be written, or each process measures again",
            stacklevel=2,
        )
