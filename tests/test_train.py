"""Steps, the loop and evaluation, on a tiny problem."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxconv as jc
from jaxconv.augment import shift
from jaxconv.errors import ConfigError
from jaxconv.evaluate import evaluate
from jaxconv.train import Compiled, DivergedError, Evaluation, Progress, fit, init_state, make_step

SHAPE = (1, 6, 6, 1)


def linear(count=None):
    """A net whose forward pass is counted each time that it is traced."""

    def seen(x):
        if count is not None:
            count.append(x.shape)
        return x.astype(jnp.float32) / 255

    return jc.chain(seen, jc.flatten, jc.Dropout(0.1), jc.Dense(3))


@pytest.fixture
def problem(rng):
    """Images whose label is the brightest of three stripes."""
    labels = rng.integers(0, 3, 60).astype(np.int32)
    images = rng.integers(0, 60, (60, 6, 6, 1)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] += 150
    return images, labels


def start(net, tx, seed=0):
    return init_state(net, tx, jax.random.key(seed), SHAPE)


def run(problem, steps=30, train=None, events=None, **options):
    net, tx = linear(), optax.adam(0.01)
    report = (lambda event: None) if events is None else events.append
    state = start(net, tx) if train is None else train
    return fit(
        make_step(net, tx, augment=shift(1)),
        state,
        *problem,
        steps=steps,
        batch_size=8,
        seed=0,
        report=report,
        **options,
    )


def test_it_learns(problem):
    net, tx = linear(), optax.adam(0.02)
    fitted = fit(make_step(net, tx), start(net, tx), *problem, steps=150, batch_size=20, seed=0)
    loss, accuracy = evaluate(net, fitted.final.params, fitted.final.state, *problem)
    assert accuracy == 1
    assert loss < 0.2


def test_each_step_is_traced_and_compiled_once(problem):
    traces: list[tuple[int, ...]] = []
    net, tx = linear(traces), optax.sgd(0.1)
    state = start(net, tx)
    before = len(traces)
    fit(make_step(net, tx), state, *problem, steps=40, batch_size=8, seed=0, log_every=7)
    assert len(traces) - before == 1
    before = len(traces)
    fresh = start(net, tx)
    before = len(traces)
    evaluate(net, fresh.params, fresh.state, problem[0], problem[1], batch_size=7)
    assert len(traces) - before == 1


def test_the_state_is_donated(problem):
    net, tx = linear(), optax.sgd(0.1)
    state = start(net, tx)
    fit(make_step(net, tx), state, *problem, steps=1, batch_size=8, seed=0)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


def test_going_on_equals_never_stopping(problem):
    whole = run(problem, steps=30).final
    halves = run(problem, steps=30, train=run(problem, steps=13).final).final
    assert halves.step == whole.step == 30
    for one, other in zip(jax.tree.leaves(whole.params), jax.tree.leaves(halves.params), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_step_equals_the_update_by_hand(problem):
    net, tx = jc.chain(lambda x: x.astype(jnp.float32) / 255, jc.flatten, jc.Dense(3)), optax.sgd(0.5)
    state = start(net, tx)
    kernel, bias = (np.asarray(state.params["dense0"][name], np.float64) for name in ("kernel", "bias"))
    indices = np.array([3, 1, 4, 1], np.int32)
    after, metrics = make_step(net, tx)(state, jnp.asarray(problem[0]), jnp.asarray(problem[1]), indices)
    x = problem[0][indices].reshape(4, -1) / 255
    logits = x @ kernel + bias
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error = (p - np.eye(3)[problem[1][indices]]) / 4
    np.testing.assert_allclose(after.params["dense0"]["kernel"], kernel - 0.5 * x.T @ error, atol=1e-5)
    np.testing.assert_allclose(after.params["dense0"]["bias"], bias - 0.5 * error.sum(0), atol=1e-5)
    assert metrics["loss"] == pytest.approx(-np.log(p[range(4), problem[1][indices]]).mean(), rel=1e-5)
    assert metrics["correct"] == (logits.argmax(1) == problem[1][indices]).sum()


def test_events_come_at_the_log_interval_and_at_evaluations(problem):
    events: list[Any] = []
    tested: list[int] = []

    def test(state):
        tested.append(int(state.step))
        return 1.0, 0.5

    fitted = run(problem, steps=25, events=events, log_every=10, test=test, eval_every=15)
    assert isinstance(events[0], Compiled)
    assert [event.step for event in events if isinstance(event, Progress)] == [10, 15, 20, 25]
    assert [event.step for event in events if isinstance(event, Evaluation)] == tested == [15, 25]
    assert fitted.test == Evaluation(25, 1.0, 0.5)
    assert all(0 <= event.accuracy <= 1 for event in events if isinstance(event, Progress))


def test_evaluate_counts_every_image_once(problem, rng):
    net, tx = linear(), optax.sgd(0.1)
    state = start(net, tx)
    x = problem[0].reshape(60, -1) / 255
    logits = x @ np.asarray(state.params["dense0"]["kernel"]) + np.asarray(state.params["dense0"]["bias"])
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    for batch_size in (1, 7, 60, 100):
        loss, accuracy = evaluate(net, state.params, state.state, problem[0], problem[1], batch_size)
        assert loss == pytest.approx(-log_p[range(60), problem[1]].mean(), rel=1e-5)
        assert accuracy == pytest.approx((logits.argmax(1) == problem[1]).mean())
    with pytest.raises(ConfigError) as caught:
        evaluate(net, state.params, state.state, problem[0][:0], problem[1][:0])
    assert str(caught.value) == "evaluate needs images and a batch_size of at least 1, got 0 and 500"


def test_a_loss_that_is_not_finite_stops_the_run(problem):
    net, tx = linear(), optax.sgd(0.1)

    def loss(logits, labels):
        return logits.sum() * jnp.nan

    step = make_step(net, tx, loss=loss)
    with pytest.raises(DivergedError) as caught:
        fit(step, start(net, tx), *problem, steps=20, batch_size=8, seed=0, log_every=5)
    assert str(caught.value) == (
        "the loss became nan at step 1 (looked at after steps 1 to 5); "
        "try a smaller optim.learning_rate, a schedule with warmup_steps, or batch normalisation"
    )


def test_sizes_must_be_positive(problem):
    with pytest.raises(ConfigError) as caught:
        run(problem, log_every=0)
    assert str(caught.value) == "batch_size and log_every must be at least 1, got 8 and 0"
