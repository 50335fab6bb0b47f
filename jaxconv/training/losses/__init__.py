"""Loss functions: (weighted) means over examples or pixels, overlaps and boundaries of regions."""

from jaxconv.training.losses._pointwise import binary_cross_entropy, cross_entropy, focal, mean_squared_error
from jaxconv.training.losses._regions import boundary, dice, lovasz

__all__ = ["binary_cross_entropy", "boundary", "cross_entropy", "dice", "focal", "lovasz", "mean_squared_error"]


def __dir__() -> list[str]:
    return sorted(__all__)
