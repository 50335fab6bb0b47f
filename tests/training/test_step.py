"""Steps, the loop and evaluation, on a tiny problem."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxconv as jc
from jaxconv._base.errors import ConfigError
from jaxconv.augment import mixup, shift
from jaxconv.data import Arrays, Batch
from jaxconv.training.batches import Resident
from jaxconv.training.evaluation import evaluate
from jaxconv.training.loop import fit
from jaxconv.training.progress import Compiled, Evaluation, Progress, Score
from jaxconv.training.running import DivergedError, Means
from jaxconv.training.step import init_state, make_step, metric_names

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


def batch_of(problem, indices):
    images, labels = problem
    return Batch(jnp.asarray(images[indices]), jnp.asarray(labels[indices]), jnp.ones(len(indices)))


def run(problem, steps=30, train=None, events=None, **options):
    net, tx = linear(), optax.adam(0.01)
    report = (lambda event: None) if events is None else events.append
    state = start(net, tx) if train is None else train
    step = make_step(net, tx, augment=shift(1))
    return fit(step, state, Resident(Arrays(*problem), 8, 0), steps=steps, report=report, **options)


@pytest.mark.slow
def test_it_learns(problem):
    net, tx = linear(), optax.adam(0.02)
    fitted = fit(make_step(net, tx), start(net, tx), Resident(Arrays(*problem), 20, 0), steps=150)
    found = evaluate(net, fitted.final.params, fitted.final.state, *problem)
    assert found.accuracy == 1
    assert found.mean_loss < 0.2


def test_each_step_is_traced_and_compiled_once(problem):
    traces: list[tuple[int, ...]] = []
    net, tx = linear(traces), optax.sgd(0.1)
    state = start(net, tx)
    before = len(traces)
    fit(make_step(net, tx), state, Resident(Arrays(*problem), 8, 0), steps=40, log_every=7)
    assert len(traces) - before == 1
    before = len(traces)
    fresh = start(net, tx)
    before = len(traces)
    evaluate(net, fresh.params, fresh.state, problem[0], problem[1], batch_size=7)
    assert len(traces) - before == 1


def test_the_state_is_donated(problem):
    net, tx = linear(), optax.sgd(0.1)
    state = start(net, tx)
    fit(make_step(net, tx), state, Resident(Arrays(*problem), 8, 0), steps=1)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


@pytest.mark.slow
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
    after, metrics = jax.jit(make_step(net, tx))(state, batch_of(problem, indices))
    x = problem[0][indices].reshape(4, -1) / 255
    logits = x @ kernel + bias
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error = (p - np.eye(3)[problem[1][indices]]) / 4
    np.testing.assert_allclose(after.params["dense0"]["kernel"], kernel - 0.5 * x.T @ error, atol=1e-5)
    np.testing.assert_allclose(after.params["dense0"]["bias"], bias - 0.5 * error.sum(0), atol=1e-5)
    assert metrics["loss"] == pytest.approx(-np.log(p[range(4), problem[1][indices]]).mean(), rel=1e-5)
    assert metrics["correct"] == (logits.argmax(1) == problem[1][indices]).sum()


@pytest.mark.slow
def test_norms_are_those_of_every_steps_gradient_and_of_the_last_weights(problem):
    """By the params that each step leaves: with plain gradient descent their difference is the gradient."""
    net = jc.chain(lambda x: x.astype(jnp.float32) / 255, jc.flatten, hidden=jc.Dense(4), head=jc.Dense(3))
    tx = optax.sgd(0.5)
    state, events, norms = start(net, tx), [], []
    names = metric_names(state.params, log_norms=True)
    assert names == ("loss", "correct", "count", "gradient_norm", "weight_norm/head", "weight_norm/hidden")
    step, feed = make_step(net, tx, log_norms=True), Resident(Arrays(*problem), 8, 0)
    for number in range(7):
        indices = np.asarray(feed.items(number, 1)[0][0])
        after, _ = jax.jit(step)(state, batch_of(problem, indices))
        moved = jax.tree.map(lambda a, b: np.float64(a) - np.float64(b), state.params, after.params)
        norms.append(np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(moved))) / 0.5)
        state = after
    fit(step, start(net, tx), feed, steps=7, log_every=5, report=events.append, metrics=names)
    first, last = [event for event in events if isinstance(event, Progress)]
    assert first.gradient_norm == pytest.approx(np.mean(norms[:5]), rel=1e-3)
    assert last.gradient_norm == pytest.approx(np.mean(norms[5:]), rel=1e-3)
    params = {name: [np.float64(leaf) for leaf in part.values()] for name, part in state.params.items() if part}
    want = {name: np.sqrt(sum((leaf**2).sum() for leaf in leaves)) for name, leaves in params.items()}
    assert last.weight_norms == pytest.approx(want, rel=1e-5)
    events.clear()
    fit(make_step(net, tx), start(net, tx), feed, steps=2, report=events.append)
    assert [(event.gradient_norm, event.weight_norms) for event in events if isinstance(event, Progress)] == [
        (None, {})
    ]


def test_norms_of_an_ensemble_are_means_and_steps_that_overflow_are_left_out():
    found = {
        "loss": np.ones((3, 2)), "correct": np.ones((3, 2)), "count": np.full((3, 2), 4.0),
        "gradient_norm": np.array([[1.0, 3.0], [np.inf, 2.0], [6.0, 2.0]]),
        "weight_norm/a": np.array([[1.0, 1.0], [2.0, 2.0], [5.0, 7.0]]),
    }  # fmt: skip
    means = Means().after(0, (3, found))
    assert (means.gradient_norm, means.weights) == (3.0, {"a": 6.0})
    assert Means(**dataclasses.asdict(means)) == means
    assert Means(4, 2.0, 1.0, 4.0).gradient_norm is None  # as a run saved it that measures none
    assert metric_names({"kernel": jnp.ones(2)}, log_norms=True)[-1] == "weight_norm/net"


@pytest.mark.slow
def test_events_come_at_the_log_interval_and_at_evaluations(problem):
    events: list[Any] = []
    tested: list[int] = []

    def test(state):
        tested.append(int(state.step))
        return Score(1.0, 0.5)

    fitted = run(problem, steps=25, events=events, log_every=10, test=test, eval_every=15)
    assert isinstance(events[0], Compiled)
    assert [event.step for event in events if isinstance(event, Progress)] == [10, 15, 20, 25]
    assert [event.step for event in events if isinstance(event, Evaluation)] == tested == [15, 25]
    assert fitted.test == Score(1.0, 0.5)
    assert all(0 <= event.accuracy <= 1 for event in events if isinstance(event, Progress))


def test_evaluate_counts_every_image_once(problem, rng):
    net, tx = linear(), optax.sgd(0.1)
    state = start(net, tx)
    x = problem[0].reshape(60, -1) / 255
    logits = x @ np.asarray(state.params["dense0"]["kernel"]) + np.asarray(state.params["dense0"]["bias"])
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    for batch_size in (1, 7, 60, 100):
        found = evaluate(net, state.params, state.state, problem[0], problem[1], batch_size)
        assert found.mean_loss == pytest.approx(-log_p[range(60), problem[1]].mean(), rel=1e-5)
        assert found.accuracy == pytest.approx((logits.argmax(1) == problem[1]).mean())
        np.testing.assert_array_equal(found.answer, logits.argmax(1))
        np.testing.assert_allclose(found.confidence, np.exp(log_p.max(1)), rtol=1e-5)
        order = np.argsort(-logits, axis=1, kind="stable")
        np.testing.assert_array_equal(found.rank, (order == problem[1][:, None]).argmax(1))
    with pytest.raises(ConfigError) as caught:
        evaluate(net, state.params, state.state, problem[0][:0], problem[1][:0])
    assert str(caught.value) == "evaluate needs images and a batch_size of at least 1, got 0 and 500"


def test_a_loss_that_is_not_finite_stops_the_run(problem):
    net, tx = linear(), optax.sgd(0.1)

    def loss(logits, labels, weights):
        return logits.sum() * jnp.nan

    step = make_step(net, tx, loss=loss)
    with pytest.raises(DivergedError) as caught:
        fit(step, start(net, tx), Resident(Arrays(*problem), 8, 0), steps=20, log_every=5)
    assert str(caught.value) == (
        "the loss became nan at step 1; "
        "try a smaller optim.learning_rate, a schedule with warmup_steps, optim.max_grad_norm, or batch normalization"
    )


def test_sizes_must_be_positive(problem):
    with pytest.raises(ConfigError) as caught:
        run(problem, log_every=0)
    assert str(caught.value) == "log_every must be at least 1, got 0"


@pytest.mark.slow
def test_the_same_bits_in_whatever_calls(problem):
    net, tx = linear(), optax.adam(0.01)
    finals = []
    for max_steps, log_every in [(1, 100), (4, 7), (256, 100)]:
        feed = Resident(Arrays(*problem), 8, 0, max_steps=max_steps)
        finals.append(fit(make_step(net, tx), start(net, tx), feed, steps=23, log_every=log_every).final)
    for final in finals[1:]:
        for one, other in zip(jax.tree.leaves(final.params), jax.tree.leaves(finals[0].params), strict=True):
            np.testing.assert_array_equal(one, other)


def test_parts_of_a_batch_give_the_gradient_of_the_whole(problem):
    net, tx = jc.chain(lambda x: x.astype(jnp.float32) / 255, jc.flatten, jc.Dense(3)), optax.sgd(0.5)
    batch = batch_of(problem, np.arange(12))._replace(weight=jnp.arange(12.0) % 3)
    whole, expected = jax.jit(make_step(net, tx))(start(net, tx), batch)
    parts, metrics = jax.jit(make_step(net, tx, accumulate=4))(start(net, tx), batch)
    for name in ("loss", "correct", "count"):
        assert metrics[name] == pytest.approx(float(expected[name]), rel=1e-5), name
    for one, other in zip(jax.tree.leaves(parts.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    with pytest.raises(ConfigError) as caught:
        make_step(net, tx, accumulate=5)(start(net, tx), batch)
    assert str(caught.value) == "accumulate must divide the batch size, got 5 micro-batches of 12 images"


def test_what_weighs_nothing_changes_nothing(problem):
    net, tx = linear(), optax.sgd(0.5)
    batch = batch_of(problem, np.arange(8))._replace(weight=jnp.array([1.0, 0, 1, 1, 0, 1, 1, 1]))
    other = batch._replace(image=batch.image.at[1].set(255), label=batch.label.at[4].set(2))
    step = jax.jit(make_step(net, tx))
    one, two = (step(start(net, tx), b) for b in (batch, other))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert (a == b).all()


def test_a_step_that_overflows_changes_nothing_but_the_scale(problem):
    """Not the running statistics either, which one infinite batch would spoil for good."""
    net, tx = jc.cast(jc.chain(jc.BatchNorm(), jc.flatten, jc.Dense(3)), jnp.float16), optax.adam(0.1)
    step = jax.jit(make_step(net, tx, prepare=lambda images: images.astype(jnp.float32), scale_loss=True))
    batch = batch_of(problem, np.arange(8))
    before = init_state(net, tx, jax.random.key(0), SHAPE, scale_loss=True)
    after, metrics = step(before, batch._replace(image=batch.image * jnp.float32(1e6)))
    assert not jnp.isfinite(metrics["loss"])
    for name in ("params", "state", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(before, name))
    assert (int(after.step), float(after.scale.scale)) == (1, float(before.scale.scale) / 2)
    moved, _ = step(before, batch)
    assert not np.array_equal(moved.state["batch_norm0"]["mean"], before.state["batch_norm0"]["mean"])


def test_averages_by_hand(problem):
    net, tx = jc.chain(lambda x: x.astype(jnp.float32), jc.BatchNorm(), jc.flatten, jc.Dense(3)), optax.sgd(0.01)
    state = init_state(net, tx, jax.random.key(0), SHAPE, average=True)
    step = jax.jit(make_step(net, tx, average=0.25))
    expected = [np.array(leaf, np.float64) for leaf in jax.tree.leaves(state.average)]
    for number in range(5):
        state, _ = step(state, batch_of(problem, np.arange(8) + number))
        decay = min(0.25, (1 + number) / (10 + number))
        now = jax.tree.leaves((state.params, state.state))
        expected = [decay * old + (1 - decay) * np.asarray(new) for old, new in zip(expected, now, strict=True)]
    for got, want in zip(jax.tree.leaves(state.average), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert state.tested is state.average


def test_it_stops_when_asked_and_saves_when_due(problem):
    saved: list[tuple[int, int]] = []

    def due(done):
        last = saved[-1][0] if saved else 0
        return done if done % 5 == 0 and done > last else done - done % 5 + 5

    def save(state, done, means):
        assert means.steps == done % 100
        saved.append((done, int(state.step)))

    fitted = run(problem, steps=1000, save=save, due=due, stop=lambda: len(saved) == 3)
    assert saved == [(5, 5), (10, 10), (15, 15), (15, 15)]
    assert fitted.done == int(fitted.final.step) == 15
    assert fitted.test is None


def test_the_loss_sees_the_labels_that_the_augmentation_made(problem):
    net, tx, seen = linear(), optax.sgd(0.1), []

    def loss(logits, labels, weights):
        seen.append((labels.shape, labels.dtype))
        return logits.sum()

    step = make_step(net, tx, loss=loss, augment=mixup(1.0, num_classes=3))
    jax.eval_shape(step, start(net, tx), batch_of(problem, np.arange(4)))
    assert seen == [((4, 3), np.float32)]


@pytest.mark.slow
def test_a_run_that_has_all_its_steps_is_tested_all_the_same(problem):
    done = run(problem, steps=3).final
    fitted = run(problem, steps=3, train=done, test=lambda state: Score(float(state.step), 1.0))
    assert (fitted.done, fitted.test) == (3, Score(3.0, 1.0))


@pytest.mark.slow
def test_time_spent_saving_is_no_training_time(problem):
    import time

    events: list[Any] = []

    def save(state, done, means):
        time.sleep(0.5)

    def due(done):
        return done if done % 4 == 0 and done else done - done % 4 + 4

    saving = run(problem, steps=20, events=events, log_every=5, save=save, due=due)
    reported = [event for event in events if isinstance(event, Progress)]
    seconds = sum(5 * 8 / event.images_per_second for event in reported)
    assert seconds == pytest.approx(saving.seconds, rel=0.05)
    assert saving.seconds < 2
