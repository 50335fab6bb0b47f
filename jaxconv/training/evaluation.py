"""Evaluation: each test image is counted exactly once."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.dtypes import upcast
from jaxconv._base.errors import ConfigError
from jaxconv._base.types import Array, ParamsLike, State
from jaxconv.data import Arrays, Batch
from jaxconv.data.labels import taken
from jaxconv.data.order import masked_batches
from jaxconv.layers.layer import Layer
from jaxconv.training.ensemble import Members, over_members
from jaxconv.training.metrics import count_pairs, label_rank
from jaxconv.training.step import Prepare
from jaxconv.training.tta import Views

__all__ = [
    "Answers",
    "EvalStep",
    "answers",
    "batches",
    "evaluate",
    "make_eval_step",
    "make_log_probabilities",
    "make_scores",
    "results",
    "scores",
    "tempered",
]

EvalStep = Callable[[ParamsLike, State, Batch], dict[str, jax.Array]]
AHEAD = 2
"""Batches that are computed while the next one is read. With dozens, XLA's collectives on CPUs can deadlock."""


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """Predictions for each image; those of an ensemble have a leading axis of members.

    Args:
      label: true class, int32 [N].
      answer: predicted class, int32 [N] or [members, N].
      confidence: float32, probability of the predicted class.
      loss: float32, `-log p(label)`.
      rank: int32, number of classes with a higher probability than the label.
      vote: int32 [N], majority vote of an ensemble (the mean probability breaks ties); None for a single net.
      mean: predictions of the ensemble's mean probability; None for a single net.
    """

    label: np.ndarray
    answer: np.ndarray
    confidence: np.ndarray
    loss: np.ndarray
    rank: np.ndarray
    vote: np.ndarray | None = None
    mean: Answers | None = None

    @property
    def accuracy(self) -> float:
        """Fraction of images whose predicted class is the label; a mean over members."""
        return self.top(1)

    def top(self, k: int) -> float:
        """Top-k accuracy: fraction of images whose label is among the k most probable classes."""
        return float(np.mean(self.rank < k, dtype=np.float64))

    def confusion(self, classes: int) -> np.ndarray:
        """Confusion matrix int32 [classes, classes]: rows are labels, columns predictions."""
        return np.asarray(count_pairs(self.label, self.answer, classes))

    @property
    def together(self) -> Answers:
        """Predictions of an ensemble's mean probability; those of a single net unchanged."""
        return self if self.mean is None else self.mean

    @property
    def vote_accuracy(self) -> float | None:
        """Accuracy of the majority vote; None for a single net."""
        return None if self.vote is None else float(np.mean(self.vote == self.label))

    @property
    def mean_loss(self) -> float:
        """Mean cross-entropy over images and members."""
        return float(np.mean(self.loss, dtype=np.float64))


def make_log_probabilities(
    net: Layer,
    prepare: Prepare | None = None,
    views: Views | None = None,
    *,
    members: Members = False,
    temperature: float = 1.0,
    dense: bool = False,
) -> Callable[[ParamsLike, State, Array], jax.Array]:
    """Make the pure function from images to log-probabilities.

    Args:
      net: the trained layer.
      prepare: `images -> input of the net`.
      views: test-time augmentation, applied to the images before `prepare`; None for none.
      members: whether params and state are those of an ensemble, whose probabilities are averaged; or `Devices.vmap`.
      temperature: from `fit_temperature`; of an ensemble, of its mean probability.
      dense: whether the net returns logits of each pixel, which are moved back from the views.

    Returns:
      `(params, state, images) -> log p` [N, C], or [N, H, W, C], in at least float32.
    """

    mapped = over_members(_member_log_probabilities(net, prepare, views, dense), members, (0, 0, None))
    whole = (lambda *inputs: _together(mapped(*inputs))) if members else mapped
    return whole if temperature == 1 else lambda *inputs: tempered(whole(*inputs), temperature)


def _member_log_probabilities(
    net: Layer, prepare: Prepare | None, views: Views | None, dense: bool = False
) -> Callable[[ParamsLike, State, Array], jax.Array]:
    """`make_log_probabilities` of a single net."""

    def log_p(params: ParamsLike, state: State, images: Any) -> jax.Array:
        def one(images: Any) -> jax.Array:
            x = images if prepare is None else prepare(images)
            return jax.nn.log_softmax(upcast(net.apply(params, state, x, train=False)[0]))

        return one(images) if views is None else views.averaged(one, dense)(images)

    return log_p


def make_scores(
    net: Layer, prepare: Prepare | None = None, *, members: Members = False, views: Views | None = None
) -> EvalStep:
    """Make the pure function from a batch to log-probabilities, for `scores`; of an ensemble, of its mean probability.

    Args:
      net: the trained layer.
      prepare: `images -> input of the net`.
      members: as in `make_eval_step`.
      views: as in `make_log_probabilities`.

    Returns:
      `(params, state, batch) -> {"log_p": [B, C], "label": [B], "weight": [B]}`.
    """
    function = make_log_probabilities(net, prepare, views, members=members)

    def step(params: ParamsLike, state: State, batch: Batch) -> dict[str, jax.Array]:
        return {"log_p": function(params, state, batch.image), "label": batch.label, "weight": batch.weight}

    return step


def scores(step: EvalStep, params: ParamsLike, state: State, feed: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities [N, C] and labels [N] of all images, each once.

    Args:
      step: from `make_scores`, compiled.
      params: the net's parameters.
      state: its state.
      feed: batches; examples of weight 0 are left out.
    """
    found = results(step, params, state, feed)
    log_p, labels = (np.concatenate([each[name][each["weight"] > 0] for each in found]) for name in ("log_p", "label"))
    return log_p, labels


def make_eval_step(
    net: Layer,
    prepare: Prepare | None = None,
    *,
    members: Members = False,
    views: Views | None = None,
    temperature: float = 1.0,
) -> EvalStep:
    """Make the pure function that evaluates one batch.

    Args:
      net: the trained layer.
      prepare: `images -> input of the net`.
      members: whether params and state are those of an ensemble, with a leading axis; or `Devices.vmap`.
      views: as in `make_log_probabilities`.
      temperature: from `fit_temperature`; of an ensemble, of its mean probability alone.

    Returns:
      `(params, state, batch) -> arrays` [B] (or [members, B]) by the field names of `Answers`, with the batch's "label"
      and "weight"; for an ensemble also "vote", and "mean_answer" and so on for the mean probability.
    """

    mapped = over_members(_member_log_probabilities(net, prepare, views), members, (0, 0, None))

    def step(params: ParamsLike, state: State, batch: Batch) -> dict[str, jax.Array]:
        log_p, given = mapped(params, state, batch.image), {"label": batch.label, "weight": batch.weight}
        if not members:
            return given | _judge(tempered(log_p, temperature), batch.label)
        found = jax.vmap(_judge, in_axes=(0, None))(log_p, batch.label)
        mean = tempered(_together(log_p), temperature)
        counts = jax.nn.one_hot(found["answer"], log_p.shape[-1]).sum(0)
        together = {f"mean_{name}": value for name, value in _judge(mean, batch.label).items()}
        return given | found | together | {"vote": jnp.argmax(counts + 0.5 * jnp.exp(mean), axis=-1)}

    return step


def tempered(log_p: jax.Array, temperature: float) -> jax.Array:
    """Log-probabilities [..., C] of `softmax(log_p / temperature)`."""
    return log_p if temperature == 1 else jax.nn.log_softmax(log_p / temperature)


def _together(log_p: jax.Array) -> jax.Array:
    """Log of the mean probability of members: [members, B, C] -> [B, C]."""
    return jax.nn.logsumexp(log_p, axis=0) - jnp.log(len(log_p))


def _judge(log_p: jax.Array, label: jax.Array) -> dict[str, jax.Array]:
    own = jnp.take_along_axis(log_p, label[:, None], axis=-1, mode="fill")
    return {
        "answer": jnp.argmax(log_p, axis=-1),
        "confidence": jnp.exp(log_p.max(-1)),
        "loss": -own[:, 0],
        "rank": label_rank(log_p, label),
    }


def batches(source: Arrays, batch_size: int) -> Iterable[Batch]:
    """Batches of one shape from a source in memory, the last padded with examples of weight 0.

    Args:
      source: the images.
      batch_size: images per batch.
    """
    for indices, weights in masked_batches(len(source), batch_size):
        yield Batch(source.images[indices], taken(source.labels, indices), weights)


def results(step: EvalStep, params: ParamsLike, state: State, feed: Iterable[Batch]) -> list[dict[str, np.ndarray]]:
    """Evaluate all batches.

    Args:
      step: `(params, state, batch) -> arrays`, compiled; "weight" is the batch's.
      params: the net's parameters.
      state: its state.
      feed: batches.

    Returns:
      The arrays of each batch.

    Raises:
      ConfigError: if there are no images.
    """
    found, pending = list[dict[str, np.ndarray]](), collections.deque[dict[str, jax.Array]]()
    for batch in feed:
        pending.append(step(params, state, batch))
        if len(pending) > AHEAD:
            found.append(jax.device_get(pending.popleft()))
    found += jax.device_get(list(pending))
    if not any((each["weight"] > 0).any() for each in found):
        raise ConfigError("evaluation needs at least one image, got none")
    return found


def answers(found: Sequence[dict[str, np.ndarray]]) -> Answers:
    """The predictions, each image once, in the order of the batches.

    Args:
      found: `results` of a step from `make_eval_step`; examples of weight 0 are left out.
    """
    values: dict[str, Any] = {
        name: np.concatenate([each[name][..., each["weight"] > 0] for each in found], axis=-1)
        for name in found[0]
        if name != "weight"
    }
    together = {name.removeprefix("mean_"): values.pop(name) for name in found[0] if name.startswith("mean_")}
    return Answers(**values, mean=Answers(values["label"], **together) if together else None)


def evaluate(
    net: Layer,
    params: ParamsLike,
    state: State,
    images: Array,
    labels: Array,
    batch_size: int = 500,
    *,
    prepare: Prepare | None = None,
    views: Views | None = None,
) -> Answers:
    """Evaluate a net on images in memory, each exactly once.

    Args:
      net: the layer.
      params: its parameters.
      state: its state.
      images: uint8 [N, H, W, C].
      labels: integers [N].
      batch_size: images per batch; the last is padded with examples of weight 0.
      prepare: `images -> input of the net`.
      views: as in `make_log_probabilities`.

    Returns:
      The predictions: `.accuracy`, `.mean_loss`, `.top(5)`, …

    Raises:
      ConfigError: if there are no images, or batch_size is not positive.
    """
    if len(images) == 0 or batch_size < 1:
        raise ConfigError(f"evaluate needs images and a batch_size of at least 1, got {len(images)} and {batch_size}")
    source = Arrays(np.asarray(images), np.asarray(labels))
    step = jax.jit(make_eval_step(net, prepare, views=views))
    return answers(results(step, params, state, batches(source, batch_size)))
