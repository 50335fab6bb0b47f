"""Evaluation budget: at most 20 points, within 5 % of the training time whatever an evaluation costs."""

import itertools

import pytest

from jaxconv.training.budget import EvaluationBudget


def simulated(steps, cost, compiling, step_seconds=0.01, images=100, batch=10):
    """(steps evaluated at, seconds spent without compilation, training seconds) of a run."""
    budget, evaluated, done = EvaluationBudget(steps, images), [], 0
    while (done := budget.next(done)) < steps:
        seconds = done * step_seconds
        if budget.affords(done, done * batch / seconds, seconds):
            budget.spend(cost + (0 if evaluated else compiling))
            evaluated.append(done)
            if len(evaluated) > 2:  # from then on the cost is measured, no estimate
                assert len(evaluated) * cost <= 0.05 * seconds
    return evaluated, len(evaluated) * cost, steps * step_seconds


@pytest.mark.parametrize("compiling", [0.0, 10.0])
def test_cheap_evaluations_are_at_twenty_steps(compiling):
    evaluated, _, _ = simulated(steps=10_000, cost=0.01, compiling=compiling)
    assert evaluated == [500 * number for number in range(1, 20)]  # the twentieth is at the end


@pytest.mark.parametrize("cost", [0.3, 0.7, 2.0])
def test_expensive_ones_are_thinned_out_evenly(cost):
    evaluated, spent, training = simulated(steps=10_000, cost=cost, compiling=5.0, images=1000)
    assert spent <= 0.05 * training
    assert spent >= 0.05 * training - 2 * cost
    gaps = [after - before for before, after in itertools.pairwise(evaluated[2:])]
    assert max(gaps, default=0) - min(gaps, default=0) <= 500


def test_one_that_costs_more_than_the_share_is_left_to_the_end():
    assert simulated(steps=100, cost=1.0, compiling=5.0, images=1000)[0] == []


def test_a_run_of_few_steps():
    budget = EvaluationBudget(steps=3, images=10)
    assert [budget.next(done) for done in range(3)] == [1, 2, 3]
    assert not budget.affords(3, 100.0, 1e9)
