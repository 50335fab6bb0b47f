"""Counts against loops and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv._base.errors import ShapeError
from jaxconv.training.metrics import (
    accuracy,
    calibration_error,
    confusion_matrix,
    correct,
    count_pairs,
    label_rank,
    per_class,
    top_k,
)

N, C = 50, 4


@pytest.fixture
def answers(rng):
    """Logits with many ties, labels, weights of which some are 0."""
    logits = rng.integers(0, 5, (N, C)).astype(np.float32)
    return logits, rng.integers(0, C, N).astype(np.int32), rng.integers(0, 3, N).astype(np.float32)


@pytest.mark.slow
def test_counts(answers, quick_jit):
    logits, labels, weights = answers
    hits = logits.argmax(1) == labels
    number, share = quick_jit(correct), quick_jit(accuracy)
    for given in (labels, np.eye(C, dtype=np.float32)[labels] * 0.6 + 0.1):
        assert number(logits, given) == hits.sum()
        assert number(logits, given, weights) == (hits * weights).sum()
        assert share(logits, given) == pytest.approx(hits.mean())
        assert share(logits, given, weights) == pytest.approx((hits * weights).sum() / weights.sum())
    assert share(logits, labels, jnp.zeros(N)) == 0
    assert share(logits[:0], labels[:0]) == 0


@pytest.mark.sampled
@pytest.mark.parametrize("k", [1, 2, 4, 5])
def test_top_k(answers, k):
    logits, labels, weights = answers
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    hits = np.array([label in row for label, row in zip(labels, best, strict=True)])
    assert jax.jit(top_k, static_argnums=2)(logits, labels, k) == pytest.approx(hits.mean())
    assert top_k(logits, labels, k, weights) == pytest.approx((hits * weights).sum() / weights.sum())
    if k >= C:
        assert hits.all()


def test_the_rank_of_a_label_that_is_none_or_of_scores_that_are_none(answers):
    logits, labels, _ = answers
    best = np.argsort(-logits, axis=1, kind="stable")
    expected = np.array([list(row).index(label) for label, row in zip(labels, best, strict=True)])
    np.testing.assert_array_equal(label_rank(logits, labels), expected)
    logits[0, 2], labels[1], labels[2] = np.nan, -1, C
    expected[:3] = C
    np.testing.assert_array_equal(label_rank(logits, labels), expected)
    assert top_k(logits, labels, C + 3) == pytest.approx((N - 3) / N)


@pytest.mark.slow
def test_members_are_counted_together(answers):
    import sklearn.metrics

    logits, labels, weights = answers
    chosen = np.stack([logits.argmax(1), (labels + 1) % C])
    expected = sum(sklearn.metrics.confusion_matrix(labels, each, labels=range(C)) for each in chosen)
    np.testing.assert_array_equal(count_pairs(labels, chosen, C), expected)
    expected = sum(sklearn.metrics.confusion_matrix(labels[weights > 0], each[weights > 0]) for each in chosen)
    np.testing.assert_array_equal(count_pairs(labels, chosen, C, weights), expected)


@pytest.mark.slow
def test_confusion_matrix_and_what_follows_from_it(answers):
    import sklearn.metrics

    logits, labels, weights = answers
    chosen, counted = logits.argmax(1), weights > 0
    both = jax.jit(confusion_matrix)
    np.testing.assert_array_equal(both(logits, labels), sklearn.metrics.confusion_matrix(labels, chosen))
    matrix = both(logits, labels, weights)
    expected = sklearn.metrics.confusion_matrix(labels[counted], chosen[counted])
    np.testing.assert_array_equal(matrix, expected)
    assert matrix.dtype == jnp.int32
    table = sklearn.metrics.precision_recall_fscore_support(labels[counted], chosen[counted])
    result = per_class(matrix)
    for got, want in zip((result.precision, result.recall, result.f1), table, strict=False):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_labels_outside_the_classes_are_counted_nowhere(quick_jit):
    logits, labels = np.eye(3, dtype=np.float32), np.array([-1, 3, 2])
    np.testing.assert_array_equal(quick_jit(confusion_matrix)(logits, labels), np.diag([0, 0, 1]))
    assert quick_jit(top_k)(logits, labels) == pytest.approx(1 / 3)
    assert not np.isnan(np.stack(quick_jit(per_class)(np.diag([0, 0, 1])))).any()


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("weighted", [False, True])
def test_calibration_error(rng, quick_jit, bins, weighted):
    n = 400
    logits = rng.normal(0, 2, (n, C))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = rng.integers(0, C, n).astype(np.int32)
    weights = rng.uniform(0, 2, n).astype(np.float32) if weighted else None
    each = np.ones(n) if weights is None else weights.astype(np.float64)
    sure, right, expected = p.max(1), p.argmax(1) == labels, 0.0
    for number in range(bins):
        inside = (sure > number / bins) & (sure <= (number + 1) / bins)
        if inside.any():
            gap = np.average(right[inside], weights=each[inside]) - np.average(sure[inside], weights=each[inside])
            expected += each[inside].sum() / each.sum() * abs(gap)
    got = quick_jit(calibration_error, static_argnums=2)(p.astype(np.float32), labels, bins, weights)
    assert got == pytest.approx(expected, abs=1e-5)


def test_calibration_at_the_ends(quick_jit):
    error = quick_jit(calibration_error)
    one_hot, labels = np.eye(3, dtype=np.float32), np.arange(3)
    assert error(one_hot, labels) == 0
    assert error(one_hot, labels[::-1]) == pytest.approx(2 / 3)
    assert error(one_hot, labels, weights=np.zeros(3, np.float32)) == 0
    assert np.isnan(error(5 * one_hot, labels)), "logits are no probabilities"


def test_messages():
    logits, labels = jnp.zeros([2, 3]), jnp.zeros(2, int)
    for call, message in [
        (
            lambda: correct(logits, jnp.zeros([2, 3], int)),
            "logits must be [N, C], and labels integers [N] or floating [N, C]\n"
            "  got: logits float32 [2, 3], labels int32 [2, 3]\n"
            "  fix: labels.astype(jnp.float32), or labels.argmax(-1)",
        ),
        (lambda: top_k(logits, labels, 0), "k must be 1 or more\n  got: k=0"),
        (lambda: calibration_error(logits, labels, 0), "bins must be 1 or more\n  got: bins=0"),
        (lambda: per_class(logits), "a confusion matrix must be [C, C]\n  got: [2, 3]"),
    ]:
        with pytest.raises(ShapeError) as caught:
            call()
        assert str(caught.value) == message


def test_a_confusion_matrix_of_more_cells_than_int32_counts_is_refused():
    with pytest.raises(ShapeError) as caught:
        jax.eval_shape(confusion_matrix, jnp.zeros((1, 46_341)), jnp.zeros(1, jnp.int32))
    assert str(caught.value).splitlines()[:2] == [
        "a confusion matrix has at most 46,340 classes",
        "  got: 46,341 classes",
    ]
