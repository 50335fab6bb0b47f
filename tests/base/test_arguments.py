"""Arguments from a table: what each annotation admits, and whole lines about what it does not."""

import pathlib
from typing import Any, Literal

import pytest

from jaxconv._base import arguments
from jaxconv._base.errors import ConfigError


def example(
    root: str | pathlib.Path,
    size: int = 3,
    sides: tuple[int, ...] = (1, 2),
    rate: float = 0.5,
    mean: tuple[float, ...] | Literal["measure"] | None = None,
    policy: Literal["fail", "skip"] = "fail",
    on: bool = False,
    any_thing: Any = None,
    untyped=None,
):
    """Every kind of annotation that the sets and nets use."""


def test_values_become_what_the_annotation_says():
    given = {"root": "a", "size": 4, "sides": [3], "rate": 1, "mean": [1, 2.5], "policy": "skip", "on": True}
    typed = arguments.typed(example, given | {"untyped": {"a": 1}})
    assert typed == given | {"sides": (3,), "mean": (1.0, 2.5), "untyped": {"a": 1}}
    assert isinstance(typed["rate"], float)
    assert arguments.typed(example, {"mean": "measure"}) == {"mean": "measure"}
    assert arguments.problems("data", "example", example, given) == []
    assert str(arguments.typed(example, {"root": pathlib.Path("a/b")})["root"]) == "a/b"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"size": "big"}, "size: must be a whole number, got 'big'"),
        ({"size": True}, "size: must be a whole number, got True"),
        ({"rate": "1"}, "rate: must be a number, got '1'"),
        ({"on": 1}, "on: must be true or false, got 1"),
        ({"sides": 3}, "sides: must be a list, got 3"),
        ({"sides": [3, "x"]}, "sides: entry 1 must be a whole number, got [3, 'x']"),
        ({"policy": "skp"}, "policy: must be 'fail' or 'skip', got 'skp'"),
        ({"mean": "mesure"}, "mean: must be a list or 'measure', got 'mesure'"),
        ({"polcy": "skip"}, "polcy: example takes root, size, sides, rate, mean, policy, on, any_thing, untyped; "
         "did you mean 'policy'?"),
    ],
)  # fmt: skip
def test_lines(given, line):
    assert arguments.problems("data", "example", example, {"root": "a", **given}) == [f"data.{line}"]


def test_a_missing_argument_and_one_that_the_caller_gives():
    lines = arguments.problems("data", "example", example, {})
    assert lines == ["data.root: must be given; example has no default for it"]
    assert arguments.problems("data", "example", example, {}, elsewhere=("root",)) == []
    assert arguments.problems("data", "none", lambda: None, {"a": 1}) == ["data.a: none takes no arguments"]
    assert arguments.problems("data", "open", lambda **rest: None, {"a": 1}) == []


def test_names(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    known = {"mnist": example, "digits": example}
    assert arguments.find("data.name", "mnist", known) is example
    for name, line in [
        ("mnits", "must be one of mnist, digits, or \"module:function\"; got 'mnits'; did you mean 'mnist'?"),
        ("broken_module:f", "cannot import 'broken_module': ZeroDivisionError: division by zero"),
        ("math:squrt", "module 'math' has no function 'squrt'; did you mean 'sqrt'?"),
    ]:
        with pytest.raises(ConfigError) as caught:
            arguments.find("data.name", name, known)
        assert str(caught.value) == f"data.name: {line}"
