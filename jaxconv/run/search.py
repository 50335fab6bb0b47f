"""Search spaces of a sweep, and the choice of values in them: a grid, random values, or Optuna's TPE."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from jaxconv._base.errors import ConfigError

__all__ = ["METHODS", "Axis", "Method", "Range", "Search", "Trial", "corners", "make_search", "points", "space"]

Method = Literal["grid", "random", "tpe"]
METHODS: tuple[Method, ...] = ("grid", "random", "tpe")
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(:log)?")
_STARTUP, _WARMUP = 5, 20  # runs before any is pruned, and percent of a run


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included: integers if both are, evenly over their logarithm if `log`."""

    low: float
    high: float
    log: bool

    @property
    def whole(self) -> bool:
        """Whether the numbers are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def text(self, value: float) -> str:
        """A number of this range as the value of an override, of four digits.

        >>> Range(1e-4, 0.1, True).text(0.00123456), Range(1, 64, False).text(17.6)
        ('0.001235', '18')
        """
        if self.whole:
            return str(min(max(round(value), int(self.low)), int(self.high)))
        return repr(min(max(float(f"{value:.4g}"), self.low), self.high))


Axis = Range | list[str]
"""Values of one key: a range of numbers, or texts to choose from."""


@dataclasses.dataclass
class Trial:
    """A run of a sweep that chooses its values.

    Args:
      number: from 0.
      values: text of each key's value.
      chosen: those of keys with more than one.
      state: "running" also if it was interrupted; a "diverged" one counts as one that classifies nothing.
      accuracy: or the metric of another task, on the validation images, at its end or when it was pruned.
      seen: the same by percent of its steps.
    """

    number: int
    values: dict[str, str]
    chosen: dict[str, str]
    state: Literal["running", "finished", "pruned", "diverged"] = "running"
    accuracy: float = 0.0
    seen: dict[int, float] = dataclasses.field(default_factory=dict)


def space(overrides: Sequence[str]) -> dict[str, Axis]:
    """The values of each key of a sweep.

    Args:
      overrides: `section.key=` with `value,value,…` or a range `low..high` or `low..high:log`; commas within brackets
        or quotes do not separate.

    Raises:
      ConfigError: if a range is empty, or one over its logarithm has numbers that have none.

    >>> space(["optim.learning_rate=1e-4..0.1:log", "seed=0,1"])
    {'optim.learning_rate': Range(low=0.0001, high=0.1, log=True), 'seed': ['0', '1']}
    """
    found: dict[str, Axis] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"expected KEY=VALUE,VALUE or KEY=LOW..HIGH, got {override!r}")
        if key.strip() in found:
            raise ConfigError(f"a sweep's keys must differ; given twice: {key.strip()}")
        match = _RANGE.fullmatch(text.strip())
        found[key.strip()] = _range(override, *match.groups()) if match else _values(text)
    return found


def _range(override: str, low: str, high: str, log: str | None) -> Range:
    first, last = (int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text) for text in (low, high))
    if not first < last or (log and first <= 0) or not math.isfinite(last):
        positive = "0 < LOW < HIGH" if log else "LOW < HIGH"
        raise ConfigError(f"a range LOW..HIGH{log or ''} must have {positive}, got {override!r}")
    return Range(first, last, bool(log))


def _values(text: str) -> list[str]:
    values, depth, quote, start = [], 0, "", 0
    for position, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        elif letter == "," and depth == 0:
            values.append(text[start:position].strip())
            start = position + 1
    return [*values, text[start:].strip()]


def points(overrides: Sequence[str]) -> list[list[str]]:
    """Every combination of comma-separated values.

    Args:
      overrides: see `space`; without ranges.

    Raises:
      ConfigError: if a key has a range.

    >>> points(["seed=0,1", "net.hidden=[100],[100, 100]"])[1]
    ['seed=0', 'net.hidden=[100, 100]']
    """
    choices = []
    for key, axis in space(overrides).items():
        if isinstance(axis, Range):
            raise ConfigError(f"a grid needs values of {key}, got a range; --method random or tpe draws from ranges")
        choices.append([f"{key}={value}" for value in axis])
    return [list(point) for point in itertools.product(*choices)]


def corners(axes: Mapping[str, Axis]) -> list[dict[str, str]]:
    """Combinations that have each choice and each end of a range at least once, to be checked before the first run."""
    ends = {
        key: [axis.text(axis.low), axis.text(axis.high)] if isinstance(axis, Range) else axis
        for key, axis in axes.items()
    }
    first = {key: values[0] for key, values in ends.items()}
    return [first, *(first | {key: value} for key, values in ends.items() for value in values[1:])]


class Search(Protocol):
    """The choice of values for one run after another."""

    def values(self, number: int) -> dict[str, str]:
        """Text of each key's value for a new run."""
        ...

    def resume(self, trial: Trial) -> None:
        """Take up a run that was interrupted."""
        ...

    def prunes(self, trial: Trial, percent: int) -> bool:
        """Whether to stop a run after its latest evaluation."""
        ...

    def tell(self, trial: Trial) -> None:
        """Learn from a run that ended."""
        ...


def make_search(method: Method, axes: Mapping[str, Axis], trials: Sequence[Trial], *, prune: bool = False) -> Search:
    """Make the search of a sweep.

    Args:
      method: "random" or "tpe".
      axes: from `space`.
      trials: those that ended.
      prune: whether to stop runs that do worse than half of the others at the same point.

    Raises:
      ConfigError: if Optuna is needed, and is not installed.
    """
    if method == "random":
        return _Random(axes)
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError('--method tpe needs the "sweep" extra: python -m pip install "jaxconv[sweep]"')
    return _Tpe(axes, trials, prune)


class _Random:
    """Independent values, a function of the run's number."""

    def __init__(self, axes: Mapping[str, Axis]) -> None:
        self._axes = axes

    def values(self, number: int) -> dict[str, str]:
        rng = np.random.default_rng(number)
        return {key: _drawn(axis, rng) for key, axis in self._axes.items()}

    def resume(self, trial: Trial) -> None: ...

    def prunes(self, trial: Trial, percent: int) -> bool:
        return False

    def tell(self, trial: Trial) -> None: ...


def _drawn(axis: Axis, rng: np.random.Generator) -> str:
    if not isinstance(axis, Range):
        return axis[rng.integers(len(axis))]
    low, high = (axis.low - 0.5, axis.high + 0.5) if axis.whole else (axis.low, axis.high)
    share = rng.random()
    return axis.text(low * (high / low) ** share if axis.log else low + share * (high - low))


class _Tpe:
    """Optuna's tree-structured Parzen estimator and median pruner.

    Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011; Akiba et al., Optuna, 2019.
    """

    def __init__(self, axes: Mapping[str, Axis], trials: Sequence[Trial], prune: bool) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna, self._axes, self._prune = optuna, axes, prune
        self._study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=len(trials)),
            pruner=optuna.pruners.MedianPruner(_STARTUP, _WARMUP),
        )
        self._space: dict[str, Any] = {key: self._distribution(axis) for key, axis in axes.items()}
        self._live: dict[int, Any] = {}
        for trial in trials:
            self._study.add_trial(self._frozen(trial))

    def values(self, number: int) -> dict[str, str]:
        self._live[number] = trial = self._study.ask(self._space)
        axes = self._axes.items()
        return {k: a.text(trial.params[k]) if isinstance(a, Range) else trial.params[k] for k, a in axes}

    def resume(self, trial: Trial) -> None:
        self._study.enqueue_trial(self._params(trial))
        self._live[trial.number] = live = self._study.ask(self._space)
        for percent, accuracy in trial.seen.items():
            live.report(accuracy, percent)

    def prunes(self, trial: Trial, percent: int) -> bool:
        live = self._live[trial.number]
        live.report(trial.seen[percent], percent)
        return self._prune and live.should_prune()

    def tell(self, trial: Trial) -> None:
        states = self._optuna.trial.TrialState
        pruned = trial.state == "pruned"
        self._study.tell(
            self._live.pop(trial.number), None if pruned else trial.accuracy, states.PRUNED if pruned else None
        )

    def _frozen(self, trial: Trial) -> Any:
        """A trial of an earlier process, as Optuna records it."""
        states = self._optuna.trial.TrialState
        return self._optuna.create_trial(
            state=states.PRUNED if trial.state == "pruned" else states.COMPLETE,
            value=trial.accuracy,
            params=self._params(trial),
            distributions=self._space,
            intermediate_values=trial.seen,
        )

    def _params(self, trial: Trial) -> dict[str, Any]:
        found: dict[str, Any] = dict(trial.values)
        for key, axis in self._axes.items():
            if isinstance(axis, Range):
                found[key] = (int if axis.whole else float)(found[key])
        return found

    def _distribution(self, axis: Axis) -> Any:
        distributions = self._optuna.distributions
        if not isinstance(axis, Range):
            return distributions.CategoricalDistribution(axis)
        kind = distributions.IntDistribution if axis.whole else distributions.FloatDistribution
        return kind(axis.low, axis.high, log=axis.log)
