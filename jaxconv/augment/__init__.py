"""Data augmentation: pure functions `(key, Batch) -> Batch` with independent randomness for each image.

augment = compose(shift(4, padding_mode="reflect"), flip(), cutout(8))
batch = augment(key, batch)
"""

from jaxconv.augment.color import color_jitter, normalize
from jaxconv.augment.combine import compose, random_choice, sometimes
from jaxconv.augment.contract import Augment
from jaxconv.augment.erase import cutout, random_erasing
from jaxconv.augment.mix import cutmix, mixup
from jaxconv.augment.move import expand, flip, shift
from jaxconv.augment.named import augment_problems, from_config, registry
from jaxconv.augment.resample import affine, elastic, random_resized_crop, rotate

__all__ = [
    "Augment", "affine", "augment_problems", "color_jitter", "compose", "cutmix", "cutout", "elastic", "expand",
    "flip", "from_config", "mixup", "normalize", "random_choice", "random_erasing", "random_resized_crop",
    "registry", "rotate", "shift", "sometimes",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
