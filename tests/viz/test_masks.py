"""Pictures of masks: colors of few classes that differ under any color vision, VOC's of many."""

import numpy as np
import pytest

from jaxconv.data.mask_files import voc_colors
from jaxconv.viz.masks import draw_masks
from jaxconv.viz.palette import OKABE_ITO


@pytest.mark.parametrize("count", [2, 8, 9, 21])
def test_colors(count):
    mask = np.arange(count)[None, None]
    figure = draw_masks(np.zeros([1, 1, count, 3]), mask, mask, ["a"], [f"class {k}" for k in range(count)])
    shown = figure.axes[1].images[0].get_array()[0]
    if count > 8:
        np.testing.assert_array_equal(shown, voc_colors()[:count])
    else:
        names = {f"#{red:02X}{green:02X}{blue:02X}" for red, green, blue in shown}
        assert len(names) == count
        assert names <= {*OKABE_ITO, "#F0E442"}
        np.testing.assert_array_equal(shown[0], 0)
    [legend] = figure.legends
    colors = [patch.get_facecolor()[:3] for patch in legend.get_patches()]
    np.testing.assert_allclose(255 * np.array(colors), shown, atol=0.5)
