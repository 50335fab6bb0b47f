"""Deformable convolution by loops, written from equation 1 of the paper, with torchvision's order of offsets."""

import itertools

import jax
import numpy as np
import pytest

import jaxconv as jc


def at(image, y, x):
    """Bilinear between the four cells around a position; those outside are zero."""
    total = 0.0
    top, left = int(np.floor(y)), int(np.floor(x))
    for row, column in itertools.product((top, top + 1), (left, left + 1)):
        if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
            total += (1 - abs(y - row)) * (1 - abs(x - column)) * image[row, column]
    return total


def by_loops(x, kernel, offset, mask, stride, low, dilation, groups):
    n, down, across, _ = offset.shape
    k, c_in, c_out = kernel.shape[:2], x.shape[3], kernel.shape[3]
    taps = k[0] * k[1]
    parts = offset.shape[3] // (2 * taps)
    moves, factors = offset.reshape(n, down, across, parts, taps, 2), mask.reshape(n, down, across, parts, taps)
    y = np.zeros((n, down, across, c_out))
    for b, i, j, o in np.ndindex(*y.shape):
        group = o // (c_out // groups)
        for c in range(c_in // groups):
            channel = group * (c_in // groups) + c
            part = channel // (c_in // parts)
            for p, q in np.ndindex(*k):
                tap = p * k[1] + q
                move = moves[b, i, j, part, tap]
                row = i * stride[0] - low[0] + p * dilation[0] + move[0]
                column = j * stride[1] - low[1] + q * dilation[1] + move[1]
                value = at(x[b, :, :, channel], row, column)
                y[b, i, j, o] += kernel[p, q, c, o] * factors[b, i, j, part, tap] * value
    return y


CASES = [
    {"padding": (1, 1)},
    {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)},
    {"groups": 2, "parts": 2},
    {"groups": 3, "parts": 1, "stride": (2, 2), "padding": (2, 2)},
    {"parts": 6, "padding": (1, 0), "masked": False},
]


@pytest.mark.sampled
@pytest.mark.parametrize("case", CASES, ids=str)
def test_deform_conv(case, rng, assert_close, x64):
    stride, dilation, low = case.get("stride", (1, 1)), case.get("dilation", (1, 1)), case.get("padding", (0, 0))
    groups, parts = case.get("groups", 1), case.get("parts", 1)
    x, kernel, bias = rng.normal(size=(2, 5, 6, 6)), rng.normal(size=(3, 2, 6 // groups, 6)), rng.normal(size=6)
    words = {"stride": stride, "padding": tuple((p, p) for p in low), "dilation": dilation, "groups": groups}
    out = jc.conv(x, kernel, **words).shape[:3]
    offset, mask = 2 * rng.normal(size=(*out, parts * 12)), rng.uniform(size=(*out, parts * 6))
    mask = mask if case.get("masked", True) else np.ones_like(mask)
    got = jc.deform_conv(x, kernel, offset, mask if case.get("masked", True) else None, bias, **words)
    assert_close(got, by_loops(x, kernel, offset, mask, stride, low, dilation, groups) + bias)


@pytest.mark.slow
def test_whole_offsets_are_a_convolution(rng, x64):
    """Offsets of zero: `conv` itself; by whole cells: of the shifted input."""
    x, kernel = rng.normal(size=(2, 6, 7, 4)), rng.normal(size=(3, 3, 4, 5))
    still = np.zeros((2, 6, 7, 18))
    np.testing.assert_allclose(
        jc.deform_conv(x, kernel, still, padding=1), jc.conv(x, kernel, padding=1), rtol=1e-9, atol=1e-12
    )
    moved = np.roll(np.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0))), (-1, 2), (1, 2))
    offset = np.tile([1.0, -2.0], (2, 6, 7, 9))
    want = jc.conv(moved, kernel)[:, 2:-2, 2:-2]
    np.testing.assert_allclose(jc.deform_conv(x, kernel, offset, padding=1), want, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_the_layer_begins_as_a_convolution_of_half_its_kernel(rng):
    """Offsets of zero, and masks of sigmoid(0)."""
    layer, x = jc.DeformConv(4, 3, padding=1), rng.normal(size=(2, 5, 5, 3)).astype(np.float32)
    params, state = layer.init(jax.random.key(0), x)
    y, _ = layer.apply(params, state, x)
    want = jc.conv(x, params["conv"]["kernel"] / 2, params["conv"]["bias"], padding=1)
    np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-5)
