"""Convolution by the native kernels, all three slots, in f32: direct ones for any window, and Winograd's for 3×3."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.engine.form import EXACT_IN_F32, Form

MIN_CHANNELS, MIN_SUMMED = 24, 32
"""For Winograd's kernels: channels on either side of a group, and those that F(4×4) sums over."""

MIN_TILES, MIN_SAVING = {"y": 17, "x": 17, "k": 8}, {"y": 1.4, "x": 1.4, "k": 2}
"""Tiles of a batch for F(4×4), and how many times fewer products than the direct kernel's are worth the transforms."""


def fits(form: Form) -> bool:
    """Whether the kernels compute a form: in f32 or what f32 can hold, on one to three axes."""
    return form.dtype in EXACT_IN_F32 and 1 <= form.rank <= 3


def fits_winograd(form: Form) -> bool:
    """Whether Winograd's kernels compute a form as exactly as the default must be, and may gain by it.

    They are for 3×3 windows at stride 1 without dilation, on two axes. Few channels cost more in transforms than they
    save in products, and so do maps that tiles cover badly (3×3 or 5×5), and F(2×2) in kernel gradients. Precision
    "highest" is left to direct kernels.
    """
    if not fits(form) or form.kernel_size != (3, 3) or (form.stride, form.dilation) != ((1, 1), (1, 1)):
        return False
    if min(form.k[-2], form.k[-1] // form.groups) < MIN_CHANNELS or _highest(form.precision):
        return False
    side = tile(form)
    if form.slot == "k" and side == 2:
        return False
    return MIN_SAVING[form.slot] * _tiles(form, side) * (side + 2) ** 2 <= _direct_products(form)


def tile(form: Form) -> int:
    """Side of the tiles: 4 or 2, whichever takes fewer products; 2 where few channels are summed, and for few tiles.

    Over 16 channels the largest error of F(4×4) reaches three times the direct kernel's, that of F(2×2) stays below it.
    The kernel, transformed anew in each call, is four times as large for F(4×4), for F(2×2) less than twice.
    """
    summed = {"y": (form.k[-2],), "x": (form.k[-1] // form.groups,), "k": (form.k[-2], form.k[-1] // form.groups)}
    if min(summed[form.slot]) < MIN_SUMMED or form.x[0] * _tiles(form, 4) < MIN_TILES[form.slot]:
        return 2
    return min(2, 4, key=lambda side: _tiles(form, side) * (side + 2) ** 2)


def _tiles(form: Form, side: int) -> int:
    """Tiles of an image."""
    size = (form.x if form.slot == "x" else form.y)[1:-1]
    return math.prod(-(-n // side) for n in size)


def _direct_products(form: Form) -> int:
    """Products of the definition for each image and pair of channels, without those of padding."""

    def along(n: int, out: int, low: int) -> int:
        return sum(max(min(out, n + low - tap) - max(0, low - tap), 0) for tap in range(3))

    return math.prod(
        along(*axis) for axis in zip(form.x[1:-1], form.y[1:-1], (lo for lo, _ in form.padding), strict=True)
    )


def _highest(precision: Any) -> bool:
    """Whether a precision asks for the highest, of one operand or of both; an unknown one is taken to."""
    each = precision if isinstance(precision, tuple) else (precision,)
    try:
        levels = [jax.lax.Precision(one) for one in each if one is not None]
    except (ValueError, TypeError):
        return True
    return jax.lax.Precision.HIGHEST in levels


def conv_native(a: jax.Array, b: jax.Array, form: Form) -> jax.Array:
    """A direct kernel for each slot, dense or depthwise. Halves are computed in f32."""
    return _computed(a, b, form, "depthwise" if form.depthwise else "dense")


def conv_winograd(a: jax.Array, b: jax.Array, form: Form) -> jax.Array:
    """Winograd's F(4×4) or F(2×2), see `tile`. Halves are computed in f32.

    An inf or NaN of x or y reaches every result of the tiles, of up to 4×4, in which the convolution brings it to one;
    in a kernel's gradient, all taps of its channel.
    """
    return _computed(a, b, form, f"winograd{tile(form)}")


def _computed(a: jax.Array, b: jax.Array, form: Form, kind: str) -> jax.Array:
    if 0 in (*a.shape, *b.shape, *form.shape(form.slot)):
        return jnp.zeros(form.shape(form.slot), form.dtype)
    given = dict(zip(form.operands, (a.astype(jnp.float32), b.astype(jnp.float32)), strict=True))
    return _call(given, form, kind).astype(form.dtype)


def _call(given: dict[str, jax.Array], form: Form, kind: str) -> jax.Array:
    like = jax.ShapeDtypeStruct(getattr(form, form.slot), jnp.float32)
    call = jax.ffi.ffi_call(f"jaxconv_{kind}_{form.slot}", like)
    window = {"stride": form.stride, "low": [lo for lo, _ in form.padding], "dilation": form.dilation}
    words = {name: np.array(values, np.int64) for name, values in window.items()}
    return call(*(given[slot] for slot in form.operands), **words, groups=np.int64(form.groups))
