"""Pictures and exercises of the course's notebooks."""

import base64
import functools
import io
from collections.abc import Callable
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
from IPython.display import HTML

import jaxconv as jc

EXERCISES: dict[str, Callable[[Any], str | None]] = {}
"""Exercise -> a function that returns what is wrong with an answer, or None."""


class Unanswered(Exception):
    """A function returned None, as one without a body does."""


def picture(figure: Any, alt: str) -> HTML:
    """A figure of matplotlib, or the bytes of a GIF, for a page, with a text for readers who do not see it."""
    kind, data = "gif", figure
    if not isinstance(figure, bytes):
        kind, stream = "png", io.BytesIO()
        figure.savefig(stream, format="png", dpi=110, bbox_inches="tight", facecolor="white")
        plt.close(figure)
        data = stream.getvalue()
    text = alt.replace("&", "&amp;").replace('"', "&quot;")
    return HTML(f'<img alt="{text}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">')


def trained(
    net: jc.Layer, dataset: Any, *, steps: int = 200, learning_rate: float = 5e-3, seed: int = 0
) -> tuple[Any, Any, float]:
    """Train a net: its parameters, its state and its test accuracy. Page 9 takes these lines apart.

    Args:
      net: of [N, H, W, C] to one score for each class.
      dataset: from `jc.data.load`.
      steps: of 64 images each.
      learning_rate: of AdamW.
      seed: of the first parameters and of the order of the images.
    """

    tx, step, predict = _programs(net, learning_rate, dataset.peak)
    train = jc.training.init_state(net, tx, jax.random.key(seed), (1, *dataset.image_shape))
    for batch in jc.training.shuffled_batches(dataset.train, 64, seed=seed, steps=range(steps)):
        train, _ = step(train, batch)
    answers = predict(train.params, train.state, dataset.test.images)
    return train.params, train.state, float((answers == dataset.test.labels).mean())


@functools.cache
def _programs(net: jc.Layer, learning_rate: float, peak: int) -> tuple[Any, Any, Any]:
    """The optimizer, the step and the prediction, compiled once for all seeds and datasets."""

    def prepare(images: Any) -> Any:
        return images / peak

    tx = optax.adamw(learning_rate)
    step = jax.jit(jc.training.make_step(net, tx, prepare=prepare))
    return tx, step, jax.jit(lambda params, state, images: net.apply(params, state, prepare(images))[0].argmax(-1))


def exercise(name: str) -> Callable[[Callable[[Any], str | None]], Callable[[Any], str | None]]:
    """Register the test of an exercise."""

    def register(test: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
        EXERCISES[name] = test
        return test

    return register


def check(name: str, answer: Any) -> None:
    """Print whether an answer to an exercise is right; if it is not, the first case in which it is wrong.

    Args:
      name: of the exercise, "2.1".
      answer: what the exercise asks for; `...` as long as there is none.
    """
    try:
        if answer is ...:
            raise Unanswered
        wrong = EXERCISES[name](answer)
    except Unanswered:
        print(f"Exercise {name}: no answer yet.")
        return
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
    print(f"Exercise {name}: {'right.' if wrong is None else f'not yet. {wrong}'}")


def numbers(
    answer: Any, right: tuple[float, ...], mistakes: dict[tuple[float, ...], str], otherwise: str
) -> str | None:
    """What is wrong with an answer of numbers; None if it is right.

    Args:
      answer: a number or several.
      right: the numbers; of integers nothing but these is accepted.
      mistakes: wrong answer -> what it forgets.
      otherwise: advice on any other answer.
    """
    if answer is None:
        raise Unanswered
    got = np.ravel(np.asarray(answer, float))
    if got.shape != np.shape(right):
        return f"Expected {len(right)} numbers, got {len(got)}."
    tolerance = 0 if all(isinstance(number, int) for number in right) else 1e-3
    for wrong, advice in mistakes.items():
        if np.allclose(got, wrong, rtol=tolerance, atol=tolerance):
            return advice
    return None if np.allclose(got, right, rtol=tolerance, atol=tolerance) else otherwise


def alike(got: Any, want: Any) -> bool:
    """Whether an answer is this array, so that a mistake can be named; False for None."""
    return got is not None and np.shape(got) == np.shape(want) and bool(np.allclose(got, want, rtol=1e-4, atol=1e-5))


def same(got: Any, want: Any, case: str) -> str | None:
    """What is wrong with an array or a number; None if it is as expected."""
    if got is None:
        raise Unanswered
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        return f"{case}: expected shape {want.shape}, got {got.shape}"
    if not alike(got, want):
        return f"{case}: expected {np.round(want, 4).ravel()[:6]}, got {np.round(got, 4).ravel()[:6]}"
    return None
