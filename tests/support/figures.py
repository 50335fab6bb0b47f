"""What can be said of any figure without looking at it."""

import itertools


def assert_nothing_cut(figure):
    """All that is drawn lies within the figure."""
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0, f"cut at the left or below: {box}"
    assert box.x1 <= width, f"cut at the right: {box.x1} of {width}"
    assert box.y1 <= height, f"cut above: {box.y1} of {height}"


def overlapping(texts):
    """Pairs of texts that lie on one another, after a draw."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    return [(a, b) for (a, one), (b, other) in itertools.combinations(boxes, 2) if one.overlaps(other)]
