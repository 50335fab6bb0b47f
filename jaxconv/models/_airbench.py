"""airbench: the fastest known networks to 94 % and 96 % on CIFAR-10."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv import geometry
from jaxconv._base.errors import ShapeError
from jaxconv._base.types import Params, State
from jaxconv.layers import BatchNorm, Conv, Dense, MaxPool, chain, residual
from jaxconv.layers.initializers import VarianceScaling, dirac
from jaxconv.layers.layer import Layer, Part, check_params, shape_of
from jaxconv.models._stages import ending
from jaxconv.ops import global_max_pool

__all__ = ["airbench", "whitening_kernel"]

UNIFORM = VarianceScaling(1 / 3, "in", normal=False)  # within ±1 / sqrt(fan_in), torch's default
PATCH = 2
gelu = functools.partial(jax.nn.gelu, approximate=False)


def airbench(
    num_classes: int = 10,
    *,
    width: int = 64,
    widths: Sequence[int] | None = None,
    depth: int = 2,
    scale: float = 1 / 9,
    images: jax.typing.ArrayLike | None = None,
    upto: str | None = None,
) -> Layer:
    """Whitened 2×2 patches, then three groups of two or three 3×3 convolutions with a pool after the first.

    airbench94 of Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (2024); with `widths=(128, 384, 512)` and
    `depth=3` airbench96: norms without a scale, exact GELU, identity initialization of convolutions, a head without a
    bias. The whitening kernel is computed from training images and gets no gradient;
    `jc.optim.freeze(optimizer, "whiten/kernel")` exempts it from weight decay, too.

    Args:
      num_classes: units of the last layer, `head`; 0 for pooled features, [N, C].
      width: output channels of the first group; the other two have four times as many.
      widths: output channels of each of the three groups, in place of `width`.
      depth: convolutions of a group, 2 or 3; the second and third together have a residual connection.
      scale: factor of the logits.
      images: [N, H, W, C], normalized as for training, for `whitening_kernel`; a few thousand suffice. If None, the
        kernel is random, and must be computed or loaded. A config gives the first 5,000.
      upto: path of the last part, for a backbone ("group2"); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes], for images of at least 9×9.

    Raises:
      ShapeError: if an argument is invalid, or no part has the path `upto`.

    >>> net = airbench()
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 32, 32, 3)))
    >>> list(net.parts), params["whiten"]["kernel"].shape
    (['whiten', 'gelu', 'group1', 'group2', 'group3', 'maxpool', 'head', 'scaled'], (2, 2, 3, 24))
    """
    geometry.integer(width, "width")
    counts = [geometry.integer(count, "widths") for count in widths or (width, 4 * width, 4 * width)]
    if len(counts) != 3:
        raise ShapeError("widths must be three numbers, the channels of each group", got=f"widths={widths}")
    if depth not in (2, 3):
        raise ShapeError("depth, the convolutions of a group, must be 2 or 3", got=f"depth={depth}")
    groups = {f"group{number}": _group(count, depth) for number, count in enumerate(counts, 1)}
    body = {"whiten": _whiten(images), "gelu": gelu, **groups}

    def head(num_classes: int) -> Mapping[str, Any]:
        def scaled(x: jax.Array) -> jax.Array:
            return x * scale

        dense = Dense(num_classes, bias=False, kernel_init=UNIFORM)
        return {"maxpool": global_max_pool, "head": dense, "scaled": scaled}

    return ending(body, head, num_classes=num_classes, upto=upto, pool=None)


def _whiten(images: Any) -> Layer:
    """2×2 convolution from C to 8 C channels with a fixed kernel (no gradient)."""

    kernel_init = UNIFORM if images is None else _constant(whitening_kernel(images))

    def conv(channels: int) -> Layer:
        return Conv(channels, PATCH, kernel_init=kernel_init, transform=jax.lax.stop_gradient)

    def init(key: Any, x: Any) -> tuple[Params, State]:
        return conv(2 * PATCH**2 * max(1, shape_of(x).shape[-1])).init(key, x)

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        check_params("whiten", params, ("kernel", "bias"))
        return conv(params["kernel"].shape[-1]).apply(params, state, x)

    return Layer("whiten", init, apply)


def _constant(kernel: jax.Array) -> Any:
    """Initializer that returns a kernel."""

    def init(key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        if tuple(shape) != kernel.shape:
            got = f"a kernel of {list(shape)} is initialized from images of {kernel.shape[2]} channels"
            raise ShapeError("airbench needs `images` of as many channels as its input", got=got)
        return kernel.astype(dtype)

    return init


def _group(channels: int, depth: int) -> Layer:
    """Convolution, pool, norm, GELU; then convolution, norm, GELU, or two of them with a residual connection."""
    conv = Conv(channels, 3, padding=1, bias=False, kernel_init=_identity)
    norm = BatchNorm(momentum=0.6, eps=1e-12, scale=False)
    first: dict[str, Part] = {"conv1": conv, "pool": MaxPool(2), "norm1": norm, "activ1": gelu}
    second: dict[str, Part] = {"conv2": conv, "norm2": norm, "activ2": gelu}
    if depth == 2:
        return chain(**first, **second)
    return chain(**first, residual=residual(chain(**second, conv3=conv, norm3=norm)), activ3=gelu)


def _identity(key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Partial identity initialization: the first outputs copy the inputs, the others are random."""
    inputs, outputs = shape[-2:]
    same = dirac(key, (*shape[:-1], min(inputs, outputs)), dtype)
    return jnp.concatenate([same, UNIFORM(key, shape, dtype)[..., inputs:]], axis=-1) if outputs > inputs else same


def whitening_kernel(images: Any, *, eps: float = 5e-4) -> jax.Array:
    """Kernel that whitens 2×2 patches (uncorrelated outputs of variance 1), and its negative.

    Args:
      images: [N, H, W, C], normalized as for training; a few thousand suffice.
      eps: added to the variances, so that nearly constant directions are not amplified.

    Returns:
      [2, 2, C, 8 C]: the eigenvectors of the patches' second moments in descending order of eigenvalue, each divided
      by sqrt(eigenvalue + eps); then their negatives.

    Raises:
      ShapeError: if images are not [N, H, W, C] with at least one 2×2 patch.

    Source: Page, How to Train Your ResNet 8: Bag of Tricks, 2019; Jordan, 2024.

    >>> jax.eval_shape(whitening_kernel, jax.ShapeDtypeStruct((5000, 32, 32, 3), "float32")).shape
    (2, 2, 3, 24)
    """
    x = jnp.asarray(images, jnp.float32)
    if x.ndim != 4 or min(x.shape[1:3]) < PATCH or 0 in x.shape:
        raise ShapeError("whitening_kernel needs images [N, H, W, C] of at least 2×2", got=f"{x.shape}")
    height, width = (n - PATCH + 1 for n in x.shape[1:3])
    corners = [(i, j) for i in range(PATCH) for j in range(PATCH)]
    shifted = [x[:, i : i + height, j : j + width] for i, j in corners]
    patches = jnp.stack(shifted, axis=-2).reshape(-1, PATCH**2 * x.shape[-1])
    moments = jnp.matmul(patches.T, patches, precision="highest") / len(patches)
    values, vectors = jnp.linalg.eigh(moments)
    kernel = (vectors / jnp.sqrt(values + eps))[:, ::-1].reshape(PATCH, PATCH, x.shape[-1], -1)
    return jnp.concatenate([kernel, -kernel], axis=-1)
