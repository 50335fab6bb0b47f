"""Pictures and exercises of the course's notebooks."""

import base64
import io
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML

EXERCISES: dict[str, Callable[[Any], str | None]] = {}
"""Exercise -> a function that returns what is wrong with an answer, or None."""


class Unanswered(Exception):
    """A function returned None, as one without a body does."""


def picture(figure: Any, alt: str) -> HTML:
    """A figure of matplotlib for a page, with a text for readers who do not see it."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    text = alt.replace("&", "&amp;").replace('"', "&quot;")
    return HTML(f'<img alt="{text}" src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}">')


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


def same(got: Any, want: Any, case: str) -> str | None:
    """What is wrong with an array or a number; None if it is as expected."""
    if got is None:
        raise Unanswered
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        return f"{case}: expected shape {want.shape}, got {got.shape}"
    if not np.allclose(got, want, rtol=1e-4, atol=1e-5):
        return f"{case}: expected {np.round(want, 4).ravel()[:6]}, got {np.round(got, 4).ravel()[:6]}"
    return None
