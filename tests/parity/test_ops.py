"""Every op that torch has too: values and gradients in float64, over sampled arguments."""

import dataclasses
import itertools
from functools import partial

import numpy as np
import pytest
from support import oracle

import jaxconv as jc

torch = pytest.importorskip("torch")
F = torch.nn.functional
from support.sides import compare, first, last, weight  # noqa: E402  (it needs torch)

MODES = {"zeros": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}

pytestmark = [pytest.mark.usefixtures("x64"), pytest.mark.sampled]


@dataclasses.dataclass(frozen=True)
class Case:
    """One call: the input's spatial size, the window's size, our words for the rest."""

    n: tuple
    k: tuple = ()
    lone: bool = False  # one example without its batch axis
    channels: int = 3
    features: int = 3  # of the result
    words: dict = dataclasses.field(default_factory=dict)

    @property
    def rank(self):
        return len(self.n)

    @property
    def pads(self):
        return oracle.pads(self.words["padding"], self.n, self.k, self.words["stride"], self.words.get("dilation", 1))

    @property
    def theirs(self):
        """The words that torch spells alike, with its padding: one amount for each axis, or "same"."""
        kept = {w: v for w, v in self.words.items() if w in ("stride", "dilation", "groups", "output_padding")}
        padding = self.words["padding"]
        return {**kept, "padding": padding if padding == "same" else tuple(low for low, _ in self.pads)}

    @property
    def shape(self):
        return (*(() if self.lone else (2,)), *self.n, self.channels)

    def x(self, rng):
        return rng.normal(size=self.shape)

    def call(self, name):
        """torch's function of this rank."""
        return getattr(F, f"{name}{self.rank}d")

    def __str__(self):
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)[:3]}
        return " ".join(f"{w}={v}" for w, v in {**fields, **self.words}.items() if v).replace(", ", ",")


def ints(rng, low, high, rank):
    """One int for each axis, or sometimes one for all."""
    drawn = tuple(map(int, rng.integers(low, high + 1, rank)))
    return drawn[0] if rng.random() < 0.3 else drawn


def each(padding):
    """torch's amounts as our pairs."""
    return padding if isinstance(padding, int | str) else tuple((p, p) for p in padding)


def flat(pairs):
    """Our pairs as torch.nn.functional.pad wants them: the last axis first."""
    return [cells for pair in reversed(pairs) for cells in pair]


def spans(case):
    """The padded input and the window's reach, axis by axis."""
    dilation = oracle.per_axis(case.words.get("dilation", 1), case.rank)
    padded = [n + sum(pair) for n, pair in zip(case.n, case.pads, strict=True)]
    return zip(padded, (d * (k - 1) + 1 for k, d in zip(case.k, dilation, strict=True)), strict=True)


def sample(draw, count, seed):
    """Parametrizes a test by `count` calls, the ranks in turn; `draw` gives None where a call cannot be."""
    rng, cases = np.random.default_rng(seed), []
    while len(cases) < count:
        case = draw(rng, len(cases) % 3 + 1)
        if case is not None:
            cases.append(case)
    return pytest.mark.parametrize("case", cases, ids=str)


def draw_shape(rng, rank, groups=1):
    n, k = (tuple(map(int, rng.integers(1, high[rank - 1], rank))) for high in ((12, 8, 6), (6, 5, 4)))
    channels, features = (groups * int(rng.integers(1, 4)) for _ in range(2))
    return {"n": n, "k": k, "lone": bool(rng.random() < 0.15), "channels": channels, "features": features}


# ---------------------------------------------------------------- convolutions


def draw_conv(rng, rank):
    groups = int(rng.choice([1, 1, 2, 3]))
    padding_mode = str(rng.choice(["zeros", "zeros", "reflect", "edge", "wrap"]))
    padding, stride = each(ints(rng, 0, 3, rank)), ints(rng, 1, 3, rank)
    if padding_mode == "zeros" and rng.random() < 0.3:
        padding, stride = "same", 1
    words = {"stride": stride, "padding": padding, "padding_mode": padding_mode, "dilation": ints(rng, 1, 3, rank)}
    case = Case(**draw_shape(rng, rank, groups), words={**words, "groups": groups})
    room = {"reflect": -1, "wrap": 0}.get(padding_mode, 99)
    taken = all(max(pair) <= n + room for n, pair in zip(case.n, case.pads, strict=True))
    return case if taken and all(padded >= span for padded, span in spans(case)) else None


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@sample(draw_conv, 24, seed=1)
def test_conv(case, rng, assert_close):
    kernel = rng.normal(size=(*case.k, case.channels // case.words["groups"], case.features))

    def theirs(x, kernel, bias):
        x, words = first(x, case.rank), case.theirs
        if case.words["padding_mode"] != "zeros":
            x = F.pad(x, flat(case.pads), MODES[case.words["padding_mode"]])
            words["padding"] = 0
        return last(case.call("conv")(x, weight(kernel), bias, **words), case.rank)

    args = (case.x(rng), kernel, rng.normal(size=case.features))
    compare(partial(jc.conv, **case.words), theirs, args, rng, assert_close)


def draw_conv_transpose(rng, rank):
    groups, stride = int(rng.choice([1, 1, 2, 3])), ints(rng, 1, 3, rank)
    more = tuple(int(rng.integers(0, s)) for s in oracle.per_axis(stride, rank))
    words = {"stride": stride, "padding": each(ints(rng, 0, 2, rank)), "dilation": ints(rng, 1, 3, rank)}
    case = Case(**draw_shape(rng, rank, groups), words={**words, "output_padding": more, "groups": groups})
    pieces = zip(case.n, oracle.per_axis(stride, rank), spans(case), case.pads, more, strict=True)
    sizes = [(n - 1) * s + span + m - sum(pair) for n, s, (_, span), pair, m in pieces]
    return case if min(sizes) >= 1 and np.prod(sizes) < 600 else None


@sample(draw_conv_transpose, 24, seed=2)
def test_conv_transpose(case, rng, assert_close):
    kernel = rng.normal(size=(*case.k, case.features // case.words["groups"], case.channels))

    def theirs(x, kernel, bias):
        y = case.call("conv_transpose")(first(x, case.rank), weight(kernel).contiguous(), bias, **case.theirs)
        return last(y, case.rank)

    args = (case.x(rng), kernel, rng.normal(size=case.features))
    compare(partial(jc.conv_transpose, **case.words), theirs, args, rng, assert_close)


UNFOLDED = [({}, (3, 6)), ({"stride": (2, 1), "padding": (1, 2)}, (3, 10)), ({"dilation": 2, "padding": 2}, (5, 9))]


@pytest.mark.parametrize(("window", "out"), UNFOLDED, ids=str)
def test_local_conv(window, out, rng, assert_close):
    """torch has the windows (unfold) and leaves the product to us."""

    def theirs(x, kernel, bias):
        seen = F.unfold(first(x, 2), (3, 2), **window).reshape(2, 3, 6, *out)
        return torch.einsum("ncmij,ijmcf->nijf", seen, kernel.reshape(*out, 6, 3, 4)) + bias

    args = tuple(rng.normal(size=shape) for shape in ((2, 5, 7, 3), (*out, 3, 2, 3, 4), (*out, 4)))
    words = {**window, "padding": each(window.get("padding", 0))}
    compare(partial(jc.local_conv, **words), theirs, args, rng, assert_close)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("padding_mode", MODES)
def test_pad(padding_mode, rank, rng, assert_close):
    pairs = tuple(tuple(map(int, pair)) for pair in rng.integers(0, 4, (rank, 2)))
    case = Case((4, 5, 6)[:rank])

    def theirs(x):
        return last(F.pad(first(x, rank), flat(pairs), MODES[padding_mode]), rank)

    compare(
        lambda x: jc.pad(x, pairs, padding_mode=padding_mode, kernel_size=(1,) * rank),
        theirs,
        (case.x(rng),),
        rng,
        assert_close,
    )


# ---------------------------------------------------------------- pools


def draw_pool(rng, rank, dilations=3, ceil_mode=True):
    """A pool's window; torch pads by half its size at most. Every window holds a cell of the input."""
    shape, dilation = draw_shape(rng, rank), ints(rng, 1, dilations, rank) if dilations > 1 else 1
    padding = tuple((p, p) for p in (int(rng.integers(0, k // 2 + 1)) for k in shape["k"]))
    stride = None if rng.random() < 0.3 else ints(rng, 1, 4, rank)
    words = {"stride": shape["k"] if stride is None else stride, "padding": padding, "dilation": dilation}
    case = Case(**shape, words={**words, "ceil_mode": bool(ceil_mode and rng.random() < 0.5)})
    if not all(padded >= span for padded, span in spans(case)):
        return None
    if rank == 3 and dilations == 1 and any(k > n for k, n in zip(case.k, case.n, strict=True)):
        return None  # torch's 3-D average forgets the padding when it checks the size
    real, _ = oracle.windows(np.zeros((1, *case.n, 1)), case.k, **case.words)
    return case if all(cells for axis in real for cells in axis) else None


@sample(draw_pool, 24, seed=3)
def test_max_pool(case, rng, assert_close):
    """Few values with many ties: both give the first maximum's index, and it the gradient."""

    def ours(x):
        y, at = jc.max_pool_with_indices(x, case.k, **case.words)
        return jc.max_pool(x, case.k, **case.words), y, at.astype(float)

    def theirs(x):
        window = {**case.theirs, "ceil_mode": case.words["ceil_mode"]}
        y, at = case.call("max_pool")(first(x, case.rank), case.k, **window, return_indices=True)
        return last(y, case.rank), last(y, case.rank), last(at.double(), case.rank)

    compare(ours, theirs, (rng.integers(-2, 3, case.shape).astype(float),), rng, assert_close)


def draw_unpool(rng, rank):
    case = draw_pool(rng, rank, dilations=1, ceil_mode=False)  # torch's way back knows neither
    stride = case and oracle.per_axis(case.words["stride"], rank)
    apart = case and not case.lone and all(s >= k for s, k in zip(stride, case.k, strict=True))
    return case if apart else None  # windows that overlap may name a cell twice


@sample(draw_unpool, 6, seed=4)
def test_max_unpool(case, rng, assert_close):
    x = first(torch.tensor(case.x(rng)), case.rank)
    _, at = case.call("max_pool")(x, case.k, **case.theirs, return_indices=True)
    indices = last(at, case.rank).numpy()

    def theirs(y):
        window = {word: case.theirs[word] for word in ("stride", "padding")}
        return last(case.call("max_unpool")(first(y, case.rank), at, case.k, **window, output_size=case.n), case.rank)

    y = rng.normal(size=indices.shape)
    compare(lambda y: jc.max_unpool(y, indices, case.n), theirs, (y,), rng, assert_close)


@sample(partial(draw_pool, dilations=1), 18, seed=5)
def test_avg_pool(case, rng, assert_close):
    def ours(x):
        return tuple(jc.avg_pool(x, case.k, **case.words, count_include_pad=count) for count in (False, True))

    def theirs(x):
        window = {word: case.theirs[word] for word in ("stride", "padding")}
        words = {**window, "ceil_mode": case.words["ceil_mode"]}
        pool = partial(case.call("avg_pool"), first(x, case.rank), case.k, **words)
        return tuple(last(pool(count_include_pad=count), case.rank) for count in (False, True))

    compare(ours, theirs, (case.x(rng),), rng, assert_close)


@sample(partial(draw_pool, dilations=1), 9, seed=6)
def test_lp_pool(case, rng, assert_close):
    """torch is given |x|, which it does not take, and the padding's zeros as cells.

    For it has no padding, and under ceil_mode it scales a partial window's sum by size / cells held: the
    definition (Σ |x|^p)^(1/p) knows no such factor.
    """
    windows, _ = oracle.windows(np.zeros((1, *case.n, 1)), case.k, **case.words)
    strides = oracle.per_axis(case.words["stride"], case.rank)
    pieces = zip(windows, strides, case.k, case.n, case.pads, strict=True)
    pairs = [(low, (len(axis) - 1) * s + k - n - low) for axis, s, k, n, (low, _) in pieces]

    norms, size = (1, 2, 3, np.inf), case.k[0] if case.rank == 1 else case.k

    def ours(x):
        return *(jc.lp_pool(x, case.k, p=p, **case.words) for p in norms), jc.l2_pool(x, case.k, **case.words)

    def theirs(x):
        x = F.pad(first(x, case.rank).abs(), flat(pairs))  # a negative amount cuts what no window reaches
        return tuple(last(case.call("lp_pool")(x, p, size, case.words["stride"]), case.rank) for p in (*norms, 2))

    compare(ours, theirs, (case.x(rng),), rng, assert_close)


def draw_adaptive(rng, rank):
    n = tuple(map(int, rng.integers(1, (12, 8, 5)[rank - 1], rank)))
    return Case(n, words={"out": ints(rng, 1, (8, 5, 4)[rank - 1], rank)})


@sample(draw_adaptive, 15, seed=7)
def test_adaptive_pools(case, rng, assert_close):
    out, rank = case.words["out"], case.rank

    def theirs(x):
        pools = (case.call("adaptive_avg_pool"), case.call("adaptive_max_pool"))
        return tuple(last(pool(first(x, rank), out), rank) for pool in pools)

    x = rng.integers(-2, 3, case.shape).astype(float)  # ties: the first maximum has the gradient
    compare(lambda x: (jc.adaptive_avg_pool(x, out), jc.adaptive_max_pool(x, out)), theirs, (x,), rng, assert_close)


@pytest.mark.parametrize("n", [(7,), (5, 3), (3, 2, 5)])
def test_global_pools_and_flatten(n, rng, assert_close):
    def theirs(x):
        pools = [getattr(F, f"adaptive_{kind}_pool{len(n)}d") for kind in ("avg", "max")]
        return *(torch.flatten(pool(first(x, len(n)), 1), 1) for pool in pools), torch.flatten(x, 1)

    x = rng.integers(-2, 3, (2, *n, 3)).astype(float)
    compare(lambda x: (jc.global_avg_pool(x), jc.global_max_pool(x), jc.flatten(x)), theirs, (x,), rng, assert_close)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["max", "avg", "avg padded"])
def test_last_windows_of_ceil_mode(kind):
    """Every small window: partial ones, a partial one alone, and those that would start in the high padding."""
    module = {
        "max": torch.nn.MaxPool1d,
        "avg": partial(torch.nn.AvgPool1d, count_include_pad=False),
        "avg padded": torch.nn.AvgPool1d,
    }[kind]
    ours = jc.max_pool if kind == "max" else partial(jc.avg_pool, count_include_pad=kind == "avg padded")
    shapes = refused = 0
    for n, k, s, p in itertools.product(range(1, 6), range(1, 6), range(1, 6), range(3)):
        if 2 * p > k:
            continue  # torch allows padding up to half the window
        x = np.arange(1.0, n + 1, dtype=np.float32)
        try:
            want = module(k, stride=s, padding=p, ceil_mode=True)(torch.tensor(x)[None, None])
        except RuntimeError:
            with pytest.raises(jc.ShapeError):
                ours(x[None, :, None], (k,), stride=s, padding=p, ceil_mode=True)
            refused += 1
            continue
        got = ours(x[None, :, None], (k,), stride=s, padding=p, ceil_mode=True)
        np.testing.assert_allclose(got[0, :, 0], want[0, 0], rtol=1e-6, err_msg=f"{kind} {n=} {k=} {s=} {p=}")
        shapes += 1
    assert shapes > 200
    assert refused > 10


def test_onnx_s_last_window_that_starts_on_a_pad():
    """`averagepool_2d_ceil_last_window_starts_on_pad` of ONNX's test suite: it is dropped."""
    x = np.array([[[[0.8580, 0.0786], [0.2692, 0.1537]], [[0.8816, 0.4353], [0.5772, 0.6623]]]], np.float32)
    got = jc.avg_pool(np.moveaxis(x, 1, -1), 3, stride=3, padding=1, ceil_mode=True, count_include_pad=True)
    np.testing.assert_allclose(got, [[[[0.1511, 0.2841]]]], atol=1e-4)
