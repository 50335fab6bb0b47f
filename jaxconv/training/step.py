"""Train state and train step: one pytree and one pure function."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxconv._base.errors import ConfigError
from jaxconv._base.types import InputSpec, Params, State
from jaxconv.augment import Augment
from jaxconv.data import Batch
from jaxconv.layers.layer import Layer
from jaxconv.layers.wrap import WithAuxiliary
from jaxconv.training.averaging import Averaging, ema
from jaxconv.training.loss_scale import LossScale, first_scale, rescaled
from jaxconv.training.losses import cross_entropy
from jaxconv.training.metrics import correct

__all__ = [
    "GRADIENT_NORM", "METRICS", "WEIGHT_NORM", "AverageOf", "Loss", "LossScale", "Metrics", "Prepare", "Step",
    "Sums", "Teacher", "TrainState", "init_state", "make_step", "metric_names",
]  # fmt: skip

Prepare = Callable[[jax.Array], jax.Array]
Loss = Callable[[jax.Array, Any, jax.Array], jax.Array]
Teacher = Callable[[jax.Array], jax.Array]
Sums = Mapping[str, Loss]
"""Functions `(outputs, targets, weights) -> scalar` by name, sums over a batch: "count", that its loss is a mean over,
and "correct", if predictions are right or wrong."""
Metrics = dict[str, jax.Array]
Step = Callable[["TrainState", Batch], tuple["TrainState", Metrics]]

CLASSIFICATION: Sums = {"correct": correct, "count": lambda outputs, targets, weights: weights.sum()}
METRICS = ("loss", *CLASSIFICATION)
GRADIENT_NORM = "gradient_norm"
WEIGHT_NORM = "weight_norm/"  # followed by the name of a part


@dataclasses.dataclass(frozen=True)
class AverageOf:
    """An average that the optimizer's state has, as of schedule-free optimizers.

    Args:
      params: `(optimizer state, params) -> params to evaluate`.
    """

    params: Callable[[Any, Any], Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that training updates, as one pytree.

    Args:
      params: the net's parameters.
      state: the net's state, such as running statistics.
      opt_state: the optimizer's state.
      step: int32 scalar, number of steps taken.
      key: constant key from which each step's key is folded.
      average: of `(params, state)` over the steps, or None.
      scale: loss scale for float16, or None.
    """

    params: Params
    state: State
    opt_state: Any
    step: jax.Array
    key: jax.Array
    average: tuple[Params, State] | None = None
    scale: LossScale | None = None

    @property
    def tested(self) -> tuple[Params, State]:
        """The `(params, state)` for evaluation: their average if there is one."""
        return (self.params, self.state) if self.average is None else self.average


def init_state(
    net: Layer,
    tx: optax.GradientTransformation,
    key: jax.Array,
    x: InputSpec,
    *,
    average: bool = False,
    scale_loss: bool = False,
) -> TrainState:
    """Initial train state.

    Args:
      net: layer to train.
      tx: the optimizer.
      key: random key, split between initialization and the steps.
      x: array, `jax.ShapeDtypeStruct` or shape of an input batch.
      average: whether to keep an average, for `make_step(average=...)`.
      scale_loss: whether to keep a loss scale, for `make_step(scale_loss=True)`.

    Returns:
      A state that shares no buffers, and so can be donated.
    """
    init_key, step_key = jax.random.split(key)
    params, state = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), net.init(init_key, x))
    return TrainState(
        params,
        state,
        _unshared(tx.init(params), params),
        jnp.zeros([], jnp.int32),
        step_key,
        jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), (params, state)) if average else None,
        first_scale() if scale_loss else None,
    )


def make_step(
    net: Layer,
    tx: optax.GradientTransformation,
    *,
    loss: Loss = cross_entropy,
    sums: Sums = CLASSIFICATION,
    targets: Callable[[Batch], Any] | None = None,
    auxiliary: float = 0.4,
    teacher: Teacher | None = None,
    augment: Augment | None = None,
    prepare: Prepare | None = None,
    accumulate: int = 1,
    average: float | Averaging | AverageOf | None = None,
    scale_loss: bool = False,
    log_norms: bool = False,
) -> Step:
    """Make the pure train step; nothing is compiled here.

    Args:
      net: layer to train.
      tx: the optimizer. Its `update` gets, as far as it takes them, `value` (the loss), `grad`, `value_fn(params)` and
        `grad_fn(params, _)`, of the batch.
      loss: `(outputs, targets, weights) -> scalar`, a weighted mean; with a teacher, of `(targets, teacher's answers)`.
      sums: what else is measured in a step, see `Sums`; by default of class labels.
      targets: `batch -> targets`, of the batch after `augment` and `prepare`; its labels if None. An autoencoder's are
        `lambda batch: batch.image`.
      auxiliary: weight of the loss of a net's auxiliary output, as of `models.fcn(aux=True)`; torchvision's by default.
      teacher: `images -> answers`, such as log-probabilities [N, C], for distillation; of the images after `augment`.
      augment: `(key, batch) -> batch`, applied to the images as stored.
      prepare: `images -> input of the net`, such as normalization; applied after `augment`.
      accumulate: number of micro-batches (gradient accumulation), each of every `accumulate`-th image of a batch. The
        gradient is that of the full batch; batch statistics are those of a micro-batch.
      average: of params and state, which are then evaluated: the decay of an EMA, another rule of
        `jaxconv.training.averaging`, or an `AverageOf` the optimizer's state.
      scale_loss: whether to scale the loss for float16, see `LossScale`.
      log_norms: whether to measure norms.

    Returns:
      `(train_state, batch) -> (train_state, metrics)`. metrics are scalars: "loss"; those of `sums`, by default
      "correct", the weighted number of correct predictions, and "count", the sum of weights; with `log_norms`
      "gradient_norm", the gradient's global norm before the optimizer, and "weight_norm/<part>", of each part's new
      params.

    Raises:
      ConfigError: when called, if `accumulate` does not divide the batch.
    """

    tx = optax.with_extra_args_support(tx)
    rule = ema(average) if isinstance(average, float | int) else average

    def forward(params: Any, state: Any, batch: Batch, key: jax.Array) -> tuple[Any, Metrics]:
        outputs, new = net.apply(params, state, batch.image, key=key, train=True)
        logits, extra = outputs if isinstance(outputs, WithAuxiliary) else (outputs, None)
        value = loss(logits, batch.label, batch.weight)
        value = value if extra is None else value + auxiliary * loss(extra, batch.label, batch.weight)
        label = batch.label if teacher is None else batch.label[0]
        return new, {"loss": value} | {name: total(logits, label, batch.weight) for name, total in sums.items()}

    def gradients(train: TrainState, batch: Batch, state: Any, key: jax.Array) -> tuple[Any, Any, Metrics]:
        scale = 1.0 if train.scale is None else train.scale.scale

        def objective(params: Any) -> tuple[jax.Array, tuple[Any, Metrics]]:
            new, metrics = forward(params, state, batch, key)
            return metrics["loss"] * scale, (new, metrics)

        (_, (new, metrics)), gradient = jax.value_and_grad(objective, has_aux=True)(train.params)
        return jax.tree.map(lambda leaf: leaf / scale, gradient) if scale_loss else gradient, new, metrics

    def micro_batches(batch: Batch) -> Batch:
        size = len(batch.weight)
        if size % accumulate:
            raise ConfigError(f"accumulate must divide the batch size, got {accumulate} micro-batches of {size} images")
        # Every accumulate-th row, so that a micro-batch has as many rows of each device as the others.
        rows = (size // accumulate, accumulate)
        return jax.tree.map(lambda v: v.reshape(*rows, *v.shape[1:]).swapaxes(0, 1), batch)

    def taught(batch: Batch) -> jax.Array:
        """The teacher's answers to the images of a batch, one micro-batch at a time."""
        assert teacher is not None
        if accumulate == 1:
            return teacher(batch.image)
        parts = jax.lax.map(teacher, micro_batches(batch).image)
        return parts.swapaxes(0, 1).reshape(len(batch.weight), *parts.shape[2:])

    def accumulated(train: TrainState, batch: Batch, key: jax.Array) -> tuple[Any, Any, Metrics]:
        def add(carry: Any, part: Any) -> tuple[Any, None]:
            total, state, found = carry
            number, inputs = part
            gradient, state, metrics = gradients(train, inputs, state, jax.random.fold_in(key, number))
            count = metrics["count"]
            total = jax.tree.map(lambda a, b: a + count * b, total, gradient)
            found = {name: found[name] + (count * v if name == "loss" else v) for name, v in metrics.items()}
            return (total, state, found), None

        zeros = jax.tree.map(jnp.zeros_like, train.params), train.state, dict.fromkeys(["loss", *sums], jnp.float32(0))
        (total, state, found), _ = jax.lax.scan(add, zeros, (jnp.arange(accumulate), micro_batches(batch)))
        count = jnp.where(found["count"] > 0, found["count"], 1)
        return jax.tree.map(lambda leaf: leaf / count, total), state, found | {"loss": found["loss"] / count}

    def value(train: TrainState, batch: Batch, key: jax.Array) -> jax.Array:
        """The loss alone, of the batch or its micro-batches, whose gradient is that of `measured`."""
        if accumulate == 1:
            return forward(train.params, train.state, batch, key)[1]["loss"]

        def add(carry: Any, part: Any) -> tuple[Any, None]:
            state, total, count = carry
            number, inputs = part
            state, metrics = forward(train.params, state, inputs, jax.random.fold_in(key, number))
            return (state, total + metrics["count"] * metrics["loss"], count + metrics["count"]), None

        zeros = train.state, jnp.float32(0), jnp.float32(0)
        (_, total, count), _ = jax.lax.scan(add, zeros, (jnp.arange(accumulate), micro_batches(batch)))
        return total / jnp.where(count > 0, count, 1)

    def measured(train: TrainState, batch: Batch, key: jax.Array) -> tuple[Any, Any, Metrics]:
        """Gradient, new state and metrics."""
        return gradients(train, batch, train.state, key) if accumulate == 1 else accumulated(train, batch, key)

    def step(train: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        augment_key, net_key = jax.random.split(jax.random.fold_in(train.key, train.step))
        batch = batch if augment is None else augment(augment_key, batch)
        if teacher is not None:
            batch = batch._replace(label=(batch.label, taught(batch)))
        batch = batch if prepare is None else batch._replace(image=prepare(batch.image))
        batch = batch if targets is None else batch._replace(label=targets(batch))
        gradient, state, metrics = measured(train, batch, net_key)

        def at(params: Any) -> tuple[TrainState, Batch, jax.Array]:
            return dataclasses.replace(train, params=params), batch, net_key

        updates, opt_state = tx.update(
            gradient,
            train.opt_state,
            train.params,
            value=metrics["loss"],
            grad=gradient,
            value_fn=lambda params, grad_fn=None: value(*at(params)),  # optax's line search gives it what is left
            grad_fn=lambda params, _: measured(*at(params))[0],
        )
        params: Any = optax.apply_updates(train.params, updates)
        scale = train.scale
        if scale is not None:
            # Of the updates, too, which may follow from another gradient (SAM).
            good = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((gradient, updates))]).all()
            params, state, opt_state = jax.tree.map(
                lambda new, old: jnp.where(good, new, old),
                (params, state, opt_state),
                (train.params, train.state, train.opt_state),
            )
            scale = rescaled(scale, good)
        if log_norms:
            metrics |= {GRADIENT_NORM: _norm(gradient)}
            metrics |= {f"{WEIGHT_NORM}{name}": _norm(part) for name, part in _parts(params).items()}
        new_average = train.average
        if isinstance(rule, AverageOf):
            new_average = rule.params(opt_state, params), state
        elif rule is not None:
            decay = rule(train.step)
            new_average = jax.tree.map(lambda old, new: _blend(old, new, decay), train.average, (params, state))
        return TrainState(params, state, opt_state, train.step + 1, train.key, new_average, scale), metrics

    return step


def _unshared(tree: Any, other: Any) -> Any:
    """The tree with a copy of each array that is in it twice or in the other tree."""
    seen = {id(leaf) for leaf in jax.tree.leaves(other)}

    def own(leaf: Any) -> Any:
        if id(leaf) in seen:
            return jnp.array(leaf, copy=True)
        seen.add(id(leaf))
        return leaf

    return jax.tree.map(own, tree)


def metric_names(params: Any, log_norms: bool, sums: Iterable[str] = CLASSIFICATION) -> tuple[str, ...]:
    """Names of the metrics of a step of `make_step`.

    Args:
      params: the net's parameters, or their shapes.
      log_norms: as in `make_step`.
      sums: names of those of `make_step`.

    >>> metric_names({"conv0": {"kernel": 0}, "relu0": {}}, log_norms=True)
    ('loss', 'correct', 'count', 'gradient_norm', 'weight_norm/conv0')
    """
    norms = (GRADIENT_NORM, *(f"{WEIGHT_NORM}{name}" for name in _parts(params))) if log_norms else ()
    return ("loss", *sums, *norms)


def _parts(params: Any) -> dict[str, Any]:
    """The top-level parts that have parameters; a single layer is one part, "net"."""
    single = not isinstance(params, dict) or any(not isinstance(part, dict) for part in params.values())
    parts = {"net": params} if single else params
    return {name: part for name, part in parts.items() if jax.tree.leaves(part)}


def _norm(tree: Any) -> jax.Array:
    """Global norm of a tree, accumulated in float32."""
    squares = [jnp.square(jnp.abs(leaf).astype(jnp.float32)).sum() for leaf in jax.tree.leaves(tree)]
    return jnp.sqrt(jnp.stack(squares).sum()) if squares else jnp.float32(0)


def _blend(old: jax.Array, new: jax.Array, decay: jax.Array) -> jax.Array:
    if not jnp.issubdtype(old.dtype, jnp.floating):
        return new
    return (old + (1 - decay) * (new - old)).astype(old.dtype)
