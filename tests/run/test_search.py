"""Search spaces, random values and Optuna's, without a run."""

import collections
import importlib.util
import math

import pytest

from jaxconv._base.errors import ConfigError
from jaxconv.run.search import Range, Trial, corners, make_search, points, space

OPTUNA = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="needs Optuna")
RATE = {"learning_rate": Range(1e-4, 0.1, True)}


def test_what_stands_for_values_and_ranges():
    assert space(["a.b=1e-4..1e-1:log", "c = 8..64", "d=0..1.0", "e=x..y,z", 'f="1..2"', "g=[1, 2],[3]"]) == {
        "a.b": Range(1e-4, 1e-1, True),
        "c": Range(8, 64, False),
        "d": Range(0, 1.0, False),
        "e": ["x..y", "z"],
        "f": ['"1..2"'],
        "g": ["[1, 2]", "[3]"],
    }


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["a"], "expected KEY=VALUE,VALUE or KEY=LOW..HIGH, got 'a'"),
        (["a=1", "a=2"], "a sweep's keys must differ; given twice: a"),
        (["a=2..2"], "a range LOW..HIGH must have LOW < HIGH, got 'a=2..2'"),
        (["a=0..1:log"], "a range LOW..HIGH:log must have 0 < LOW < HIGH, got 'a=0..1:log'"),
        (["a=1..1e999"], "a range LOW..HIGH must have LOW < HIGH, got 'a=1..1e999'"),
    ],
)
def test_ranges_that_are_none(overrides, message):
    with pytest.raises(ConfigError) as caught:
        space(overrides)
    assert str(caught.value) == message


def test_a_grid_has_no_ranges():
    with pytest.raises(ConfigError) as caught:
        points(["seed=0,1", "a=1..2"])
    assert str(caught.value) == "a grid needs values of a, got a range; --method random or tpe draws from ranges"


def test_corners_have_each_choice_and_each_end():
    axes = {"a": Range(1, 9, False), "b": ["x", "y", "z"], "c": ["k"]}
    assert corners(axes) == [
        {"a": "1", "b": "x", "c": "k"},
        {"a": "9", "b": "x", "c": "k"},
        {"a": "1", "b": "y", "c": "k"},
        {"a": "1", "b": "z", "c": "k"},
    ]


def test_random_values_are_functions_of_the_number_and_uniform():
    axes = RATE | {"size": Range(1, 4, False), "net": ["a", "b"], "drop": Range(0, 0.5, False)}
    search = make_search("random", axes, [])
    drawn = [search.values(number) for number in range(2000)]
    assert drawn[7] == make_search("random", axes, []).values(7)
    assert len({found["learning_rate"] for found in drawn}) > 1800
    logarithms = [math.log10(float(found["learning_rate"])) for found in drawn]
    assert min(logarithms) >= -4
    assert max(logarithms) <= -1
    thirds = collections.Counter(min(int(value + 4), 2) for value in logarithms)
    assert all(abs(count / 2000 - 1 / 3) < 0.04 for count in thirds.values())
    sizes = collections.Counter(found["size"] for found in drawn)
    assert sorted(sizes) == list("1234")
    assert all(abs(count / 2000 - 1 / 4) < 0.04 for count in sizes.values())
    assert abs(sum(found["net"] == "a" for found in drawn) / 2000 - 0.5) < 0.04
    assert all(0 <= float(found["drop"]) <= 0.5 for found in drawn)


def test_tpe_without_optuna_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        make_search("tpe", RATE, [])
    assert str(caught.value) == '--method tpe needs the "sweep" extra: python -m pip install "jaxconv[sweep]"'


def goodness(values):
    """Best at a learning rate of 0.01 with net b."""
    return 1 - abs(math.log10(float(values["learning_rate"])) + 2) / 4 - 0.3 * (values["net"] == "a")


@OPTUNA
def test_tpe_learns_from_its_runs_and_from_those_of_an_earlier_process():
    axes = RATE | {"net": ["a", "b"], "size": Range(2, 5, False)}
    trials = []
    for last in (30, 45):
        search = make_search("tpe", axes, trials)  # as each start does
        for number in range(len(trials), last):
            trial = Trial(number, search.values(number), {})
            assert trial.values["size"] in "2345"
            trial.state, trial.accuracy = "finished", goodness(trial.values)
            search.tell(trial)
            trials.append(trial)
    rand = [make_search("random", axes, []).values(number) for number in range(200)]
    mean = sum(map(goodness, rand)) / len(rand)
    assert sum(trial.accuracy for trial in trials[30:]) / 15 > mean + 0.1


@OPTUNA
def test_the_worse_half_is_pruned_after_some_runs():
    trials = [
        Trial(number, {"learning_rate": "0.01"}, {}, "finished", 0.9, {10: 0.5, 50: 0.6 + number / 100, 100: 0.9})
        for number in range(5)
    ]
    for prune in (True, False):
        search = make_search("tpe", RATE, trials, prune=prune)
        good, bad = (Trial(number, search.values(number), {}) for number in (5, 6))
        for percent, high, low in ((10, 0.5, 0.1), (50, 0.7, 0.3)):
            good.seen[percent], bad.seen[percent] = high, low
            assert not search.prunes(good, percent)
            assert search.prunes(bad, percent) == (prune and percent == 50)
        bad.state, bad.accuracy = "pruned", 0.3
        search.tell(bad)
    few = make_search("tpe", RATE, trials[:3], prune=True)
    bad = Trial(3, few.values(3), {}, seen={50: 0.0})
    assert not few.prunes(bad, 50)


@OPTUNA
def test_a_run_that_was_interrupted_keeps_its_values_and_what_was_seen():
    search = make_search("tpe", RATE, [], prune=True)
    trial = Trial(0, {"learning_rate": "0.02"}, {}, seen={20: 0.4})
    search.resume(trial)
    trial.seen[40] = 0.5
    assert not search.prunes(trial, 40)
    trial.state, trial.accuracy = "finished", 0.8
    search.tell(trial)
