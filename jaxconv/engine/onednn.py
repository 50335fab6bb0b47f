"""Convolution by oneDNN, which XLA's CPU client contains but does not use by default.

XLA runs oneDNN for custom calls named `__onednn$…`, which its own rewriter emits under an experimental flag. This
module emits the same custom call, so that `jaxlib` runs the kernels that torch runs. The call is not a public
interface; `available` therefore tests it on a small convolution first.
"""

import functools
import itertools
import json
import math
import os
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.compat import ONEDNN_JAXLIB, cache_folder, jaxlib_version
from jaxconv.engine.form import EXACT_IN_F32, Form
from jaxconv.engine.reductions import by_reduction
from jaxconv.engine.window import zeros_around


@functools.cache
def available() -> bool:
    """Whether this process's jaxlib runs the call, and correctly for a small convolution.

    `JAXCONV_ONEDNN=0` disables it, `1` also tries versions that are not in `compat.ONEDNN_JAXLIB`.
    """
    switch = os.environ.get("JAXCONV_ONEDNN", "")
    if switch == "0" or not (switch == "1" or jaxlib_version().startswith(ONEDNN_JAXLIB)) or not _avx2():
        return False
    x = np.arange(24, dtype=np.float32).reshape(1, 3, 2, 4) % 5
    k = np.arange(32, dtype=np.float32).reshape(2, 1, 4, 4) % 3
    form = Form("y", x.shape, k.shape, (1, 1), ((1, 0), (0, 0)), (1, 1))
    want = np.zeros(form.y, np.float32)
    for row in range(3):
        want[:, row] = (x[:, row - 1] @ k[0, 0] if row else 0) + x[:, row] @ k[1, 0]
    try:
        with jax.ensure_compile_time_eval(), jax.default_device(jax.devices("cpu")[0]):
            got = jax.jit(conv_onednn, static_argnums=2)(x, k, form)
        return bool(np.array_equal(got, want))
    except (RuntimeError, TypeError):  # no such call in this jaxlib
        return False


@functools.cache
def _warn_of_cache(folder: str | None) -> None:
    """Warn once per folder: XLA cannot serialize the call, so JAX's persistent cache cannot store programs with it."""
    if not folder:
        return
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry.*MemoryError")
    warnings.warn(
        f"programs with oneDNN convolutions are recompiled in each process: JAX's persistent cache in {folder} cannot "
        "store them; set JAXCONV_ONEDNN=0 to use formulations that can be cached",
        stacklevel=2,
    )


def _avx2() -> bool:
    """Whether the CPU has AVX2; without, oneDNN falls back to the GEMM code that `fits` excludes."""
    try:
        with open("/proc/cpuinfo") as file:
            return " avx2 " in file.read()
    except OSError:  # not Linux, where jaxlib contains no oneDNN either
        return False


def fits(form: Form) -> bool:
    """Whether oneDNN has a direct kernel for a form, of a dtype that is exact in f32.

    If every group has one input and one output channel, it has direct kernels only for images without dilation.
    Otherwise it would fall back to im2col and GEMM, whose nested parallel loops deadlock in XLA's thread pool
    (jaxlib 0.10.2; found with ONEDNN_VERBOSE=1 and gdb). tests/engine/test_onednn.py tests for it.
    """
    if form.dtype not in EXACT_IN_F32:
        return False
    c_in = form.x[0] if form.slot == "k" else form.k[-2]  # input channels of the convolution that `by_reduction` runs
    if form.groups == 1 or c_in > 1 or form.k[-1] > form.groups:
        return True
    return form.rank == 2 and all(d == 1 for d in form.dilation) and (form.slot != "k" or set(form.stride) == {1})


@by_reduction
def conv_onednn(x: jax.Array, k: jax.Array, order: tuple[int, int], form: Form) -> jax.Array:
    """oneDNN's direct convolution in f32, also for half precision; gradients are convolutions, too."""
    _warn_of_cache(cache_folder())
    result = jax.ShapeDtypeStruct(form.y, np.float32)
    config = {"outer_dimension_partitions": [], "onednn_conv_config": _config(k.ndim, order, form)}
    call = jax.ffi.ffi_call(
        "__onednn$convolution", result, custom_call_api_version=2, legacy_backend_config=json.dumps(config)
    )
    return call(x.astype(np.float32), k.astype(np.float32)).astype(x.dtype)


def conv_images(x: jax.Array, y: jax.Array, form: Form) -> jax.Array:
    """Kernel gradient, summed over blocks of images that fit in cache; the other slots are those of conv_onednn.

    oneDNN rereads all of y for every input channel; a block therefore has about 2 MB of it. For a depthwise
    convolution, the images of a block become channels, which makes the gradient a depthwise convolution, too.
    """
    if form.slot != "k" or 0 in (*x.shape, *y.shape):
        return conv_onednn(x, y, form)
    total = _sum_over_blocks(x.astype(jnp.float32), y.astype(jnp.float32), form.open("k", dtype="float32"))
    return total.astype(form.dtype)


def _sum_over_blocks(x: jax.Array, y: jax.Array, form: Form) -> jax.Array:
    """The kernel gradient of `conv_images`, in f32."""
    if form.depthwise and max(form.stride) > 1:
        return _by_phases(x, y, form)
    part = _depthwise_block if form.depthwise else conv_onednn
    size = block_size(form)
    one = form.open("k", x=(size, *form.x[1:]))
    if size == form.x[0]:
        return part(x, y, one)

    def add(total: jax.Array, images: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        return total + part(images[0], images[1], one), None

    blocks = tuple(v.reshape(-1, size, *v.shape[1:]) for v in (x, y))
    return jax.lax.scan(add, jnp.zeros(form.k, jnp.float32), blocks)[0]


def block_size(form: Form) -> int:
    """Images per block of `conv_images`: a divisor of the batch, some MB of y, at least 8 unless depthwise."""
    n, image = form.x[0], 4 * math.prod(form.y[1:])
    if form.depthwise:
        return max(b for b in range(1, n + 1) if n % b == 0 and (b == 1 or b * image <= 1.6e6))
    return max((b for b in range(8, n + 1) if n % b == 0 and (b == 8 or b * image <= 2.5e6)), default=n)


def _depthwise_block(x: jax.Array, y: jax.Array, form: Form) -> jax.Array:
    """[n, *spatial, C] -> [1, *spatial, (n, C)], one depthwise convolution, then the sum over n."""
    n, c = form.x[0], form.x[-1]
    x, y = (jnp.moveaxis(v, 0, -2).reshape(1, *v.shape[1:-1], -1) for v in (x, y))
    one = form.open("k", x=x.shape, k=(*form.kernel_size, 1, n * c), groups=n * c)
    return conv_onednn(x, y, one).reshape(*form.kernel_size, 1, n, c).sum(-2)


def _by_phases(x: jax.Array, y: jax.Array, form: Form) -> jax.Array:
    """Kernel gradient under a stride s, without a dilated kernel.

    Tap a + s*u is tap u of a convolution of stride 1 on every sth cell from a.
    """
    x, total = zeros_around(x, form.padding), jnp.zeros(form.k, jnp.float32)
    for first in itertools.product(*map(range, form.stride)):
        size = tuple(len(range(a, k, s)) for a, k, s in zip(first, form.kernel_size, form.stride, strict=True))
        if 0 in size:
            continue
        axes = zip(first, form.stride, form.y[1:-1], size, strict=True)
        cells = x[:, *(slice(a, a + s * (out + k - 2) + 1, s) for a, s, out, k in axes)]
        ones, none = (1,) * form.rank, ((0, 0),) * form.rank
        phase = form.open("k", x=cells.shape, k=(*size, *form.k[-2:]), stride=ones, padding=none)
        axes = zip(first, form.stride, form.kernel_size, size, strict=True)
        spread = [*((a, k - a - s * (taps - 1) - 1, s - 1) for a, s, k, taps in axes), (0, 0, 0), (0, 0, 0)]
        total = total + jax.lax.pad(_sum_over_blocks(cells, y, phase), jnp.float32(0), spread)
    return total


def _config(ndim: int, order: tuple[int, int], form: Form) -> dict[str, Any]:
    """OneDnnConvolutionConfig of the call, as JSON: the meaning of the axes, and the window. Integers are strings."""

    def text(numbers: Iterable[int]) -> list[str]:
        return [str(number) for number in numbers]

    c_in, c_out = (ndim + a for a in order)
    spatial = [a for a in range(ndim) if a not in (c_in, c_out)]
    data = {"batch_dim": "0", "feature_dim": str(ndim - 1), "spatial_dims": text(range(1, ndim - 1))}
    kernel = {"input_feature_dim": str(c_in), "output_feature_dim": str(c_out), "spatial_dims": text(spatial)}
    window: dict[str, Sequence[int]] = {
        "size": form.kernel_size,
        "pad_left": [lo for lo, _ in form.padding],
        "pad_right": [hi for _, hi in form.padding],
        "strides": form.stride,
        "window_dilations": form.dilation,
    }
    return {
        "dims": str(ndim),
        "input": {"dims": str(ndim), "data": data},
        "kernel": {"dims": str(ndim), "filter": kernel},
        "output": {"dims": str(ndim), "data": data},
        "window": {name: text(values) for name, values in window.items()},
        "feature_groups": str(form.groups),
    }
