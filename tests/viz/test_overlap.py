"""Drawn overlaps: the cells are as bright as the transposed convolution of ones makes them, and all can be read."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support.figures import assert_nothing_cut, overlapping
from typer.testing import CliRunner

import jaxconv as jc
from jaxconv.cli.commands import app
from jaxconv.viz.overlap import draw_overlap

CASES = [
    (3, 2, 1),
    (4, 2, 1),
    (2, 3, 1),
    (5, 3, 1),
    ((3, 5), (2, 4), (1, 2)),
    ((3, 4), 2, 1),
    (9, 4, 1),
    (3, 2, 3),
    (1, 1, 1),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_map_is_the_transposed_convolution_of_ones(case):
    kernel, stride, dilation = case
    figure = draw_overlap(*case)
    windows, counts, both = figure.axes
    drawn = np.asarray(both.images[0].get_array())
    k = tuple(np.broadcast_to(kernel, 2))
    span = [(n - 1) * d + 1 for n, d in zip(k, np.broadcast_to(dilation, 2), strict=True)]
    inputs = [(n - a) // s + 1 for n, a, s in zip(drawn.shape, span, np.broadcast_to(stride, 2), strict=True)]
    ones = jnp.ones((1, *inputs, 1)), jnp.ones((*map(int, k), 1, 1))
    want = jc.conv_transpose(*ones, stride=stride, dilation=dilation)[0, :, :, 0]
    np.testing.assert_array_equal(drawn, want)
    axis = 0 if case == ((3, 4), 2, 1) else 1  # the uneven one
    along = want.max(1 - axis) / want.max(1 - axis)[0]
    np.testing.assert_array_equal([bar.get_height() for bar in counts.patches], along)
    assert len(windows.patches) == inputs[axis] * k[axis]
    uneven = any(
        len(set(jc.geometry.overlap(*axis))) > 1
        for axis in zip(*(np.broadcast_to(v, 2).tolist() for v in case), strict=True)
    )
    assert figure.get_supxlabel().startswith("uneven" if uneven else "even")
    assert_nothing_cut(figure)
    texts = [text for axes in figure.axes for text in (*axes.get_xticklabels(), *axes.get_yticklabels(), axes.title)]
    assert not overlapping(texts)


def test_the_kernel_that_it_names_is_even():
    for kernel, stride in ((3, 2), (5, 3), (2, 3), (7, 4)):
        words = draw_overlap(kernel, stride).get_supxlabel()
        named = int(words.split("kernel of ")[1].split()[0])
        assert len(set(jc.geometry.overlap(named, stride))) == 1


def test_the_command(tmp_path):
    out = tmp_path / "overlap.png"
    run = CliRunner().invoke(app, ["plot", "overlap", "--kernel", "3x4", "--stride", "2", "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert run.stdout.strip() == f"wrote {out}"
    with Image.open(out) as picture:
        assert picture.width > 500
    wrong = CliRunner().invoke(app, ["plot", "overlap", "--kernel", "3", "--out", str(tmp_path / "overlap.gif")])
    assert wrong.exit_code == 2
    assert "--out must end in .png" in wrong.output
