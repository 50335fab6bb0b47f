"""The course: its pages run, and its exercises accept right answers and refuse wrong ones."""

import importlib
import pathlib
import runpy

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
    size = jump = 1
    for k, s in layers:
        size, jump = size + (k - 1) * jump, jump * s
    return size


SOLUTIONS = {
    "2.1": ((75, 2352), (25, 784)),
    "2.2": (field, lambda layers: 1 + sum(k - 1 for k, _ in layers)),
    "2.3": (lambda x, i, j, k: x[i : i + k, j : j + k], lambda x, i, j, k: x[j : j + k, i : i + k]),
}
"""Exercise -> a right answer and a wrong one."""


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
