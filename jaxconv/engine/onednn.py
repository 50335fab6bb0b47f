"""Convolution by oneDNN, the library that XLA's CPU client carries and does not use of itself.

XLA calls it for custom calls of the names `__onednn$…`, which its own rewriter makes under an
experimental flag. We write the same custom call: `jaxlib` then runs the kernels that torch runs. The
call is no public interface, so it is used only where `available` has seen it compute a convolution.
"""

import functools
import itertools
import json
import math
import os
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.engine.form import EXACT_IN_F32, Form
from jaxconv.engine.reductions import by_reduction
from jaxconv.engine.window import zeros_around

KNOWN = ("0.10.",)
"""The jaxlib versions whose encoding of the call is the one written here; others must be allowed by hand."""


@functools.cache
def available() -> bool:
    """Whether this process's jaxlib runs the call and gets a small convolution right.

    `JAXCONV_ONEDNN=0` says no, `1` tries a version that is not in KNOWN too.
    """
    import jaxlib.version  # here: the first call comes when a convolution is compiled, not at import

    word = os.environ.get("JAXCONV_ONEDNN", "")
    if word == "0" or not (word == "1" or jaxlib.version.__version__.startswith(KNOWN)) or not _avx2():
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
    """Once for a folder: XLA cannot serialize the call, so JAX's persistent cache keeps no program that holds it."""
    if not folder:
        return
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry.*MemoryError")
    warnings.warn(
        f"programs with convolutions by oneDNN are compiled anew in each process: JAX's persistent cache in {folder} "
        "cannot store them; JAXCONV_ONEDNN=0 runs them by formulations that it can store",
        stacklevel=2,
    )


def _avx2() -> bool:
    """Without AVX2 oneDNN falls back on the code that `fits` is there to avoid."""
    try:
        with open("/proc/cpuinfo") as file:
            return " avx2 " in file.read()
    except OSError:  # no Linux: its jaxlib carries no oneDNN either
        return False


def fits(form: Form) -> bool:
    """Whether oneDNN has a kernel of its own for a form, in f32 or what f32 can hold.

    Where every group is one channel in and one out, it has them for images without dilation. For the rest it
    falls back on im2col and GEMM, whose nested parallel loops wait for each other in XLA's thread pool for
    ever (jaxlib 0.10.2; seen with ONEDNN_VERBOSE=1 and gdb). tests/engine/test_onednn.py watches this.
    """
    if form.dtype not in EXACT_IN_F32:
        return False
    given = form.x[0] if form.slot == "k" else form.k[-2]  # what "input channels" are in the reduced convolution
    if form.groups == 1 or given > 1 or form.k[-1] > form.groups:
        return True
    return form.rank == 2 and all(d == 1 for d in form.dilation) and (form.slot != "k" or set(form.stride) == {1})


@by_reduction
def conv_onednn(x: jax.Array, k: jax.Array, order: tuple[int, int], form: Form) -> jax.Array:
    """oneDNN's direct convolution, f32; the gradients are convolutions too. Halves are computed in f32."""
    _warn_of_cache(jax.config.jax_compilation_cache_dir)  # type: ignore[attr-defined]
    wanted = np.float32
    like = jax.ShapeDtypeStruct(form.y, wanted)
    config = {"outer_dimension_partitions": [], "onednn_conv_config": _config(k.ndim, order, form)}
    call = jax.ffi.ffi_call(
        "__onednn$convolution", like, custom_call_api_version=2, legacy_backend_config=json.dumps(config)
    )
    return call(x.astype(wanted), k.astype(wanted)).astype(x.dtype)


def conv_images(x: jax.Array, y: jax.Array, form: Form) -> jax.Array:
    """The kernel's gradient, summed over blocks of images that stay in cache; the other slots are conv_onednn's.

    oneDNN reads all of y again for every input channel, so a block holds about 2 MB of it. Of a depthwise
    map the images of a block are channels, which makes its gradient a depthwise convolution again.
    """
    if form.slot != "k" or 0 in (*x.shape, *y.shape):
        return conv_onednn(x, y, form)
    wide = _summed(x.astype(jnp.float32), y.astype(jnp.float32), form.open("k", dtype="float32"))
    return wide.astype(form.dtype)


def _summed(x: jax.Array, y: jax.Array, form: Form) -> jax.Array:
    """`conv_images` of a kernel's gradient, in f32."""
    if form.depthwise and max(form.stride) > 1:
        return _by_phases(x, y, form)
    part = _depthwise_block if form.depthwise else conv_onednn
    size = block(form)
    one = form.open("k", x=(size, *form.x[1:]))
    if size == form.x[0]:
        return part(x, y, one)

    def add(total: jax.Array, images: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        return total + part(images[0], images[1], one), None

    blocks = tuple(v.reshape(-1, size, *v.shape[1:]) for v in (x, y))
    return jax.lax.scan(add, jnp.zeros(form.k, jnp.float32), blocks)[0]


def block(form: Form) -> int:
    """Images that `conv_images` takes at a time: a divisor of the batch, some MB of y, at least 8 of a dense map."""
    n, image = form.x[0], 4 * math.prod(form.y[1:])
    if form.depthwise:
        return max(b for b in range(1, n + 1) if n % b == 0 and (b == 1 or b * image <= 1.6e6))
    return max((b for b in range(8, n + 1) if n % b == 0 and (b == 8 or b * image <= 2.5e6)), default=n)


def _depthwise_block(x: jax.Array, y: jax.Array, form: Form) -> jax.Array:
    """[n, *spatial, C] -> [1, *spatial, (n, C)], one depthwise convolution, and the sum over n."""
    n, c = form.x[0], form.x[-1]
    x, y = (jnp.moveaxis(v, 0, -2).reshape(1, *v.shape[1:-1], -1) for v in (x, y))
    one = form.open("k", x=x.shape, k=(*form.kernel_size, 1, n * c), groups=n * c)
    return conv_onednn(x, y, one).reshape(*form.kernel_size, 1, n, c).sum(-2)


def _by_phases(x: jax.Array, y: jax.Array, form: Form) -> jax.Array:
    """Tap a + s*u of a strided map is tap u of an unstrided one on every sth cell from a: no dilated kernel."""
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
        total = total + jax.lax.pad(_summed(cells, y, phase), jnp.float32(0), spread)
    return total


def _config(ndim: int, order: tuple[int, int], form: Form) -> dict[str, Any]:
    """The call's OneDnnConvolutionConfig as JSON: which axis is which, and the window. Integers are strings there."""
    text = functools.partial(map, str)
    c_in, c_out = (ndim + a for a in order)
    spatial = [a for a in range(ndim) if a not in (c_in, c_out)]
    data = {"batch_dim": "0", "feature_dim": str(ndim - 1), "spatial_dims": list(text(range(1, ndim - 1)))}
    kernel = {"input_feature_dim": str(c_in), "output_feature_dim": str(c_out), "spatial_dims": list(text(spatial))}
    window = {
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
        "window": {name: list(text(values)) for name, values in window.items()},
        "feature_groups": str(form.groups),
    }
