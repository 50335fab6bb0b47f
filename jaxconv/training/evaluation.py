"""What a net answers to images it has not seen, each counted exactly once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.dtypes import accum_dtype
from jaxconv._base.errors import ConfigError
from jaxconv._base.types import Array, ParamsLike, State
from jaxconv.data import Arrays, Batch
from jaxconv.data.order import masked_batches
from jaxconv.layers.layer import Layer
from jaxconv.training.metrics import count_pairs, label_rank
from jaxconv.training.step import Prepare

__all__ = ["Answers", "answer", "batches", "evaluate", "make_eval_step"]

EvalStep = Callable[[ParamsLike, State, Batch], dict[str, jax.Array]]


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What was answered to each image; an ensemble's members have a first axis of their own.

    Args:
      label: int32 [N].
      answer: int32 [N] or [members, N].
      confidence: float32, the probability of the answer.
      loss: float32, `-log p(label)`.
      rank: int32, how many classes were found likelier than the label's.
      vote: int32 [N] for an ensemble, the answer of most members (the mean probability breaks a
        tie); None for a lone net.
      mean: the answers of the members' mean probability; None for a lone net.
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
        """Share of images whose likeliest class is the label; a mean over members."""
        return self.top(1)

    def top(self, k: int) -> float:
        """Share of images whose label is among the k likeliest classes."""
        return float(np.mean(self.rank < k, dtype=np.float64))

    def confusion(self, classes: int) -> np.ndarray:
        """int32 [classes, classes]: how often each class (row) was taken for each (column)."""
        return np.asarray(count_pairs(self.label, self.answer, classes))

    @property
    def together(self) -> Answers:
        """An ensemble's as one: those of the mean probability; a lone net's own."""
        return self if self.mean is None else self.mean

    @property
    def vote_accuracy(self) -> float | None:
        """Share of images for which the members' vote is right; None for a lone net."""
        return None if self.vote is None else float(np.mean(self.vote == self.label))

    @property
    def mean_loss(self) -> float:
        """Cross-entropy, a mean over images and members."""
        return float(np.mean(self.loss, dtype=np.float64))


def make_eval_step(net: Layer, prepare: Prepare | None = None, *, members: bool = False) -> EvalStep:
    """Make the pure function that answers one batch.

    Args:
      net: the trained layer.
      prepare: `images -> input of the net`.
      members: whether params and state are an ensemble's, with a first axis.

    Returns:
      `(params, state, batch) -> arrays` [B] (or [members, B]) by the names of `Answers`; an ensemble's
      mean probability under "mean_answer" and so on, and its "vote".
    """

    def step(params: ParamsLike, state: State, batch: Batch) -> dict[str, jax.Array]:
        image = batch.image if prepare is None else prepare(batch.image)

        def logits(params: Any, state: Any) -> jax.Array:
            return net.apply(params, state, image, train=False)[0]

        if not members:
            return _judge(jax.nn.log_softmax(_wide(logits(params, state))), batch.label)
        log_p = jax.nn.log_softmax(_wide(jax.vmap(logits)(params, state)))
        found = jax.vmap(_judge, in_axes=(0, None))(log_p, batch.label)
        mean = jax.nn.logsumexp(log_p, axis=0) - jnp.log(len(log_p))
        counts = jax.nn.one_hot(found["answer"], log_p.shape[-1]).sum(0)
        together = {f"mean_{name}": value for name, value in _judge(mean, batch.label).items()}
        return found | together | {"vote": jnp.argmax(counts + 0.5 * jnp.exp(mean), axis=-1)}

    return step


def _wide(logits: jax.Array) -> jax.Array:
    return logits.astype(accum_dtype(logits.dtype))


def _judge(log_p: jax.Array, label: jax.Array) -> dict[str, jax.Array]:
    own = jnp.take_along_axis(log_p, label[:, None], axis=-1, mode="fill")
    return {
        "answer": jnp.argmax(log_p, axis=-1),
        "confidence": jnp.exp(log_p.max(-1)),
        "loss": -own[:, 0],
        "rank": label_rank(log_p, label),
    }


def batches(source: Arrays, batch_size: int) -> Iterable[Batch]:
    """A source in memory as batches of one shape, the last filled up with what weighs nothing.

    Args:
      source: the images.
      batch_size: images at a time.
    """
    for indices, weights in masked_batches(len(source), batch_size):
        yield Batch(source.images[indices], source.labels[indices], weights)


def answer(step: EvalStep, params: ParamsLike, state: State, feed: Iterable[Batch]) -> Answers:
    """Run all batches and collect what was answered.

    Args:
      step: from `make_eval_step`, compiled.
      params: the net's parameters.
      state: its state.
      feed: batches; what weighs 0 is left out.

    Returns:
      Each image once, in the order of the batches.

    Raises:
      ConfigError: there are no images.
    """
    # One batch is computed while the next is read: waiting for each would leave the device idle.
    found, labels = [], []
    for batch in feed:
        kept = np.asarray(batch.weight) > 0
        labels.append(np.asarray(batch.label)[kept])
        found.append((kept, step(params, state, batch)))
    if not sum(map(len, labels)):
        raise ConfigError("there must be images to test on, got none")
    names = found[0][1]
    whole: dict[str, Any] = {
        name: np.concatenate([np.asarray(part[name])[..., kept] for kept, part in found], axis=-1) for name in names
    }
    label = np.concatenate(labels)
    together = {name.removeprefix("mean_"): whole.pop(name) for name in names if name.startswith("mean_")}
    return Answers(label, **whole, mean=Answers(label, **together) if together else None)


def evaluate(
    net: Layer,
    params: ParamsLike,
    state: State,
    images: Array,
    labels: Array,
    batch_size: int = 500,
    *,
    prepare: Prepare | None = None,
) -> Answers:
    """What a net answers to images in memory, each exactly once.

    Args:
      net: the layer.
      params: its parameters.
      state: its state.
      images: uint8 [N, H, W, C].
      labels: int32 [N].
      batch_size: images at a time; the last batch is filled up, and what fills it weighs nothing.
      prepare: `images -> input of the net`.

    Returns:
      The answers; `.accuracy`, `.mean_loss`, `.top(5)`.

    Raises:
      ConfigError: there are no images, or batch_size is not positive.
    """
    if len(images) == 0 or batch_size < 1:
        raise ConfigError(f"evaluate needs images and a batch_size of at least 1, got {len(images)} and {batch_size}")
    source = Arrays(np.asarray(images), np.asarray(labels))
    return answer(jax.jit(make_eval_step(net, prepare)), params, state, batches(source, batch_size))
