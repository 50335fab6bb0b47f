"""Training loop: many steps per dispatch, callbacks in between."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxconv._base.compat import jit_disabled
from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.limits import check_memory, memory_bytes
from jaxconv._base.memory import return_large_blocks
from jaxconv._base.processes import agreed, number_of
from jaxconv.training.batches import Feed
from jaxconv.training.budget import EvaluationBudget
from jaxconv.training.ensemble import Members, over_members
from jaxconv.training.finite import first_nonfinite
from jaxconv.training.placement import number_in
from jaxconv.training.progress import Compiled, Evaluation, Progress, Score
from jaxconv.training.running import DivergedError, Means
from jaxconv.training.step import METRICS, Metrics, Step, TrainState

__all__ = ["Fitted", "compile_steps", "fit"]

# Target duration of one dispatch: long enough to hide the host's work, short enough to respond to Ctrl-C.
DISPATCH_SECONDS = 0.25
# A kept heap grows to four times the temporary arrays of a step, of which a 16th of the memory is thus enough.
_KEPT_SHARE = 16


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Result of `fit`.

    `seconds` excludes compilation, evaluation and checkpointing; `waited` is the part of it spent waiting for data.
    `done` is less than the requested steps if training was stopped.
    """

    final: TrainState
    test: Score | None
    done: int
    seconds: float
    compile_seconds: float
    images_per_second: float
    waited: float
    evaluating: float = 0.0


def compile_steps(
    step: Step, train: TrainState, feed: Feed, *, members: Members = False, metrics: Sequence[str] = METRICS
) -> Callable[..., tuple[TrainState, jax.Array, Metrics]]:
    """Compile the loop over steps: one program for any number of steps. Under `jax.disable_jit`, it is not compiled.

    Args:
      step: from `make_step`.
      train: a state, or its shapes, with the shardings that it keeps; with a leading axis for an ensemble.
      feed: source of batches.
      members: whether the state is that of an ensemble, over which the step is mapped; or `Devices.vmap` to map it.
      metrics: names of the metrics to return.

    Returns:
      `(train, data, items, count) -> (train, taken, metrics)`: runs `count` steps, or fewer if a loss is not finite.
      metrics [max_steps] (or [max_steps, members]) has an entry for each step. The state is donated.
      Results are bitwise independent of how steps are divided into dispatches.
    """

    def one(train: TrainState, data: Any, item: Any) -> tuple[TrainState, Metrics]:
        return step(train, feed.take(data, item))

    mapped = over_members(one, members, (0, None, 0))

    def run(train: TrainState, data: Any, items: Any, count: Any) -> tuple[TrainState, jax.Array, Metrics]:
        zeros = dict.fromkeys(metrics, jnp.zeros([feed.max_steps, *train.step.shape]))

        def more(carry: tuple[jax.Array, jax.Array, TrainState, Metrics]) -> jax.Array:
            number, finite, _, _ = carry
            return (number < count) & finite

        def body(carry: tuple[jax.Array, jax.Array, TrainState, Metrics]) -> tuple[Any, Any, TrainState, Metrics]:
            number, _, train, found = carry
            item = jax.tree.map(lambda v: jax.lax.dynamic_index_in_dim(v, number, keepdims=False), items)
            train, new = mapped(train, data, item)
            found = {name: found[name].at[number].set(new[name].astype(jnp.float32)) for name in metrics}
            return number + 1, jnp.isfinite(new["loss"]).all(), train, found

        taken, _, train, found = jax.lax.while_loop(more, body, (jnp.int32(0), jnp.array(True), train, zeros))
        return train, taken, found

    if jit_disabled():
        return run
    count = jax.ShapeDtypeStruct([], jnp.int32)
    shardings = jax.tree.map(lambda v: v.sharding if isinstance(v.sharding, NamedSharding) else None, train)
    meshes = [each.mesh for each in jax.tree.leaves(shardings) if not each.is_fully_addressable]
    whole = NamedSharding(meshes[0], PartitionSpec()) if meshes else None  # every process reads the metrics
    jitted = jax.jit(run, donate_argnums=0, out_shardings=(shardings, whole, whole))
    compiled = jitted.lower(train, feed.data_shapes, feed.shapes, count).compile()
    memory = compiled.memory_analysis()
    if memory and memory.temp_size_in_bytes > memory_bytes() / _KEPT_SHARE:
        return_large_blocks()
    check_memory("a training step", memory.temp_size_in_bytes if memory else 0, "a smaller batch, image or net")
    return compiled


def fit(
    step: Step | Sequence[tuple[int, Step]],
    train: TrainState,
    feed: Feed,
    *,
    steps: int,
    log_every: int = 100,
    report: Callable[[Compiled | Progress | Evaluation], None] = lambda event: None,
    test: Callable[[TrainState], Score] | None = None,
    eval_every: int | EvaluationBudget = 0,
    save: Callable[[TrainState, int, Means], None] | None = None,
    due: Callable[[int], int | None] = lambda done: None,
    stop: Callable[[], bool] = lambda: False,
    means: Means | None = None,
    members: Members = False,
    metrics: Sequence[str] = METRICS,
    observe: Callable[[TrainState, Score], TrainState] = lambda train, found: train,
) -> Fitted:
    """Train until `steps` total steps. Does not print.

    Many steps run per dispatch; the host waits for results only to report or save them. With several processes, the
    first one decides how many, and when to evaluate, save and stop.

    Args:
      step: from `make_step`; compiled here once, with donated state. Or several, such as of images of other sizes, each
        with the number of steps that it is the step before: [(1000, small), (2000, large)].
      train: from `init_state`, or a restored one; not usable afterwards.
      feed: source of batches.
      steps: total number of steps, including those already taken.
      log_every: steps between progress reports.
      report: called with each event. Progress is also reported at each evaluation.
      test: `train_state -> Score`, called at the end and every `eval_every` steps.
      eval_every: steps between evaluations; 0 for the end only; a budget for as many as it affords.
      save: called with the state, its step and the running averages, at the steps of `due` and if training is
        stopped.
      due: `steps done -> next step to save at`, or None. Called after every dispatch.
      stop: called after every dispatch; True ends training, and the state is saved.
      means: running averages saved with the state, for a seamless progress report.
      members: whether the state is that of an ensemble; or `Devices.vmap`, as for `compile_steps`.
      metrics: names of the step's metrics, from `metric_names`.
      observe: called with the state and the score of each evaluation, but for those that a budget affords; returns the
        state that training continues with.

    Returns:
      The final state and timings.

    Raises:
      DivergedError: if a loss, or a parameter to evaluate, save or return, is NaN or infinite; names the step and
        suggests fixes.
      ConfigError: if log_every is not positive.
    """
    if log_every < 1:
        raise ConfigError(f"log_every must be at least 1, got {log_every}")
    first = done = int(number_in(train.step))
    stages = deque([(steps, step)] if callable(step) else step)

    def compiled_stage(train: TrainState) -> tuple[Any, float]:
        """The program of the steps from `done`, and the seconds that it took to compile."""
        while len(stages) > 1 and stages[0][0] <= done:
            stages.popleft()
        start = time.perf_counter()
        compiled = compile_steps(stages[0][1], train, feed, members=members, metrics=metrics)
        seconds = time.perf_counter() - start
        report(Compiled(seconds))
        return compiled, seconds

    compiled, compile_seconds = compiled_stage(train)
    budget = eval_every if isinstance(eval_every, EvaluationBudget) else None
    every = eval_every if isinstance(eval_every, int) else 0
    clock, tested, pace, waited, evaluated = Stopwatch(), None, 1.0, feed.waited, list[float]()
    calls: deque[tuple[int, Any]] = deque()
    since, reported_step, reported_seconds = means or Means(), done, 0.0
    while done < steps:
        if done >= stages[0][0] and len(stages) > 1:
            clock.lap()
            compiled, seconds = compiled_stage(train)
            compile_seconds += seconds
            clock.lap(count=False)
        marks = [steps, done - done % log_every + log_every]
        marks += [done - done % every + every] if every and test else []
        marks += [stages[0][0]] if len(stages) > 1 else []
        marks += [budget.next(done)] if budget and test else []
        marks += [mark for mark in [due(done) if save else None] if mark is not None and mark > done]
        count = 0 if stop() else max(1, min(feed.max_steps, int(pace), min(marks) - done))
        count, reached = agreed((count, done + count in marks), "steps")
        if count == 0:
            break
        train, *found = compiled(train, feed.data, feed.items(done, count), np.int32(count))
        calls.append((done, found))
        done += count
        while len(calls) > (0 if reached else 1):
            since = since.after(*calls.popleft())
        pace = _pace(pace, clock.total + clock.running(), done - len(calls) - first)
        evaluates = test is not None and (done == steps or (every > 0 and done % every == 0))
        if done % log_every == 0 or done == steps or evaluates:
            clock.lap()
            interval = clock.total - reported_seconds
            rate = (done - reported_step) / interval
            left = (steps - done) * clock.total / (done - first)
            share = (feed.waited - waited) / interval
            norms = since.gradient_norm, since.weights
            report(Progress(done, steps, since.loss, since.accuracy, rate * feed.batch_size, left, share, *norms))
            since, waited, reported_step, reported_seconds = Means(), feed.waited, done, clock.total
        affordable = False
        if budget and reached:
            clock.lap()
            affordable = agreed(
                budget.affords(done, (done - first) * feed.batch_size / clock.total, clock.total), "evaluation"
            )
        if test is not None and (evaluates or affordable):
            clock.lap()
            saving = functools.partial(save, train, done, since) if save else None
            tested = _tested(test, train, done, saving, strict=evaluates)
            report(Evaluation(done, tested))
            train = observe(train, tested) if evaluates else train
            evaluated.append(clock.lap(count=False))
            if budget:
                budget.spend(evaluated[-1])
        if save is not None and agreed(due(done) == done, "checkpoint"):
            while calls:  # a diverged state must not be saved
                since = since.after(*calls.popleft())
            clock.lap()
            _check_finite(train, done)
            save(train, done, since)
            clock.lap(count=False)
    while calls:
        since = since.after(*calls.popleft())
    clock.lap()
    _check_finite(train, done)
    if done < steps and save is not None:
        save(train, done, since)
    if done >= steps and tested is None and test is not None:  # the run was killed after its last step
        tested = _tested(test, train, done)
    speed = (done - first) * feed.batch_size / clock.total if done > first else 0.0
    return Fitted(train, tested, done, clock.total, compile_seconds, speed, feed.waited, sum(evaluated))


def _tested(
    test: Callable[[TrainState], Score],
    train: TrainState,
    done: int,
    save: Callable[[], None] | None = None,
    *,
    strict: bool = True,
) -> Score:
    """Evaluate a state, which must be finite (and its loss, if strict). Saved first if a test image is unreadable."""
    _check_finite(train, done)
    try:
        found = test(train)
    except (DataError, OSError):
        if save is not None and number_of() == 1:  # of several processes the others do not know, and save nothing
            save()
        raise
    if strict and not np.isfinite(found.loss):
        raise DivergedError(done, found.loss, what="the test loss")
    return found


def _check_finite(train: TrainState, done: int) -> None:
    """Raise DivergedError if parameters or state are not finite, which the last loss does not show yet."""
    name = first_nonfinite({"params": train.params, "state": train.state, "average": train.average})
    if name is not None:
        raise DivergedError(done, "NaN or infinite", what=name)


def _pace(pace: float, seconds: float, settled: int) -> float:
    """Steps per dispatch, increased gradually since the first ones are the slowest."""
    return min(pace * 2, max(1.0, DISPATCH_SECONDS * settled / seconds)) if settled else pace


class Stopwatch:
    """Sum of laps, some of which (evaluation, checkpointing) do not count."""

    def __init__(self) -> None:
        self.total = 0.0
        self._last = time.perf_counter()

    def running(self) -> float:
        """Seconds since the last lap."""
        return time.perf_counter() - self._last

    def lap(self, *, count: bool = True) -> float:
        """Seconds since the last lap, added to `total` if they count."""
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        if count:
            self.total += seconds
        return seconds
