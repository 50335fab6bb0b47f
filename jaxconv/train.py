"""Training as one pure step, and the loop that runs it without waiting for the device."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxconv.augment import Augment
from jaxconv.data.order import batch_indices
from jaxconv.errors import ConfigError
from jaxconv.layer import Layer
from jaxconv.losses import cross_entropy
from jaxconv.metrics import correct

__all__ = [
    "Compiled",
    "DivergedError",
    "Evaluation",
    "Fitted",
    "Prepare",
    "Progress",
    "Step",
    "TrainState",
    "fit",
    "init_state",
    "make_step",
]

Prepare = Callable[[jax.Array], jax.Array]
Step = Callable[["TrainState", jax.Array, jax.Array, Any], tuple["TrainState", dict[str, jax.Array]]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that training changes, as one pytree.

    Args:
      params: the net's parameters.
      state: the net's state, running statistics for example.
      opt_state: the optimiser's state.
      step: int32 scalar, the number of steps taken.
      key: the key that each step's randomness is folded from; it stays the same.
    """

    params: Any
    state: Any
    opt_state: Any
    step: jax.Array
    key: jax.Array


@dataclasses.dataclass(frozen=True)
class Compiled:
    """Told once, before the first step: how long compiling took."""

    seconds: float


@dataclasses.dataclass(frozen=True)
class Progress:
    """Told every `log_every` steps: means over the steps since the last time."""

    step: int
    steps: int
    loss: float
    accuracy: float
    images_per_second: float
    seconds_left: float


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Told after each pass over the test images."""

    step: int
    loss: float
    accuracy: float


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What `fit` returns.

    `train_seconds` counts neither compiling nor evaluating.
    """

    final: TrainState
    test: Evaluation | None
    steps: int
    train_seconds: float
    compile_seconds: float
    images_per_second: float


class DivergedError(ArithmeticError):
    """The loss became NaN or infinite."""


def init_state(net: Layer, tx: optax.GradientTransformation, key: jax.Array, x: Any) -> TrainState:
    """The state before the first step.

    Args:
      net: the layer to train.
      tx: the optimiser.
      key: of the run; parameters and steps fold different keys from it.
      x: array, `jax.ShapeDtypeStruct` or shape of an input batch.

    Returns:
      A state that shares no memory with anything else, and so may be donated.
    """
    init_key, step_key = jax.random.split(key)
    params, state = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), net.init(init_key, x))
    return TrainState(params, state, tx.init(params), jnp.zeros([], jnp.int32), step_key)


def make_step(
    net: Layer,
    tx: optax.GradientTransformation,
    *,
    loss: Callable[[jax.Array, jax.Array], jax.Array] = cross_entropy,
    augment: Augment | None = None,
    prepare: Prepare | None = None,
) -> Step:
    """Make the pure function of one step; nothing is compiled here.

    Args:
      net: the layer to train.
      tx: the optimiser.
      loss: `(logits, labels) -> scalar`.
      augment: `(key, images) -> images`, on the images as they are stored.
      prepare: `images -> input of the net`, normalisation for example; after `augment`.

    Returns:
      `(train_state, images [N, …], labels [N], indices [B]) -> (train_state, metrics)`: it takes
      the batch out of all images by index, so that they can stay on the device. metrics are
      scalars: "loss", and "correct", the number of right answers in the batch.
    """

    def step(
        train: TrainState, images: jax.Array, labels: jax.Array, indices: Any
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        augment_key, net_key = jax.random.split(jax.random.fold_in(train.key, train.step))
        batch, answers = images[indices], labels[indices]
        batch = batch if augment is None else augment(augment_key, batch)
        batch = batch if prepare is None else prepare(batch)

        def objective(params: Any) -> tuple[jax.Array, tuple[Any, jax.Array]]:
            logits, state = net.apply(params, train.state, batch, key=net_key, train=True)
            return loss(logits, answers), (state, correct(logits, answers))

        (value, (state, right)), gradient = jax.value_and_grad(objective, has_aux=True)(train.params)
        updates, opt_state = tx.update(gradient, train.opt_state, train.params)
        params = optax.apply_updates(train.params, updates)
        return (
            TrainState(params, state, opt_state, train.step + 1, train.key),
            {"loss": value, "correct": right},
        )

    return step


def fit(
    step: Step,
    train: TrainState,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    steps: int,
    batch_size: int,
    seed: int,
    log_every: int = 100,
    report: Callable[[Compiled | Progress | Evaluation], None] = lambda event: None,
    test: Callable[[TrainState], tuple[float, float]] | None = None,
    eval_every: int = 0,
) -> Fitted:
    """Take steps until `steps` have been taken in all; prints nothing.

    The device is never waited for except where something is reported.

    Args:
      step: from `make_step`; compiled here, once, and its state donated.
      train: from `init_state`, or one that has taken some steps already; not usable afterwards.
      images: [N, …], put on the device once, as they are.
      labels: [N].
      steps: the number at which to stop.
      batch_size: images a step.
      seed: of the order of the images.
      log_every: steps between two reports of progress.
      report: called with each event; the caller prints and writes.
      test: `train_state -> (loss, accuracy)`, run at the end and every `eval_every` steps.
      eval_every: 0 for the end only.

    Returns:
      The final state, and how long it took.

    Raises:
      DivergedError: a loss was NaN or infinite; names the steps and says what to try.
      ConfigError: batch_size or log_every is not positive.
    """
    if batch_size < 1 or log_every < 1:
        raise ConfigError(f"batch_size and log_every must be at least 1, got {batch_size} and {log_every}")
    device_images, device_labels = jnp.asarray(images), jnp.asarray(labels)
    first = int(train.step)
    began = time.perf_counter()
    compiled = (
        jax.jit(step, donate_argnums=0)
        .lower(train, device_images, device_labels, batch_indices(seed, 0, batch_size, len(images)))
        .compile()
    )
    compile_seconds = time.perf_counter() - began
    report(Compiled(compile_seconds))

    clock, pending, tested = Stopwatch(), [], None
    for number in range(first, steps):
        indices = batch_indices(seed, number, batch_size, len(images))
        train, metrics = compiled(train, device_images, device_labels, indices)
        pending.append(metrics)
        done, last = number + 1, number + 1 == steps
        evaluates = test is not None and (last or (eval_every > 0 and done % eval_every == 0))
        if done % log_every == 0 or evaluates or last:
            loss, right = _fetch(pending, done)
            interval = clock.lap()
            rate = len(pending) / interval
            left = (steps - done) * clock.total / (done - first)
            share = right / (len(pending) * batch_size)
            report(Progress(done, steps, loss, share, rate * batch_size, left))
            pending = []
        if evaluates and test is not None:
            tested = Evaluation(done, *test(train))
            report(tested)
            clock.lap(count=False)
    taken = max(steps - first, 0)
    speed = taken * batch_size / clock.total if taken else 0.0
    return Fitted(train, tested, steps, clock.total, compile_seconds, speed)


class Stopwatch:
    """Adds up the laps that count, so that evaluation does not pass for training."""

    def __init__(self) -> None:
        self.total = 0.0
        self._last = time.perf_counter()

    def lap(self, *, count: bool = True) -> float:
        """Seconds since the last lap; added to `total` where they count."""
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        if count:
            self.total += seconds
        return seconds


def _fetch(pending: list[dict[str, jax.Array]], done: int) -> tuple[float, float]:
    """Mean loss and number of right answers of the steps not yet looked at."""
    values = jax.device_get(pending)
    losses = np.array([value["loss"] for value in values], np.float64)
    if not np.isfinite(losses).all():
        first = done - len(values) + 1
        bad = first + int(np.argmin(np.isfinite(losses)))
        raise DivergedError(
            f"the loss became {losses[bad - first]} at step {bad} (looked at after steps {first} to {done}); "
            "try a smaller optim.learning_rate, a schedule with warmup_steps, or batch normalisation"
        )
    return float(losses.mean()), float(sum(float(value["correct"]) for value in values))
