"""Resizing, shuffling and sampling against torch: values and gradients in float64, positions in float32."""

import itertools
from functools import partial

import jax
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.engine.resample import Resampling

torch = pytest.importorskip("torch")
F = torch.nn.functional
from support.sides import compare, first, last  # noqa: E402  (it needs torch)

pytestmark = [pytest.mark.usefixtures("x64"), pytest.mark.sampled]

SHAPES = {1: (2, 7, 3), 2: (2, 6, 5, 3), 3: (2, 3, 5, 4, 2)}
SIZES = {1: (1, 5, 7, 13, 14, 21), 2: (1, 4, (12, 10), (3, 11), (6, 8), 9), 3: (2, (6, 10, 8), (3, 4, 7))}
SCALES = {1: (2.0, 0.5, 1.3, 2.7, 0.72), 2: (2.0, 3.0, (1.5, 0.7), (0.4, 2.2)), 3: (2.0, (1.4, 0.6, 2.5))}
TORCH = {"linear": {1: "linear", 2: "bilinear", 3: "trilinear"}, "cubic": {2: "bicubic"}}


def resize_cases():
    for rank, mode in itertools.product((1, 2, 3), ("nearest", "nearest-exact", "linear", "cubic", "area")):
        if mode == "cubic" and rank != 2:
            continue  # torch has it on two axes alone
        options = [{}, *([{"align_corners": True}] if mode in TORCH else [])]
        options += [{"antialias": True}] if mode in TORCH and rank == 2 else []
        given = [*({"size": size} for size in SIZES[rank]), *({"scale": scale} for scale in SCALES[rank])]
        for words, option in itertools.product(given, options):
            case = rank, {"mode": mode, **words, **option}
            yield pytest.param(*case, id=" ".join(f"{k}={v}" for k, v in {"rank": rank, **case[1]}.items()))


@pytest.mark.parametrize(("rank", "words"), list(resize_cases()))
def test_resize(rank, words, rng, assert_close):
    given = {**words, "mode": TORCH.get(words["mode"], {}).get(rank, words["mode"])}
    if "scale" in given:
        given["scale_factor"] = given.pop("scale")
    if words["mode"] in TORCH:
        given.setdefault("align_corners", False)

    def theirs(x):
        return last(F.interpolate(first(x, rank), **given), rank)

    compare(lambda x: jc.resize(x, **words), theirs, (rng.normal(size=SHAPES[rank]),), rng, assert_close)


def resized(x, resampling):
    """NumPy: the weighted sum of the taps, along the last axis but one."""
    cells, weights = resampling.taps()
    return (x[:, np.clip(cells, 0, resampling.n - 1)] * weights[..., None]).sum(2)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear"])
def test_every_small_size_in_float32(mode, rng):
    """The cell that is nearest may hang on the rounding of a position: all pairs of sizes, and scales."""
    differing = []
    for n in range(1, 25):
        x = rng.normal(size=(1, n, 2)).astype(np.float32)
        turned = first(torch.tensor(x), 1)
        for out in [*range(1, 50), 0.5, 1.1, 1.5, 2.0, 2.3, 3.0, 7.7]:
            size = out if isinstance(out, int) else int(n * out)
            if not size or (mode == "linear" and n == size):
                continue  # that is a copy, whatever the scale
            words = {"size": size} if isinstance(out, int) else {"scale_factor": out}
            want = last(F.interpolate(turned, mode=mode, **words), 1)
            got = resized(x, Resampling(n, size, mode, n / out if isinstance(out, int) else 1 / out))
            if not np.allclose(got, want, atol=2e-5):
                differing.append((n, out))
    assert not differing


# ---------------------------------------------------------------- shuffles


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_pixel_shuffles(factor, rng, assert_close):
    def theirs(x, y):
        return last(F.pixel_shuffle(first(x, 2), factor), 2), last(F.pixel_unshuffle(first(y, 2), factor), 2)

    def ours(x, y):
        return jc.pixel_shuffle(x, factor), jc.pixel_unshuffle(y, factor)

    shapes = (2, 3, 4, 5 * factor**2), (2, 2 * factor, 3 * factor, 5)
    compare(ours, theirs, tuple(rng.normal(size=shape) for shape in shapes), rng, assert_close)


WINDOWS = [
    {"kernel_size": (3, 2)},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (2, 3), "stride": (2, 1), "padding": (1, 2), "dilation": (2, 1)},
    {"kernel_size": 2, "stride": 3},
]


@pytest.mark.parametrize("words", WINDOWS, ids=str)
def test_unfold_and_fold(words, rng, assert_close):
    """torch orders the channels of a window [C, *k], we [*k, C]."""
    taps = int(np.prod(np.broadcast_to(words["kernel_size"], 2)))
    padding = words.get("padding", 0)
    own = {**words, "padding": padding if isinstance(padding, int) else tuple((p, p) for p in padding)}
    out = jc.unfold(np.zeros((1, 7, 8, 3)), **own).shape[1:3]

    def theirs(x, y):
        rows = F.unfold(first(x, 2), **words).reshape(2, 3, taps, *out)
        sums = F.fold(y.reshape(2, *out, taps, 3).permute(0, 4, 3, 1, 2).reshape(2, 3 * taps, -1), (7, 8), **words)
        return rows.permute(0, 3, 4, 2, 1).reshape(2, *out, -1), last(sums, 2)

    def ours(x, y):
        return jc.unfold(x, **own), jc.fold(y, (7, 8), **own)

    compare(ours, theirs, (rng.normal(size=(2, 7, 8, 3)), rng.normal(size=(2, *out, 3 * taps))), rng, assert_close)


# ---------------------------------------------------------------- sampling

MODES = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}
OUTSIDE = {"zeros": "zeros", "edge": "border", "reflect": "reflection"}


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding_mode", OUTSIDE)
@pytest.mark.parametrize(("rank", "mode"), [(2, "nearest"), (2, "linear"), (2, "cubic"), (3, "nearest"), (3, "linear")])
def test_grid_sample(rank, mode, padding_mode, align_corners, rng, assert_close):
    """Positions from far outside to far outside."""
    words = {"align_corners": align_corners}

    def theirs(x, grid):
        y = F.grid_sample(first(x, rank), grid, MODES[mode], OUTSIDE[padding_mode], **words)
        return last(y, rank)

    x, grid = rng.normal(size=SHAPES[rank]), rng.uniform(-2.5, 2.5, size=(2, *(4, 6, 3)[:rank], rank))
    ours = partial(jc.grid_sample, mode=mode, padding_mode=padding_mode, **words)
    compare(ours, theirs, (x, grid), rng, assert_close)


@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid behavior has changed for unit-size")
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(4, 5), (1, 3), (2, 3, 4)], ids=str)
def test_affine_grid(size, align_corners, rng, assert_close):
    def theirs(matrix):
        return F.affine_grid(matrix, (2, 1, *size), align_corners=align_corners)

    matrix = rng.normal(size=(2, len(size), len(size) + 1))
    compare(partial(jc.affine_grid, size=size, align_corners=align_corners), theirs, (matrix,), rng, assert_close)


@pytest.mark.slow
def test_the_identity_samples_the_input_itself(rng, assert_close):
    """Positions at the centers of the cells, those of the border included, whose gradients torch cuts."""
    x = rng.normal(size=(2, 4, 5, 3))
    for padding_mode in OUTSIDE:
        grid = jc.affine_grid(np.tile(np.eye(2, 3), (2, 1, 1)), (4, 5), align_corners=True)
        y = jc.grid_sample(x, grid, padding_mode=padding_mode, align_corners=True)
        assert_close(y, x)
        slope = jax.grad(lambda g, m=padding_mode: jc.grid_sample(x, g, padding_mode=m, align_corners=True).sum())(grid)
        leaf = torch.tensor(np.array(grid), requires_grad=True)
        F.grid_sample(first(torch.tensor(x), 2), leaf, "bilinear", OUTSIDE[padding_mode], True).sum().backward()
        inner = (slice(None), slice(1, -1), slice(1, -1))
        assert_close(slope[inner], leaf.grad[inner].numpy())
