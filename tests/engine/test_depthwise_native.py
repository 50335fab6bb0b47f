"""The native depthwise kernels against the oracle in f64, on every instruction set."""

import itertools

import jax
import numpy as np
import pytest
from support.native import check, given, here, program

from jaxconv.engine import Form, native


def depthwise(batch, spatial, channels, kernel_size, *, stride=1, dilation=1, padding=1, maps=1):
    rank = len(spatial)
    words = ((stride,) * rank, ((padding, max(padding - 1, 0)),) * rank, (dilation,) * rank)
    return Form("y", (batch, *spatial, channels), (*kernel_size, 1, channels * maps), *words, groups=channels)


FORMS = {
    "more positions than registers": depthwise(1, (2, 59), 16, (3, 3)),
    "five taps": depthwise(2, (6, 17), 33, (5, 5), padding=2),
    "six taps": depthwise(1, (7, 20), 8, (6, 6), padding=3),
    "seven taps": depthwise(2, (9, 15), 19, (7, 7), padding=3),
    "eleven taps": depthwise(1, (4, 30), 17, (1, 11), padding=5),
    "31 taps": depthwise(1, (8, 8), 5, (31, 31), padding=15),
    "a signal longer than a stretch": depthwise(2, (150,), 24, (9,), padding=4),
    "stride 2": depthwise(2, (9, 31), 20, (3, 5), stride=2),
    "stride 3, dilation 2": depthwise(2, (11, 29), 18, (4, 5), stride=3, dilation=2, padding=3),
    "stride 2, dilation 4": depthwise(1, (13, 40), 16, (2, 3), stride=2, dilation=4, padding=2),
    "dilation beyond the input": depthwise(1, (3, 4), 7, (3, 3), dilation=6, padding=7),
    "stride above the kernel": depthwise(2, (9, 10), 16, (2, 1), stride=3, padding=0),
    "more padding than kernel": depthwise(1, (5, 6), 9, (2, 2), padding=4),
    "volumes": depthwise(2, (3, 4, 17), 21, (3, 2, 3)),
    "two maps a channel": depthwise(2, (5, 18), 20, (3, 3), maps=2),
    "three maps a channel, stride 2": depthwise(2, (6, 9), 11, (3, 3), stride=2, maps=3),
    "four maps of few channels": depthwise(2, (6, 9), 2, (3, 4), maps=4),
    "seven maps a channel, dilation 2": depthwise(1, (6, 15), 5, (3, 3), dilation=2, maps=7),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", FORMS)
def test_every_slot(name, isa, rng, assert_close):
    check(FORMS[name], given(FORMS[name], rng), assert_close)


@here
@pytest.mark.slow
@pytest.mark.parametrize("maps", [1, 2])
def test_odd_channels_and_sizes(maps, rng, assert_close):
    """Channels from 1 to 40, sizes from 1 to 17 and batches from 1 to 5, on every instruction set."""
    sizes, batches, strides = (itertools.cycle(v) for v in (range(1, 18), range(1, 6), (1, 2, 1, 3)))
    for channels, n, batch, stride in zip(range(2, 41), sizes, batches, strides, strict=False):
        form = depthwise(batch, (n, 18 - n), channels, (3, 3), stride=stride, padding=1 + channels % 2, maps=maps)
        for _ in filter(native.select_isa, native.ISAS):
            check(form, given(form, rng), assert_close)
    native.select_isa(None)
    jax.clear_caches()
    program.cache_clear()


@here
def test_an_empty_batch():
    form = depthwise(0, (5, 5), 3, (3, 3))
    got = program(form)(*(np.zeros(getattr(form, slot), np.float32) for slot in "xky"))
    assert {slot: v.shape for slot, v in got.items()} == {slot: getattr(form, slot) for slot in "xky"}
    assert not np.any(got["k"])


@pytest.mark.parametrize("maps", [1, 3])
@pytest.mark.parametrize("channels", [5, 19])
def test_nan_stays_in_its_channel_and_windows(channels, maps, isa, rng):
    """Lanes of neighboring channels, and cells read beyond the last one, must not reach a result."""
    form = depthwise(2, (4, 9), channels, (3, 3), maps=maps)
    arrays = given(form, rng)
    arrays["x"][:, :, :, 2] = np.nan
    of = slice(2 * maps, 3 * maps)
    got = program(form)(*(arrays[slot] for slot in "xky"))
    for slot in "yk":
        bad = np.isnan(got[slot])
        assert bad[..., of].all()
        assert not np.delete(bad, np.arange(channels * maps)[of], axis=-1).any()
    assert np.isfinite(got["x"]).all()


def test_an_infinite_tap_meets_no_padding(isa, rng):
    form = depthwise(1, (3, 4), 18, (3, 3))
    arrays = {slot: np.abs(rng.normal(size=getattr(form, slot))).astype(np.float32) for slot in "xky"}
    arrays["k"][0, 0, 0, 4] = np.inf
    got = program(form)(*(arrays[slot] for slot in "xky"))
    bad = {tuple(map(int, at)) for at in np.argwhere(~np.isfinite(got["y"]))}
    rows, columns = form.y[1:3]
    assert bad == {(0, i, j, 4) for i in range(1, rows) for j in range(1, columns)}


def test_the_same_bits_each_time(isa, rng):
    form = depthwise(9, (5, 7), 40, (3, 3))
    arrays = [rng.normal(size=getattr(form, slot)).astype(np.float32) for slot in "xky"]
    first = program(form)(*arrays)
    for _ in range(5):
        jax.tree.map(np.testing.assert_array_equal, program(form)(*arrays), first)
