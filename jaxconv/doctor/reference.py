"""Reference implementation for `doctor`: windowed operations by definition, in NumPy and f64.

Loops run over the kernel's taps; positions are strided slices. Only the record of shapes is shared with the engine.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from jaxconv.engine.form import Form

Arrays = dict[str, np.ndarray]
Index = tuple[slice, ...]


def conv(x: np.ndarray, k: np.ndarray, g: np.ndarray, form: Form) -> Arrays:
    """Convolution "y" of x and k, and the gradients "x" and "k" of sum(g * y).

    Args:
      x: [N, *spatial, C].
      k: [*k, C/groups, O].
      g: [N, *out, O].
      form: for its stride, padding, dilation and groups.
    """
    x, k, g = (np.asarray(v, np.float64) for v in (x, k, g))
    (c, o), groups = k.shape[-2:], form.groups
    padded = _padded(x, form, 0.0)
    y, dx, dk = np.zeros_like(g), np.zeros_like(padded), np.zeros_like(k)
    given = _by_group(g, groups)
    for tap, cells in _taps(padded.shape, form):
        weights = k[tap].reshape(c, groups, o // groups).swapaxes(0, 1)  # [groups, C/groups, O/groups]
        seen = _by_group(padded[cells], groups)
        y += _by_position(seen @ weights, y.shape)
        dx[cells] += _by_position(given @ weights.swapaxes(1, 2), padded[cells].shape)
        dk[tap] = (seen.swapaxes(1, 2) @ given).swapaxes(0, 1).reshape(c, o)
    return {"y": y, "x": _unpadded(dx, x.shape, form), "k": dk}


def max_pool(x: np.ndarray, g: np.ndarray, form: Form) -> Arrays:
    """Maximum "y" of each window, and the gradient "x" of sum(g * y), for ties to the first in window order."""
    x, g = np.asarray(x, np.float64), np.asarray(g, np.float64)
    padded = _padded(x, form, -np.inf)
    taps = list(_taps(padded.shape, form))
    seen = np.stack([padded[cells] for _, cells in taps])
    first, dx = seen.argmax(0), np.zeros_like(padded)
    for number, (_, cells) in enumerate(taps):
        dx[cells] += np.where(first == number, g, 0)
    return {"y": seen.max(0), "x": _unpadded(dx, x.shape, form)}


def resize(x: np.ndarray, g: np.ndarray, form: Form) -> Arrays:
    """Linear interpolation "y" of x at the centers of g's cells, clipped to those of x's, and the gradient "x"."""
    y, dx = np.asarray(x, np.float64), np.asarray(g, np.float64)
    for axis, (n, out) in enumerate(zip(form.x[1:-1], form.y[1:-1], strict=True), 1):
        at = np.clip((np.arange(out)[:, None] + 0.5) * n / out - 0.5, 0, n - 1)
        weights = np.maximum(1 - np.abs(at - np.arange(n)), 0)  # [out, n]
        y = np.moveaxis(np.tensordot(weights, y, (1, axis)), 0, axis)
        dx = np.moveaxis(np.tensordot(weights, dx, (0, axis)), 0, axis)
    return {"y": y, "x": dx}


def spread(x: np.ndarray, axis: int, step: int) -> np.ndarray:
    """x with step - 1 zeros between neighboring cells along an axis."""
    shape = list(x.shape)
    shape[axis] = (shape[axis] - 1) * step + 1
    y = np.zeros(shape)
    y[(slice(None),) * axis + (slice(None, None, step),)] = x
    return y


def _padded(x: np.ndarray, form: Form, value: float) -> np.ndarray:
    return np.pad(x, ((0, 0), *form.padding, (0, 0)), constant_values=value)


def _unpadded(padded: np.ndarray, shape: tuple[int, ...], form: Form) -> np.ndarray:
    axes = zip(form.padding, shape[1:-1], strict=True)
    return padded[:, *(slice(lo, lo + n) for (lo, _), n in axes)]


def _taps(padded: tuple[int, ...], form: Form) -> Iterator[tuple[tuple[int, ...], Index]]:
    """Each tap of the kernel in window order, with its cells of the padded input."""
    axes = list(zip(padded[1:-1], form.kernel_size, form.stride, form.dilation, strict=True))
    for tap in itertools.product(*(range(k) for _, k, _, _ in axes)):
        ends = (n - d * (k - 1 - m) for m, (n, k, _, d) in zip(tap, axes, strict=True))
        cells = (slice(m * d, end, s) for m, end, (_, _, s, d) in zip(tap, ends, axes, strict=True))
        yield tap, (slice(None), *cells)


def _by_group(v: np.ndarray, groups: int) -> np.ndarray:
    """[N, *spatial, (groups, C)] -> [groups, positions, C]."""
    return np.moveaxis(v.reshape(-1, groups, v.shape[-1] // groups), 1, 0)


def _by_position(v: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.moveaxis(v, 0, 1).reshape(shape)
