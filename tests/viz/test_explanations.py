"""Pictures of attribution maps: values, scales and sizes."""

import numpy as np
import pytest
from support.figures import assert_nothing_cut, overlapping

import jaxconv as jc
from jaxconv.viz.explanations import Map, Picture, draw_explanations
from jaxconv.viz.palette import BLUE, VERMILION


def rgb(color):
    return [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(8, 8), (28, 28), (20, 90), (90, 20), (120, 320)])
@pytest.mark.parametrize("channels", [1, 3])
def test_sizes(size, channels, rng):
    image = rng.uniform(0, 255, (*size, channels))
    shown = [
        Map("gradcam\nlayer4", rng.uniform(size=size), signed=False),
        Map("integrated-gradients", rng.normal(size=size), signed=True),
        Picture("pgd\na class with a $long$ name, 99.9%", image),
        Map("zero", np.zeros(size), signed=True),
    ]
    figure = draw_explanations(image, "7, 98.2%\nexplained: 3, 1.2%", shown, title="a run, three.png")
    assert_nothing_cut(figure)
    assert not overlapping([axes.title for axes in figure.axes])
    assert len(figure.axes) == 5 + 3  # a scale for each map


def test_values_of_both_signs_are_blue_and_vermilion_and_zero_is_white():
    values = np.array([[-2.0, 0.0], [1.0, 2.0]])
    figure = draw_explanations(np.ones([2, 2, 1]), "", [Map("", values, signed=True)], peak=1)
    shown = figure.axes[1].images[0].get_array()
    white = draw_explanations(np.array([[[0.0], [1.0]], [[1.0], [1.0]]]), "", [Map("", values, signed=True)], peak=1)
    dark = white.axes[1].images[0].get_array()
    np.testing.assert_allclose(shown[0, 0] / shown[0, 0].max(), np.array(rgb(BLUE)) / rgb(BLUE)[2], atol=0.01)
    np.testing.assert_allclose(dark[1, 1], rgb(VERMILION), atol=0.01)
    np.testing.assert_allclose(dark[0, 1], 1, atol=0.01)
    np.testing.assert_allclose(dark[0, 0], 0.7 * np.array(rgb(BLUE)), atol=0.01)  # the image is a shade
    assert figure.axes[2].get_ylim() == (-2, 2)


def test_magnitudes_cover_the_image_the_more_the_larger(rng):
    image = np.linspace(0, 1, 16).reshape(4, 4, 1)
    values = np.zeros([4, 4])
    values[1, 2] = 5
    figure = draw_explanations(image, "", [Map("", values, signed=False)], peak=1)
    shown = figure.axes[1].images[0].get_array()
    np.testing.assert_allclose(shown[0, 1], image[0, 1, 0])
    assert shown[1, 2, 0] > shown[1, 2, 2] + 0.3  # yellow
    assert figure.axes[2].get_ylim() == (0, 5)


def test_the_scale_of_a_large_map_ends_below_its_outliers(rng):
    values = rng.uniform(0, 1, (40, 40))
    values[3, 4] = 1e6
    figure = draw_explanations(np.zeros([40, 40, 1]), "", [Map("", values, signed=False)])
    low, high = figure.axes[2].get_ylim()
    assert (low, high) == (0, pytest.approx(1, abs=0.02))


def test_a_map_of_another_size():
    with pytest.raises(jc.ShapeError) as caught:
        draw_explanations(np.zeros([4, 5, 1]), "", [Map("gradcam", np.zeros([5, 4]), signed=False)])
    assert str(caught.value) == "a map must have the size of the image, (4, 5)\n  got: gradcam (5, 4)"
    with pytest.raises(jc.ShapeError) as caught:
        draw_explanations(np.zeros([4, 5, 1]), "", [], outline=np.ones([4, 4], bool))
    assert str(caught.value) == "the outline must have the size of the image, (4, 5)\n  got: (4, 4)"


def test_the_outline_is_on_every_panel_between_inside_and_outside():
    inside = np.zeros([4, 5], bool)
    inside[0, 0] = inside[2, 1:3] = True
    shown = [Map("a", np.zeros([4, 5]), signed=False)]
    figure = draw_explanations(np.zeros([4, 5, 1]), "", shown, outline=inside)
    square = {
        ((-0.5, -0.5), (0.5, -0.5)),
        ((-0.5, 0.5), (0.5, 0.5)),
        ((-0.5, -0.5), (-0.5, 0.5)),
        ((0.5, -0.5), (0.5, 0.5)),
    }
    for panel in figure.axes[:2]:
        for lines in panel.collections:
            edges = {tuple(map(tuple, edge)) for edge in lines.get_segments()}
            assert square < edges
            assert len(edges) == 4 + 6
