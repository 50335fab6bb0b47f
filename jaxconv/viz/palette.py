"""Color palette of all figures."""

from __future__ import annotations

__all__ = ["BLACK", "BLUE", "GRAY", "GREEN", "OKABE_ITO", "ORANGE", "PINK", "SKY_BLUE", "VERMILION"]

BLUE, VERMILION, GREEN, PINK, ORANGE, SKY_BLUE, BLACK = OKABE_ITO = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
)  # fmt: skip
"""Colors that differ under any color vision (Okabe and Ito 2008), without the yellow that is too light for lines."""

GRAY = "#767676"
"""The lightest gray that can be read on white (WCAG 2, contrast 4.5)."""
