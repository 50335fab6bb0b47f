"""The curves of a run: what is drawn is what was given, and all of it can be read."""

import numpy as np
import pytest
from support.figures import assert_nothing_cut, overlapping

from jaxconv._base.errors import DataError
from jaxconv.viz.curves import draw_lr_range, training_curves

pytestmark = pytest.mark.sampled


def lines(rng, count, *, low=0.1, high=0.99, test_every=5, rate=False):
    """A run's metrics.jsonl: an accuracy that rises from low to high, a loss that falls, and tests on the way."""
    made = []
    for number in range(1, count + 1):
        step, share = 100 * number, number / count
        accuracy = high - (high - low) * np.exp(-6 * share) * rng.uniform(0.9, 1)
        line = {"step": step, "loss": 2.3 * np.exp(-5 * share), "accuracy": accuracy, "images_per_second": 1e4}
        made.append(line | ({"learning_rate": 0.1 * (1 - share)} if rate else {}))
        if test_every and number % test_every == 0:
            made.append({"step": step, "test_loss": line["loss"] + 0.1, "test_accuracy": accuracy - 0.01})
    return made


def drawn(axes):
    return {line.get_label().partition(",")[0]: (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}


def given(made, name):
    return [line["step"] for line in made if name in line], [line[name] for line in made if name in line]


def test_the_legend_names_what_makes_training_harder_if_it_ends_worse():
    def names(train, test):
        made = [
            {"step": 1, "loss": train, "accuracy": 1 - train},
            {"step": 1, "test_loss": test, "test_accuracy": 1 - test},
        ]
        found = training_curves(made, smoothing=["label smoothing 0.1"], noise=["dropout 0.5"])
        return [axes.lines[0].get_label() for axes in found.axes]

    assert names(0.5, 0.25) == [
        "train (label smoothing 0.1, dropout 0.5), 0.5 at the end", "train (dropout 0.5), 50.00 % at the end",
    ]  # fmt: skip
    assert names(0.25, 0.5) == ["train, 0.25 at the end", "train, 75.00 % at the end"]


def test_validation_has_curves_of_its_own():
    made = [{"step": 1, "loss": 0.5, "accuracy": 0.8}, {"step": 1, "validation_loss": 0.6, "validation_accuracy": 0.7}]
    labels = [[line.get_label() for line in axes.lines] for axes in training_curves(made).axes]
    assert labels == [
        ["train, 0.5 at the end", "validation, 0.6 at the end"],
        ["train, 80.00 % at the end", "validation, 70.00 % at the end"],
    ]


@pytest.mark.parametrize("count", [1, 5, 600])
def test_the_curves_are_the_numbers(count, rng):
    made = lines(rng, count, rate=True)
    figure = training_curves(made, "a run")
    loss, accuracy, rate = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy", "learning rate"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "step"]
    assert figure.get_suptitle() == "a run"
    test = {"test": given(made, "test_loss")} if count > 1 else {}
    assert drawn(loss) == {"train": given(made, "loss")} | test
    test = {"test": given(made, "test_accuracy")} if count > 1 else {}
    assert drawn(accuracy) == {"train": given(made, "accuracy")} | test
    assert drawn(rate) == {"learning rate": given(made, "learning_rate")}
    assert_nothing_cut(figure)


def test_the_legend_has_the_last_numbers():
    made = [
        {"step": 1, "loss": 2.0, "accuracy": 0.5},
        {"step": 2, "loss": 0.31114, "accuracy": 0.98765},
        {"step": 2, "test_loss": 0.25, "test_accuracy": 0.9712, "test_top5": 1.0},
    ]
    texts = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in training_curves(made).axes]
    assert texts == [
        ["train, 0.3111 at the end", "test, 0.25 at the end"],
        ["train, 98.77 % at the end", "test, 97.12 % at the end", "test, top 5, 100.00 % at the end"],
    ]


def test_train_and_test_differ_by_more_than_color(rng):
    for axes in training_curves(lines(rng, 10)).axes:
        train, test = axes.lines
        for look in ("get_color", "get_linestyle", "get_marker"):
            assert getattr(train, look)() != getattr(test, look)()
        assert test.get_markersize() > 0


@pytest.mark.parametrize(("low", "high"), [(0.97, 0.99), (0.1, 0.75), (0.1, 0.99), (0.5, 1.0), (0.9, 0.9999)])
def test_accuracies_fill_their_axis(low, high, rng):
    """The curve takes most of the height, and every tick is a share that can be."""
    figure = training_curves(lines(rng, 40, low=low, high=high))
    axes = figure.axes[1]
    figure.draw_without_rendering()
    bottom, top = axes.get_window_extent().intervaly
    pixels = axes.transData.transform(np.column_stack(axes.lines[0].get_data()))[:, 1]
    assert bottom <= pixels.min() <= pixels.max() <= top
    assert np.ptp(pixels) > 0.7 * (top - bottom)
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert len(labels) >= 4
    assert all(label.endswith(" %") and 0 <= float(label[:-2]) <= 100 for label in labels)
    assert not overlapping(axes.get_yticklabels())
    assert_nothing_cut(figure)


def test_a_wide_range_is_stretched_towards_100_percent(rng):
    axes = training_curves(lines(rng, 40, low=0.1, high=0.99)).axes[1]
    heights = axes.transAxes.inverted().transform(axes.transData.transform([[0, 0.90], [0, 0.98]]))[:, 1]
    assert heights[1] - heights[0] > 0.25  # a linear axis gives them 0.09
    plain = training_curves(lines(rng, 40, low=0.1, high=0.8)).axes[1]
    assert plain.get_yscale() == "linear"


def test_a_step_gone_over_again_counts_once():
    made = [{"step": step, "loss": loss} for step, loss in [(1, 3.0), (2, 2.0), (3, 9.0), (2, 1.5), (3, 1.0)]]
    assert drawn(training_curves(made).axes[0]) == {"train": ([1, 2, 3], [3.0, 1.5, 1.0])}


def test_nothing_to_draw_is_told():
    names = "loss, test_loss, accuracy, test_accuracy, test_top5, learning_rate"
    for made, got in [([], "0 lines of nothing"), ([{"loss": 1.0, "epoch": 2}], "1 line of loss, epoch")]:
        with pytest.raises(DataError) as caught:
            training_curves(made)
        assert str(caught.value) == (
            f"training curves need a line with a step and one of {names}; "
            f"got {got}; give the lines of a run's metrics.jsonl"
        )


def test_a_range_of_learning_rates_is_drawn_as_given():
    rates, losses = [1e-4, 1e-3, 1e-2, 1e-1], [2.3, 2.0, 1.0, 50.0]
    figure = draw_lr_range(rates, losses, [2.3, 2.1, 1.4, 30.0], {"steepest descent": 1e-3, "lowest loss": 1e-2}, "a")
    (axes,) = figure.axes
    loss, smooth, *marks = axes.lines
    assert (list(loss.get_xdata()), list(loss.get_ydata())) == (rates, losses)
    assert list(smooth.get_ydata()) == [2.3, 2.1, 1.4, 30.0]
    assert [mark.get_xdata()[0] for mark in marks] == [1e-3, 1e-2]
    assert axes.get_xscale() == "log"
    bottom, top = axes.get_ylim()
    assert bottom < 1.4
    assert 2.3 < top < 10  # not the loss that exploded
    assert_nothing_cut(figure)
    with pytest.raises(DataError, match="expected as many rates as losses, at least one; got 0 and 0"):
        draw_lr_range([], [], [], {})
