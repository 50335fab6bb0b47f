"""The independent oracle: every windowed op from its definition, as float64 NumPy loops.

Nothing here imports jaxconv or jax. The loops run over output positions and window taps; batch and channels
are plain array axes. Arrays are `[N, *spatial, C]`, kernels `[*k, C_in/groups, C_out]`.
"""

from __future__ import annotations

import math

import numpy as np

# ---------------------------------------------------------------- sizes and padding


def per_axis(value, rank):
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank


def out_size(n, k, *, stride=1, pads=(0, 0), dilation=1, ceil_mode=False):
    """Windows on one axis; with `ceil_mode` also a partial one, and only those that start before the input ends."""
    room = n + pads[0] + pads[1] - dilation * (k - 1) - 1
    if not ceil_mode:
        return room // stride + 1
    return min(-(-room // stride) + 1, -(-(n + pads[0]) // stride))


def pads(padding, size, kernel, stride=1, dilation=1):
    """The (low, high) pair of every axis for a padding word, an int, one pair, or a pair for each axis."""
    rank = len(size)
    kernel, stride, dilation = per_axis(kernel, rank), per_axis(stride, rank), per_axis(dilation, rank)
    if isinstance(padding, int):
        return ((padding, padding),) * rank
    if not isinstance(padding, str):
        return (tuple(padding),) * rank if isinstance(padding[0], int) else tuple(map(tuple, padding))
    pairs = []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        reach = d * (k - 1)
        missing = max((math.ceil(n / s) - 1) * s + reach + 1 - n, 0)
        less, more = missing // 2, missing - missing // 2
        words = {"valid": (0, 0), "same": (less, more), "same_lower": (more, less), "full": (reach,) * 2}
        pairs.append((reach, 0) if padding == "causal" else words[padding])
    return tuple(pairs)


def source(n, low, high, mode):
    """The input cell that each cell of a padded axis copies, or None where it is zero."""
    cells = range(-low, n + high)
    if mode == "zeros":
        return [i if 0 <= i < n else None for i in cells]
    if mode == "edge":
        return [min(max(i, 0), n - 1) for i in cells]
    if mode == "wrap":
        return [i % n for i in cells]
    assert mode == "reflect", mode
    period = max(2 * (n - 1), 1)
    return [min(i % period, period - i % period) if n > 1 else 0 for i in cells]


def pad(x, pads, mode="zeros"):
    """x: [N, *spatial, C] with every spatial axis longer by its (low, high)."""
    x = np.asarray(x, np.float64)
    for axis, (low, high) in enumerate(pads, start=1):
        columns = [
            np.zeros_like(x.take(0, axis)) if i is None else x.take(i, axis)
            for i in source(x.shape[axis], low, high, mode)
        ]
        x = np.stack(columns, axis)
    return x


def pad_adjoint(g, size, pads, mode="zeros"):
    """The adjoint of `pad`: every padded cell's gradient is added to the input cell that it copied."""
    g = np.asarray(g, np.float64)
    for axis, (n, (low, high)) in enumerate(zip(size, pads, strict=True), start=1):
        total = np.zeros((*g.shape[:axis], n, *g.shape[axis + 1 :]))
        for cell, i in enumerate(source(n, low, high, mode)):
            if i is not None:
                total[(slice(None),) * axis + (i,)] += g.take(cell, axis)
        g = total
    return g


# ---------------------------------------------------------------- convolutions


def _plan(x, kernel, stride, padding, dilation):
    """The pads, the output's spatial size, and (position, tap, cell of the padded x) of every product."""
    rank = x.ndim - 2
    k, s, d = kernel.shape[-2 - rank : -2], per_axis(stride, rank), per_axis(dilation, rank)
    pairs = pads(padding, x.shape[1:-1], k, s, d)
    out = tuple(out_size(x.shape[1 + i], k[i], stride=s[i], pads=pairs[i], dilation=d[i]) for i in range(rank))
    cell = lambda i, m: (slice(None), *(i[a] * s[a] + m[a] * d[a] for a in range(rank)))  # noqa: E731
    return pairs, out, [(i, m, cell(i, m)) for i in np.ndindex(*out) for m in np.ndindex(*k)]


def _groups(groups, c_in, c_out):
    """The input and the output channels of each group."""
    a, b = c_in // groups, c_out // groups
    return [(slice(q * a, (q + 1) * a), slice(q * b, (q + 1) * b)) for q in range(groups)]


def conv(x, kernel, bias=None, *, stride=1, padding="valid", padding_mode="zeros", dilation=1, groups=1):
    """y[i, t] = sum over taps m and channels l of x[i*s + m*d, l] * kernel[m, l, t], plus bias[t]."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    pairs, out, products = _plan(x, kernel, stride, padding, dilation)
    xp, y = pad(x, pairs, padding_mode), np.zeros((len(x), *out, kernel.shape[-1]))
    for position, tap, cell in products:
        for ins, outs in _groups(groups, x.shape[-1], kernel.shape[-1]):
            y[(slice(None), *position, outs)] += xp[(*cell, ins)] @ kernel[tap][:, outs]
    return y if bias is None else y + np.asarray(bias, np.float64)


def conv_grads(x, kernel, g, *, stride=1, padding="valid", padding_mode="zeros", dilation=1, groups=1):
    """(dx, dkernel) of sum(g * conv(x, kernel)): each product hands g times its other factor back."""
    x, kernel, g = (np.asarray(a, np.float64) for a in (x, kernel, g))
    pairs, out, products = _plan(x, kernel, stride, padding, dilation)
    assert g.shape == (len(x), *out, kernel.shape[-1])
    xp = pad(x, pairs, padding_mode)
    dxp, dkernel = np.zeros_like(xp), np.zeros_like(kernel)
    for position, tap, cell in products:
        for ins, outs in _groups(groups, x.shape[-1], kernel.shape[-1]):
            here = g[(slice(None), *position, outs)]
            dxp[(*cell, ins)] += here @ kernel[tap][:, outs].T
            dkernel[tap][:, outs] += xp[(*cell, ins)].T @ here
    return pad_adjoint(dxp, x.shape[1:-1], pairs, padding_mode), dkernel


def conv_transpose(y, kernel, size, **window):
    """The exact adjoint of `conv` on inputs of spatial size `size`: conv's dx, which does not depend on x."""
    channels = kernel.shape[-2] * window.get("groups", 1)
    return conv_grads(np.zeros((len(y), *size, channels)), kernel, y, **window)[0]


def local_conv(x, kernel, bias=None, *, stride=1, padding="valid", padding_mode="zeros", dilation=1):
    """`conv` with a kernel of its own at each output position. kernel: [*out, *k, C_in, C_out]."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    pairs, out, products = _plan(x, kernel, stride, padding, dilation)
    xp, y = pad(x, pairs, padding_mode), np.zeros((len(x), *out, kernel.shape[-1]))
    for position, tap, cell in products:
        y[(slice(None), *position)] += xp[cell] @ kernel[(*position, *tap)]
    return y if bias is None else y + np.asarray(bias, np.float64)


def local_conv_grads(x, kernel, g, *, stride=1, padding="valid", padding_mode="zeros", dilation=1):
    """(dx, dkernel) of sum(g * local_conv(x, kernel))."""
    x, kernel, g = (np.asarray(a, np.float64) for a in (x, kernel, g))
    pairs, _, products = _plan(x, kernel, stride, padding, dilation)
    xp = pad(x, pairs, padding_mode)
    dxp, dkernel = np.zeros_like(xp), np.zeros_like(kernel)
    for position, tap, cell in products:
        here = g[(slice(None), *position)]
        dxp[cell] += here @ kernel[(*position, *tap)].T
        dkernel[(*position, *tap)] += xp[cell].T @ here
    return pad_adjoint(dxp, x.shape[1:-1], pairs, padding_mode), dkernel


# ---------------------------------------------------------------- pools
# A pool is its windows and what it does with the cells of one; on each axis a window is a list of real cells.


def windows(x, size, *, stride=None, padding="valid", dilation=1, ceil_mode=False):
    """For each axis and output position: the real input cells, and the number of real or padded cells."""
    rank = x.ndim - 2
    size, dilation = per_axis(size, rank), per_axis(dilation, rank)
    stride = size if stride is None else per_axis(stride, rank)
    pairs = pads(padding, x.shape[1:-1], size, stride, dilation)
    real, counts = [], []
    for n, k, s, d, (low, high) in zip(x.shape[1:-1], size, stride, dilation, pairs, strict=True):
        out = out_size(n, k, stride=s, pads=(low, high), dilation=d, ceil_mode=ceil_mode)
        cells = [[i * s - low + m * d for m in range(k)] for i in range(out)]
        real.append([[c for c in window if 0 <= c < n] for window in cells])
        counts.append([sum(-low <= c < n + high for c in window) for window in cells])
    return real, counts


def adaptive_windows(x, out):
    """Window i of m over n cells runs from floor(i*n/m) to ceil((i+1)*n/m)."""
    sizes = zip(x.shape[1:-1], per_axis(out, x.ndim - 2), strict=True)
    return [[list(range(i * n // m, -(-(i + 1) * n // m))) for i in range(m)] for n, m in sizes]


def _each(real):
    """(output position, index of its cells in x) for every window, the cells in row-major window order."""
    for position in np.ndindex(*(len(axis) for axis in real)):
        yield position, (slice(None), *np.ix_(*(axis[i] for axis, i in zip(real, position, strict=True))))


def _pool(x, real, value):
    """value(cells [N, cells, C], position) -> [N, C] at every window."""
    x = np.asarray(x, np.float64)
    y = np.zeros((len(x), *(len(axis) for axis in real), x.shape[-1]))
    for position, cells in _each(real):
        y[(slice(None), *position)] = value(x[cells].reshape(len(x), -1, x.shape[-1]), position)
    return y


def _pool_grad(x, g, real, slope):
    """slope(cells [N, cells, C], position) -> d value / d cells [N, cells, C] at every window."""
    x, g = np.asarray(x, np.float64), np.asarray(g, np.float64)
    dx = np.zeros_like(x)
    for position, cells in _each(real):
        slopes = slope(x[cells].reshape(len(x), -1, x.shape[-1]), position)
        dx[cells] += (slopes * g[(slice(None), *position)][:, None]).reshape(x[cells].shape)
    return dx


def _max(cells, _):
    return cells.max(1)


def _first_max(cells, _):
    return (np.arange(cells.shape[1])[None, :, None] == cells.argmax(1)[:, None]) * 1.0


def max_pool(x, size, **window):
    return _pool(x, windows(x, size, **window)[0], _max)


def max_pool_grad(x, g, size, **window):
    """The whole gradient of a window goes to its first maximum in row-major window order."""
    return _pool_grad(x, g, windows(x, size, **window)[0], _first_max)


def max_pool_indices(x, size, **window):
    """The flat spatial index in x of each window's first maximum: [N, *out, C]."""
    indices = np.arange(math.prod(x.shape[1:-1])).reshape(x.shape[1:-1])[None, ..., None]
    real = windows(x, size, **window)[0]
    best = np.zeros((len(x), *(len(axis) for axis in real), x.shape[-1]), int)
    for position, cells in _each(real):
        choice = x[cells].reshape(len(x), -1, x.shape[-1]).argmax(1)
        best[(slice(None), *position)] = indices[cells].ravel()[choice]
    return best


def max_unpool(y, indices, size):
    """Every y at its index in a zero map of spatial size `size`."""
    x = np.zeros((len(y), math.prod(size), y.shape[-1]))
    for n, *position, c in np.ndindex(*y.shape):
        x[n, indices[(n, *position, c)], c] = y[(n, *position, c)]
    return x.reshape(len(y), *size, y.shape[-1])


def _averages(x, size, count_include_pad, window):
    """The windows, and the divisor at a position: its real cells, or its real and padded cells."""
    real, counts = windows(x, size, **window)
    counts = counts if count_include_pad else [[len(cells) for cells in axis] for axis in real]
    return real, lambda position: math.prod(axis[i] for axis, i in zip(counts, position, strict=True))


def avg_pool(x, size, *, count_include_pad=False, **window):
    real, divisor = _averages(x, size, count_include_pad, window)
    return _pool(x, real, lambda cells, at: cells.sum(1) / divisor(at))


def avg_pool_grad(x, g, size, *, count_include_pad=False, **window):
    real, divisor = _averages(x, size, count_include_pad, window)
    return _pool_grad(x, g, real, lambda cells, at: np.ones_like(cells) / divisor(at))


def _norm(cells, p):
    """(sum |c|^p)^(1/p) with the largest |c| taken out: [N, C]."""
    largest = np.abs(cells).max(1, initial=0)
    safe = np.where(largest > 0, largest, 1)
    return largest * ((np.abs(cells) / safe[:, None]) ** p).sum(1) ** (1 / p)


def _norm_slope(cells, p):
    """sign(c) * (|c| / norm)^(p - 1), and 0 in an all-zero window."""
    norm = _norm(cells, p)[:, None]
    return np.sign(cells) * (np.abs(cells) / np.where(norm > 0, norm, 1)) ** (p - 1)


def lp_pool(x, size, *, p=2, **window):
    return _pool(x, windows(x, size, **window)[0], lambda cells, _: _norm(cells, p))


def lp_pool_grad(x, g, size, *, p=2, **window):
    return _pool_grad(x, g, windows(x, size, **window)[0], lambda cells, _: _norm_slope(cells, p))


def adaptive_avg_pool(x, out):
    return _pool(x, adaptive_windows(x, out), lambda cells, _: cells.mean(1))


def adaptive_avg_pool_grad(x, g, out):
    return _pool_grad(x, g, adaptive_windows(x, out), lambda cells, _: np.ones_like(cells) / cells.shape[1])


def adaptive_max_pool(x, out):
    return _pool(x, adaptive_windows(x, out), _max)


def adaptive_max_pool_grad(x, g, out):
    return _pool_grad(x, g, adaptive_windows(x, out), _first_max)
