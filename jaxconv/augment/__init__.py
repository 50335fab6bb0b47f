"""Data augmentation: pure functions `(key, Batch) -> Batch` with independent randomness for each image.

augment = compose(shift(4, padding_mode="reflect"), flip(), cutout(8))
batch = augment(key, batch)
"""

from jaxconv.augment.color import color_jitter, grayscale, normalize
from jaxconv.augment.combine import compose, random_choice, sometimes
from jaxconv.augment.contract import Augment
from jaxconv.augment.crop import random_resized_crop
from jaxconv.augment.deform import elastic
from jaxconv.augment.erase import cutout, random_erasing
from jaxconv.augment.filter import gaussian_blur, gaussian_noise, sharpness
from jaxconv.augment.mix import cutmix, mixup
from jaxconv.augment.move import expand, flip, shift
from jaxconv.augment.named import augment_problems, from_config, registry
from jaxconv.augment.policy import augmix, rand_augment, trivial_augment
from jaxconv.augment.repeated import repeat
from jaxconv.augment.tone import autocontrast, equalize, invert, posterize, solarize
from jaxconv.augment.warp import affine, perspective, rotate

__all__ = [
    "Augment", "affine", "augment_problems", "augmix", "autocontrast", "color_jitter", "compose", "cutmix", "cutout",
    "elastic", "equalize", "expand", "flip", "from_config", "gaussian_blur", "gaussian_noise", "grayscale", "invert",
    "mixup", "normalize", "perspective", "posterize", "rand_augment", "random_choice", "random_erasing",
    "random_resized_crop", "registry", "repeat", "rotate", "sharpness", "shift", "solarize", "sometimes",
    "trivial_augment",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
