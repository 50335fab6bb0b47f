"""The oracle itself, held to something else again: scipy, torch, hand-computed cases, finite differences."""

import itertools
from functools import partial

import numpy as np
import pytest
import scipy
from support import oracle

MATRIX = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [-13, 14, 15, -16]], float)[None, ..., None]


def difference(f, x, g, step=1e-6):
    """Central differences of sum(g * f(x)) at every entry of x."""
    slope = np.zeros_like(x)
    for i in np.ndindex(*x.shape):
        move = np.zeros_like(x)
        move[i] = step
        slope[i] = np.sum(g * (f(x + move) - f(x - move))) / (2 * step)
    return slope


# ---------------------------------------------------------------- sizes and padding


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_out_size_counts_windows(ceil_mode):
    for n, k, s, d, low, high in itertools.product(range(1, 8), range(1, 4), range(1, 4), (1, 2), (0, 1, 4), (0, 2)):
        if d * (k - 1) + 1 > n + low + high:
            continue
        if ceil_mode and high > d * (k - 1):
            continue  # then a floor window can lie wholly past the input, which no pool allows
        starts = [i for i in range(-low, n + high, s) if i + d * (k - 1) < n + high]
        left_over = n + high - 1 - (starts[-1] + d * (k - 1))
        more = ceil_mode and left_over > 0 and starts[-1] + s < n
        got = oracle.out_size(n, k, stride=s, pads=(low, high), dilation=d, ceil_mode=ceil_mode)
        assert got == len(starts) + more, (n, k, s, d, low, high)


def test_pads_by_hand():
    assert oracle.pads("valid", (7,), 3) == ((0, 0),)
    assert oracle.pads("same", (7,), 3) == ((1, 1),)
    assert oracle.pads("same", (6,), 3, 2) == ((0, 1),)
    assert oracle.pads("same_lower", (6,), 3, 2) == ((1, 0),)
    assert oracle.pads("same", (6,), 2) == ((0, 1),)
    assert oracle.pads("same", (6,), 1, 2) == ((0, 0),)
    assert oracle.pads("full", (6, 5), (3, 2), 1, (1, 4)) == ((2, 2), (4, 4))
    assert oracle.pads("causal", (6, 5), (3, 2), 1, (1, 4)) == ((2, 0), (4, 0))
    assert oracle.pads(2, (6, 5), 3) == ((2, 2), (2, 2))
    assert oracle.pads((4, 0), (6, 5), 3) == ((4, 0), (4, 0))
    assert oracle.pads(((1, 2), (3, 4)), (6, 5), 3) == ((1, 2), (3, 4))


@pytest.mark.parametrize("word", ["same", "same_lower"])
def test_same_gives_ceil_of_n_over_s(word):
    for n, k, s, d in itertools.product(range(1, 12), range(1, 6), range(1, 5), range(1, 4)):
        ((low, high),) = oracle.pads(word, (n,), k, s, d)
        assert oracle.out_size(n, k, stride=s, pads=(low, high), dilation=d) == -(-n // s)
        assert 0 <= (high - low if word == "same" else low - high) <= 1


@pytest.mark.parametrize(("mode", "word"), [("zeros", "constant"), ("reflect",) * 2, ("edge",) * 2, ("wrap",) * 2])
def test_pad_is_numpys(mode, word, rng):
    for size, pads in [((5, 4), ((2, 3), (0, 1))), ((3, 2), ((7, 8), (5, 0))), ((1, 3), ((2, 1), (1, 1)))]:
        x = rng.normal(size=(2, *size, 3))
        want = np.pad(x, ((0, 0), *pads, (0, 0)), word)
        np.testing.assert_array_equal(oracle.pad(x, pads, mode), want)
        g = rng.normal(size=want.shape)
        back = oracle.pad_adjoint(g, size, pads, mode)
        np.testing.assert_allclose(np.vdot(g, want), np.vdot(back, x), rtol=1e-12)
        np.testing.assert_allclose(
            back[:1], difference(lambda a, p=pads: oracle.pad(a, p, mode), x[:1], g[:1]), atol=1e-8
        )


# ---------------------------------------------------------------- convolutions


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("mode", ["valid", "full", "same"])
def test_conv_is_scipys_correlate(rank, mode, rng):
    size, k = (7, 6, 5)[:rank], (3, 3, 3)[:rank]
    x, kernel = rng.normal(size=(2, *size, 3)), rng.normal(size=(*k, 3, 4))
    y = oracle.conv(x, kernel, padding=mode)
    for n, t in itertools.product(range(2), range(4)):
        want = sum(scipy.signal.correlate(x[n, ..., c], kernel[..., c, t], mode, "direct") for c in range(3))
        np.testing.assert_allclose(y[n, ..., t], want, rtol=1e-10, atol=1e-12)


def test_stride_and_dilation_are_slices_and_zeros(rng):
    x, kernel = rng.normal(size=(1, 11, 12, 2)), rng.normal(size=(2, 3, 2, 2))
    spread = np.zeros((4, 5, 2, 2))
    spread[::3, ::2] = kernel
    want = oracle.conv(x, spread)[:, ::2, ::3]
    np.testing.assert_allclose(oracle.conv(x, kernel, stride=(2, 3), dilation=(3, 2)), want, rtol=1e-12)


def test_conv_by_hand():
    x, kernel = np.array([1.0, 2, 3, 4]).reshape(1, 4, 1), np.array([1.0, 10, 100]).reshape(3, 1, 1)
    flat = lambda **window: oracle.conv(x, kernel, **window).ravel().tolist()  # noqa: E731
    assert flat() == [321, 432]
    assert flat(padding="causal") == [100, 210, 321, 432]
    assert flat(padding="full") == [100, 210, 321, 432, 43, 4]
    assert flat(padding=(4, 0)) == [0, 0, 100, 210, 321, 432]
    assert flat(padding="same", padding_mode="wrap") == [214, 321, 432, 143]
    assert flat(padding="same", padding_mode="reflect") == [212, 321, 432, 343]
    assert flat(padding="same", padding_mode="edge") == [211, 321, 432, 443]
    x, kernel = np.array([[[1.0, 2, 3, 4]]]), np.array([[[1.0, 10, 100], [1000, 10000, 100000]]])
    two_groups = np.concatenate([kernel, kernel], -1)[..., :4]  # 2 channels in and 2 out for each group
    assert oracle.conv(x, two_groups, groups=2).ravel().tolist() == [2001, 20010, 400300, 4003]


CONVS = {
    "1d": ((6,), (3,), {"stride": 2, "padding": (4, 1)}),
    "1d wrap": ((5,), (3,), {"padding": "same", "padding_mode": "wrap", "dilation": 2}),
    "2d groups": ((5, 4), (3, 2), {"groups": 2, "stride": (1, 2), "padding": ((1, 3), (0, 2))}),
    "2d reflect": ((4, 4), (3, 2), {"padding": "full", "padding_mode": "reflect"}),
    "3d edge": ((3, 2, 4), (2, 2, 3), {"padding": "same_lower", "padding_mode": "edge", "stride": (2, 1, 1)}),
}


@pytest.mark.parametrize("case", CONVS)
def test_conv_gradients_are_finite_differences(case, rng):
    size, k, window = CONVS[case]
    x, kernel = rng.normal(size=(1, *size, 2)), rng.normal(size=(*k, 2 // window.get("groups", 1), 2))
    y = oracle.conv(x, kernel, **window)
    g = rng.normal(size=y.shape)
    dx, dkernel = oracle.conv_grads(x, kernel, g, **window)
    np.testing.assert_allclose(dx, difference(lambda a: oracle.conv(a, kernel, **window), x, g), atol=1e-7)
    np.testing.assert_allclose(dkernel, difference(lambda a: oracle.conv(x, a, **window), kernel, g), atol=1e-7)
    transposed = oracle.conv_transpose(g, kernel, size, **window)
    np.testing.assert_allclose(np.vdot(y, g), np.vdot(x, transposed), rtol=1e-12)


@pytest.mark.parametrize("case", [name for name in CONVS if "groups" not in name])
def test_local_conv(case, rng):
    size, k, window = CONVS[case]
    x, kernel = rng.normal(size=(1, *size, 2)), rng.normal(size=(*k, 2, 2))
    y = oracle.conv(x, kernel, **window)
    own = np.broadcast_to(kernel, (*y.shape[1:-1], *kernel.shape))
    np.testing.assert_allclose(oracle.local_conv(x, own, **window), y, rtol=1e-12, atol=1e-12)
    own, g = rng.normal(size=own.shape), rng.normal(size=y.shape)
    dx, dkernel = oracle.local_conv_grads(x, own, g, **window)
    np.testing.assert_allclose(dx, difference(lambda a: oracle.local_conv(a, own, **window), x, g), atol=1e-7)
    np.testing.assert_allclose(np.vdot(dkernel, own), np.vdot(dx, x), rtol=1e-10)  # bilinear: Euler, both ways
    step = rng.normal(size=own.shape)  # local_conv is linear in the kernel
    np.testing.assert_allclose(np.vdot(dkernel, step), np.vdot(g, oracle.local_conv(x, step, **window)), rtol=1e-9)


# ---------------------------------------------------------------- pools


def test_pools_by_hand():
    flat = lambda y: y.ravel().tolist()  # noqa: E731
    assert flat(oracle.max_pool(MATRIX, 2)) == [6, 8, 14, 15]
    assert flat(oracle.max_pool_indices(MATRIX, 2)) == [5, 7, 13, 14]
    assert flat(oracle.avg_pool(MATRIX, 2)) == [3.5, 5.5, 5, 5.5]
    np.testing.assert_allclose(flat(oracle.lp_pool(MATRIX, 2) ** 2), [66, 138, 546, 746])
    assert flat(oracle.lp_pool(MATRIX, 2, p=1)) == [14, 22, 46, 54]
    assert oracle.max_pool(MATRIX, 3, ceil_mode=True)[0, ..., 0].tolist() == [[11, 12], [15, -16]]
    assert oracle.max_pool(MATRIX, 3)[0, ..., 0].tolist() == [[11]]
    assert flat(oracle.adaptive_max_pool(MATRIX, 3)) == [6, 7, 8, 10, 11, 12, 14, 15, 15]
    row = np.array([1.0, 2, 4]).reshape(1, 3, 1)
    assert flat(oracle.avg_pool(row, 2, padding=1)) == [1, 3]
    assert flat(oracle.avg_pool(row, 2, padding=1, count_include_pad=True)) == [0.5, 3]
    assert flat(oracle.avg_pool(row, 2, stride=2, ceil_mode=True)) == [1.5, 4]
    assert flat(oracle.avg_pool(row, 2, stride=2, ceil_mode=True, count_include_pad=True)) == [1.5, 4]
    assert flat(oracle.avg_pool(row, (4,), stride=3, padding=(1, 1), ceil_mode=True)) == [7 / 3, 4]


def test_ties_zeros_and_unpool_by_hand():
    x = np.array([0.0, 3, 3, 0, 0, 0]).reshape(1, 6, 1)
    g = np.array([10.0, 20]).reshape(1, 2, 1)
    assert oracle.max_pool_grad(x, g, 3).ravel().tolist() == [0, 10, 0, 20, 0, 0]
    np.testing.assert_allclose(oracle.lp_pool_grad(x, g, 3).ravel(), [0, *[10 / np.sqrt(2)] * 2, 0, 0, 0])
    y, indices = oracle.max_pool(x, 3), oracle.max_pool_indices(x, 3)
    assert oracle.max_unpool(y, indices, (6,)).ravel().tolist() == [0, 3, 0, 0, 0, 0]


POOLS = {
    "1d": ((7,), (3,), {"stride": 2, "padding": (2, 1)}),
    "2d": ((5, 4), (2, 3), {"stride": (2, 1), "padding": "same", "ceil_mode": True}),
    "2d dilated": ((5, 6), (2, 2), {"dilation": (2, 3), "stride": 1, "padding": ((1, 0), (0, 2))}),
    "3d": ((3, 4, 3), (2, 2, 2), {"ceil_mode": True}),
}
KINDS = {
    "max": (oracle.max_pool, oracle.max_pool_grad, {}),
    "avg": (oracle.avg_pool, oracle.avg_pool_grad, {}),
    "avg padded": (oracle.avg_pool, oracle.avg_pool_grad, {"count_include_pad": True}),
    "l1": (oracle.lp_pool, oracle.lp_pool_grad, {"p": 1}),
    "l2": (oracle.lp_pool, oracle.lp_pool_grad, {}),
    "l3.5": (oracle.lp_pool, oracle.lp_pool_grad, {"p": 3.5}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", POOLS)
def test_pool_gradients_are_finite_differences(case, kind, rng):
    (size, k, window), (pool, grad, extra) = POOLS[case], KINDS[kind]
    x = rng.permutation(np.linspace(-2, 2, 2 * int(np.prod(size)))).reshape(1, *size, 2)  # no ties, no zero
    y = pool(x, k, **window, **extra)
    g = rng.normal(size=y.shape)
    want = difference(lambda a: pool(a, k, **window, **extra), x, g)
    np.testing.assert_allclose(grad(x, g, k, **window, **extra), want, atol=1e-7)


@pytest.mark.parametrize(
    ("pool", "grad"),
    [
        (oracle.adaptive_avg_pool, oracle.adaptive_avg_pool_grad),
        (oracle.adaptive_max_pool, oracle.adaptive_max_pool_grad),
    ],
)
def test_adaptive_gradients_are_finite_differences(pool, grad, rng):
    x = rng.normal(size=(1, 5, 4, 2))
    g = rng.normal(size=(1, 3, 3, 2))
    np.testing.assert_allclose(grad(x, g, (3, 3)), difference(lambda a: pool(a, (3, 3)), x, g), atol=1e-7)


# ---------------------------------------------------------------- torch


def first(a):
    """Channels first, as torch has them."""
    return np.ascontiguousarray(np.moveaxis(a, -1, 1))


def torch_check(f, ours, *arrays):
    """Values of f (torch, channels first) and gradients of all arrays against `ours(g) -> (y, *grads)`."""
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = f(*tensors)
    g = np.random.default_rng(0).normal(size=y.shape)
    y.backward(torch.tensor(g))
    for got, want in zip(ours(np.moveaxis(g, 1, -1)), [y, *(t.grad for t in tensors)], strict=True):
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "edge", "wrap"])
def test_conv_is_torchs(rank, padding_mode, rng):
    torch = pytest.importorskip("torch")
    size, k = (8, 7, 5)[:rank], (3, 2, 3)[:rank]
    stride, dilation, pads = (2, 1, 1)[:rank], (1, 2, 1)[:rank], ((1, 2), (2, 0), (1, 1))[:rank]
    x, kernel = rng.normal(size=(2, *size, 4)), rng.normal(size=(*k, 2, 6))
    window = {"stride": stride, "padding": pads, "padding_mode": padding_mode, "dilation": dilation, "groups": 2}
    word = {"zeros": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}[padding_mode]

    def theirs(a, w):
        flat = [cell for pair in reversed(pads) for cell in pair]
        padded = torch.nn.functional.pad(a, flat, word)
        run = getattr(torch.nn.functional, f"conv{rank}d")
        return run(padded, w, stride=stride, dilation=dilation, groups=2)

    def ours(g):
        dx, dkernel = oracle.conv_grads(x, kernel, g, **window)
        weights = np.moveaxis(dkernel, (-1, -2), (0, 1))
        return first(oracle.conv(x, kernel, **window)), first(dx), weights

    weights = np.ascontiguousarray(np.moveaxis(kernel, (-1, -2), (0, 1)))
    torch_check(theirs, ours, first(x), weights)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("kind", ["max", "avg", "avg padded", "l2", "l3.5"])
def test_pools_are_torchs(kind, ceil_mode, rng):
    torch = pytest.importorskip("torch")
    pool, grad, extra = KINDS[kind]
    nn = torch.nn.functional
    for n, k, s, p, d in [
        (7, 3, 2, 1, 1),
        (8, 3, 2, 1, 1),
        (8, 2, 3, 1, 1),
        (9, 3, 2, 1, 2),
        (6, 3, 3, 0, 1),
    ]:
        x = np.maximum(rng.normal(size=(2, n, n, 3)), -0.5)  # many ties
        size = {"stride": s, "ceil_mode": ceil_mode}
        window = {"stride": s, "ceil_mode": ceil_mode}
        if kind.startswith("l"):
            if ceil_mode and (n - k) % s:
                continue  # torch scales an overhanging window by k*k / its cells
            x = np.abs(x)
            theirs = partial(nn.lp_pool2d, norm_type=extra.get("p", 2), kernel_size=k, **size)
        elif kind == "max":
            window |= {"padding": p, "dilation": d}
            theirs = partial(nn.max_pool2d, kernel_size=k, padding=p, dilation=d, **size)
        else:
            window |= {"padding": p}
            theirs = partial(
                nn.avg_pool2d, kernel_size=k, padding=p, count_include_pad="count_include_pad" in extra, **size
            )
        window |= extra
        y = first(pool(x, k, **window))
        torch_check(theirs, lambda g, x=x, y=y, k=k, w=window: (y, first(grad(x, g, k, **w))), first(x))


@pytest.mark.parametrize("kind", ["avg", "max"])
def test_adaptive_pools_are_torchs(kind, rng):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(2, 7, 5, 3))
    pool, grad = getattr(oracle, f"adaptive_{kind}_pool"), getattr(oracle, f"adaptive_{kind}_pool_grad")
    f = getattr(torch.nn.functional, f"adaptive_{kind}_pool2d")
    for out in [(3, 4), (7, 5), (1, 1), (2, 3)]:
        ours = lambda g, out=out: (first(pool(x, out)), first(grad(x, g, out)))  # noqa: E731
        torch_check(lambda a, out=out: f(a, out), ours, first(x))


def test_max_unpool_is_torchs(rng):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(2, 6, 4, 3))
    y, index = torch.nn.functional.max_pool2d(torch.tensor(first(x)), 2, return_indices=True)
    want = torch.nn.functional.max_unpool2d(y, index, 2).numpy()
    indices = oracle.max_pool_indices(x, 2)
    np.testing.assert_array_equal(first(indices), index.numpy())
    np.testing.assert_array_equal(first(oracle.max_unpool(oracle.max_pool(x, 2), indices, (6, 4))), want)
