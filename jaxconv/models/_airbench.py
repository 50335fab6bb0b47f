"""The CIFAR-10 net that is trained to 94 % in the least time: whitened patches, three groups, a scaled head."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv import geometry
from jaxconv._base.errors import ShapeError
from jaxconv._base.types import Params, State
from jaxconv.layers import BatchNorm, Conv, Dense, MaxPool, chain
from jaxconv.layers.initializers import VarianceScaling, dirac
from jaxconv.layers.layer import Layer, check_params, shape_of
from jaxconv.models._stages import ending
from jaxconv.ops import global_max_pool

__all__ = ["airbench", "whitening_kernel"]

UNIFORM = VarianceScaling(1 / 3, "in", normal=False)  # in ±1 / sqrt(fan in), torch's own start
PATCH = 2
gelu = functools.partial(jax.nn.gelu, approximate=False)


def airbench(num_classes: int = 10, *, width: int = 64, scale: float = 1 / 9, upto: str | None = None) -> Layer:
    """2×2 patches whitened, then three groups of two 3×3 convolutions, the first of each pooled.

    Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (2024), and its airbench94: norms without a scale,
    exact GELU, convolutions that start as the identity, a head without a bias. The whitening kernel is set from
    training images and gets no gradient; `jc.optim.freeze(optimizer, "whiten/kernel")` keeps weight decay off it, too:

        params["whiten"]["kernel"] = whitening_kernel(images[:5000])

    Args:
      num_classes: units of the last layer, called `head`; 0 for the net without it, which gives the mean of each map.
      width: maps of the first group; the other two have four times as many.
      scale: what the logits are multiplied by.
      upto: path of the last part, for a backbone ("group2"); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes], of any image of at least 9×9.

    Raises:
      ShapeError: numbers that cannot be, or a path that is not there.

    >>> net = airbench()
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 32, 32, 3)))
    >>> list(net.parts), params["whiten"]["kernel"].shape
    (['whiten', 'gelu', 'group1', 'group2', 'group3', 'maxpool', 'head', 'scaled'], (2, 2, 3, 24))
    """
    geometry.integer(width, "width")
    body = {"whiten": _whiten(), "gelu": gelu, "group1": _group(width)}
    body |= {"group2": _group(4 * width), "group3": _group(4 * width)}

    def head(num_classes: int) -> Mapping[str, Any]:
        def scaled(x: jax.Array) -> jax.Array:
            return x * scale

        dense = Dense(num_classes, bias=False, kernel_init=UNIFORM)
        return {"maxpool": global_max_pool, "head": dense, "scaled": scaled}

    return ending(body, head, num_classes=num_classes, upto=upto, pool=None)


def _whiten() -> Layer:
    """2×2 to two maps for each of a patch's 4 C numbers, by a kernel that no gradient changes."""

    def conv(maps: int) -> Layer:
        return Conv(maps, PATCH, kernel_init=UNIFORM, transform=jax.lax.stop_gradient)

    def init(key: Any, x: Any) -> tuple[Params, State]:
        return conv(2 * PATCH**2 * max(1, shape_of(x).shape[-1])).init(key, x)

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        check_params("whiten", params, ("kernel", "bias"))
        return conv(params["kernel"].shape[-1]).apply(params, state, x)

    return Layer("whiten", init, apply)


def _group(maps: int) -> Layer:
    """Convolution, pool, norm, GELU; convolution, norm, GELU."""
    conv = Conv(maps, 3, padding=1, bias=False, kernel_init=_identity)
    norm = BatchNorm(momentum=0.6, eps=1e-12, scale=False)
    return chain(conv1=conv, pool=MaxPool(2), norm1=norm, activ1=gelu, conv2=conv, norm2=norm, activ2=gelu)


def _identity(key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """A kernel whose first maps are the channels that come in; the others are drawn."""
    came, maps = shape[-2:]
    same = dirac(key, (*shape[:-1], min(came, maps)), dtype)
    return jnp.concatenate([same, UNIFORM(key, shape, dtype)[..., came:]], axis=-1) if maps > came else same


def whitening_kernel(images: Any, *, eps: float = 5e-4) -> jax.Array:
    """The kernel that turns 2×2 patches into numbers of variance 1 without correlation, and their negatives.

    Args:
      images: [N, H, W, C], normalized as the net gets them; a few thousand do.
      eps: added to the variances, so that what is nearly constant is not blown up.

    Returns:
      [2, 2, C, 8 C]: the eigenvectors of the patches' second moments, the largest first, each divided by the root
      of its eigenvalue + eps; then the same times -1.

    Raises:
      ShapeError: images that are not [N, H, W, C] with at least one patch.

    Source: Page, How to Train Your ResNet 8: Bag of Tricks, 2019; Jordan, 2024.

    >>> jax.eval_shape(whitening_kernel, jax.ShapeDtypeStruct((5000, 32, 32, 3), "float32")).shape
    (2, 2, 3, 24)
    """
    x = jnp.asarray(images, jnp.float32)
    if x.ndim != 4 or min(x.shape[1:3]) < PATCH or 0 in x.shape:
        raise ShapeError("whitening_kernel needs images [N, H, W, C] of at least 2×2", got=f"{x.shape}")
    height, across = (n - PATCH + 1 for n in x.shape[1:3])
    corners = [(i, j) for i in range(PATCH) for j in range(PATCH)]
    shifted = [x[:, i : i + height, j : j + across] for i, j in corners]
    patches = jnp.stack(shifted, axis=-2).reshape(-1, PATCH**2 * x.shape[-1])
    moments = jnp.matmul(patches.T, patches, precision="highest") / len(patches)
    values, vectors = jnp.linalg.eigh(moments)
    kernel = (vectors / jnp.sqrt(values + eps))[:, ::-1].reshape(PATCH, PATCH, x.shape[-1], -1)
    return jnp.concatenate([kernel, -kernel], axis=-1)
