"""torchvision's transforms v2 on images [N, H, W, C]."""

import numpy as np
from port.originals import original


def functional(name, images, *arguments, **words):
    """`torchvision.transforms.v2.functional.<name>` of the images, which it takes with channels first."""
    import torch

    original("torchvision")
    from torchvision.transforms.v2 import functional

    first = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, -3)))
    return np.moveaxis(getattr(functional, name)(first, *arguments, **words).numpy(), -3, -1)
