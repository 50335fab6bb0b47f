"""A dataset of random test images."""

import types

import numpy as np


def dataset(rng, classes, count, shape=(20, 24, 3)):
    """Images of so many pixels with label 0."""
    images = rng.integers(0, 256, (count, *shape)).astype(np.uint8)
    moments = {"mean": (120.0,) * shape[-1], "std": (60.0,) * shape[-1], "image_shape": shape}
    return types.SimpleNamespace(classes=classes, peak=255.0, test=[(image, 0) for image in images], **moments)
