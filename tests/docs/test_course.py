"""The course: its pages run, and its exercises accept right answers and refuse wrong ones."""

import importlib
import pathlib
import runpy

import numpy as np
import pytest

pytest.importorskip("IPython")
COURSE = pathlib.Path(__file__).parents[2] / "docs" / "course"
PAGES = sorted(path.name for path in COURSE.glob("[0-9]*.py"))


@pytest.fixture(autouse=True)
def course(monkeypatch):
    monkeypatch.syspath_prepend(str(COURSE))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs(page, capsys):
    runpy.run_path(str(COURSE / page))
    answers = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Exercise")]
    assert answers == [f"Exercise {int(page[:2])}.{i}: no answer yet." for i in (1, 2, 3)]


def field(layers):
    size = stride = 1
    for k, s in layers:
        size, stride = size + (k - 1) * stride, stride * s
    return size


def shuffle(images, order):
    return images.reshape(len(images), -1, images.shape[-1])[:, order].reshape(images.shape)


def shift(x, rows, columns):
    return np.pad(x, ((rows, 0), (columns, 0), (0, 0)))[: x.shape[0], : x.shape[1]]


def feature_map(x, kernel, bias):
    k = len(kernel)
    places = np.ndindex(x.shape[0] - k + 1, x.shape[1] - k + 1)
    values = [(x[i : i + k, j : j + k] * kernel).sum() + bias for i, j in places]
    return np.reshape(values, (x.shape[0] - k + 1, x.shape[1] - k + 1))


def uses(n, k):
    return [min(i + 1, n - i, k, n - k + 1) for i in range(n)]


def output_size(n, k, s, p, d):
    return max((n + 2 * p - d * (k - 1) - 1) // s + 1, 0)


def correlate(x, kernel, stride=1):
    return np.correlate(x, kernel, "valid")[::stride]


def max_pool(x, k):
    rows, columns = x.shape[0] // k, x.shape[1] // k
    return x[: rows * k, : columns * k].reshape(rows, k, columns, k).max((1, 3))


def cross_entropy(scores, label):
    shifted = scores - scores.max()
    return np.log(np.exp(shifted).sum()) - shifted[label]


SOLUTIONS = {
    "1.1": ((78_400, 15_052_800), (78_400, 5_017_600)),
    "1.2": (shuffle, lambda images, order: shuffle(images, np.argsort(order))),
    "1.3": (lambda kernel, order: kernel[order], lambda kernel, order: kernel[np.argsort(order)]),
    "2.1": ((75, 2352), (25, 784)),
    "2.2": (field, lambda layers: 1 + sum(k - 1 for k, _ in layers)),
    "2.3": (lambda x, i, j, k: x[i : i + k, j : j + k], lambda x, i, j, k: x[j : j + k, i : i + k]),
    "3.1": ((1520, 875_520), (1520, 1_191_680)),
    "3.2": (shift, lambda x, rows, columns: np.roll(x, (rows, columns), (0, 1))),
    "3.3": (correlate, lambda x, kernel: np.convolve(x, kernel, "valid")),
    "4.1": (20_040, 1040),
    "4.2": (feature_map, lambda x, kernel, bias: feature_map(x, kernel[::-1, ::-1], bias)),
    "4.3": ([[-1, 0, 1]] * 3, [[-1, -1, -1], [0, 0, 0], [1, 1, 1]]),
    "5.1": ((115_605_504, 13_647_872), (115_605_504, 6_422_528)),
    "5.2": (lambda x, kernel, bias: x @ kernel + bias, lambda x, kernel, bias: x @ kernel),
    "5.3": (lambda k1, b1, k2, b2: (k1 @ k2, b1 @ k2 + b2), lambda k1, b1, k2, b2: (k1 @ k2, b2)),
    "6.1": ((24, 28, 32), (24, 28, 30)),
    "6.2": (lambda k: ((k - 1) // 2, k // 2), lambda k: (k // 2, k // 2)),
    "6.3": (uses, lambda n, k: [k] * n),
    "7.1": ((55, 27, 27, 13), (56, 28, 28, 14)),
    "7.2": (output_size, lambda n, k, s, p, d: (n + 2 * p - k) // s + 1),
    "7.3": (correlate, lambda x, kernel, s: np.correlate(x[::s], kernel, "valid")),
    "8.1": ((4, 2.25, 5), (4, 2.25, 2.5)),
    "8.2": (max_pool, lambda x, k: np.maximum(max_pool(x, k), 0)),
    "8.3": (lambda x: x / max(np.linalg.norm(x), 1e-30), lambda x: x),
    "9.1": (np.log(10), np.log2(10)),
    "9.2": (cross_entropy, lambda z, label: -np.log(np.exp(z) / np.exp(z).sum())[label]),
    "9.3": (lambda w, g, rate, decay: w - rate * (g + decay * w), lambda w, g, rate, decay: w - rate * g - decay * w),
    "10.1": ((3, 27, 49), (2, 18, 49)),
    "10.2": (lambda x, body: np.maximum(x + body(x), 0), lambda x, body: x + np.maximum(body(x), 0)),
    "10.3": (lambda weights, shortcut: np.prod(np.array(weights) + shortcut), lambda weights, shortcut: sum(weights)),
}
"""Exercise -> a right answer and a wrong one, of a mistake that its test knows."""


@pytest.mark.parametrize("name", SOLUTIONS)
def test_right_answers_are_accepted_and_wrong_ones_refused(name, capsys):
    lesson = importlib.import_module("lesson")
    importlib.import_module(f"exercises_{int(name.split('.')[0]):02}")
    for answer, verdict in zip(SOLUTIONS[name], ("right.", "not yet."), strict=True):
        lesson.check(name, answer)
        assert capsys.readouterr().out.startswith(f"Exercise {name}: {verdict}")


def test_every_exercise_has_a_solution(capsys):
    lesson = importlib.import_module("lesson")
    for path in COURSE.glob("exercises_*.py"):
        importlib.import_module(path.stem)
    assert set(lesson.EXERCISES) == set(SOLUTIONS)
    assert set(SOLUTIONS) == {f"{int(page[:2])}.{i}" for page in PAGES for i in (1, 2, 3)}


def test_an_answer_that_raises_is_not_yet_right(capsys):
    lesson = importlib.import_module("lesson")
    importlib.import_module("exercises_02")
    lesson.check("2.2", lambda layers: 1 / 0)
    assert capsys.readouterr().out == "Exercise 2.2: not yet. ZeroDivisionError: division by zero\n"
