"""Summaries: published sizes, counts by loops, fields by the support of gradients, nets of other libraries."""

import dataclasses
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.analysis.summary import summary

relu = jax.nn.relu


def resnet(blocks, bottleneck):
    def block(features, stride, first):
        if bottleneck:
            convs = [(features, 1, 1), (features, 3, stride), (4 * features, 1, 1)]
        else:
            convs = [(features, 3, stride), (features, 3, 1)]
        parts = []
        for f, size, s in convs:
            parts += [jc.Conv(f, size, stride=s, padding=size // 2, bias=False), jc.BatchNorm(), relu]
        shortcut = jc.chain(jc.Conv(convs[-1][0], 1, stride=stride, bias=False), jc.BatchNorm()) if first else None
        return jc.chain(jc.residual(jc.chain(*parts[:-1]), shortcut), relu)

    stages = [
        jc.chain(*(block(64 << i, 2 if i and not j else 1, not j and (i or bottleneck)) for j in range(n)))
        for i, n in enumerate(blocks)
    ]
    stem = [jc.Conv(64, 7, stride=2, padding=3, bias=False), jc.BatchNorm(), relu, jc.MaxPool(3, stride=2, padding=1)]
    return jc.chain(*stem, *stages, jc.global_avg_pool, head=jc.Dense(1000))


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.parametrize(
    ("blocks", "bottleneck", "parameters", "gmacs", "field"),
    [
        ((2, 2, 2, 2), False, 11_689_512, 1.81, 435),
        ((3, 4, 6, 3), True, 25_557_032, 4.09, 427),
        ((3, 8, 36, 3), True, 60_192_808, 11.51, 427 + 4 * 2 * 8 + 30 * 2 * 16),
    ],
    ids=["ResNet-18", "ResNet-50", "ResNet-152"],
)
def test_published_sizes(blocks, bottleneck, parameters, gmacs, field):
    found = summary(resnet(blocks, bottleneck), (1, 224, 224, 3))
    assert found.parameters == sum(row.parameters for row in found.rows) == parameters
    assert round(found.macs / 1e9, 2) == gmacs
    assert found.rows[-3].output == (1, 7, 7, 2048 if bottleneck else 512)
    assert [(f.unclipped, f.effective_stride, f.center) for f in found.rows[-3].field] == [(field, 32, 0.0)] * 2
    assert [f.size for f in found.rows[-1].field] == [224, 224]
    assert found.notes == ()


# ---------------------------------------------------------------- multiplications


def loops(n, k, stride=1, low=0, high=0, dilation=1):
    """Taps of all windows along one axis: all, and those on the n cells."""
    every = inside = 0
    at = 0
    while at + dilation * (k - 1) < n + low + high:
        for tap in range(k):
            every += 1
            inside += low <= at + tap * dilation < low + n
        at += stride
    return every, inside


CONVS = [
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 5, "padding": "same", "stride": 2},
    {"kernel_size": 3, "padding": ((0, 2), (3, 1)), "dilation": 2},
    {"kernel_size": (1, 4), "padding": "full", "groups": 2},
    {"kernel_size": 2, "padding": "causal", "stride": 3, "dilation": 3, "groups": 4},
]


@pytest.mark.sampled
@pytest.mark.parametrize("arguments", CONVS, ids=str)
def test_multiplications_of_a_convolution(arguments):
    n = (9, 8)
    net = jc.Conv(8, **arguments)
    (row,) = summary(net, (3, *n, 4)).rows
    per_pair = 3 * (4 // row.groups) * 8
    axes = zip(n, row.size, row.stride, row.padding, row.dilation, strict=True)
    counted = [loops(m, k, s, lo, hi, d) for m, k, s, (lo, hi), d in axes]
    assert row.macs == per_pair * counted[0][0] * counted[1][0]
    assert row.inside == per_pair * counted[0][1] * counted[1][1]
    assert row.parameters == np.prod(row.size) * 4 // row.groups * 8 + 8
    assert row.bytes == 4 * np.prod(row.output)
    transposed = jc.ConvTranspose(4, **arguments)
    (back,) = summary(transposed, row.output).rows
    assert (back.transposed, back.stride, back.groups) == (True, row.stride, row.groups)
    pairs = zip(row.output[1:-1], back.output[1:-1], back.size, back.stride, back.padding, back.dilation, strict=True)
    every, inside = 1, 1
    for cells, out, k, s, (lo, _), d in pairs:
        every *= cells * k
        inside *= sum(0 <= i * s + m * d - lo < out for i in range(cells) for m in range(k))
    assert (back.macs, back.inside) == (every * per_pair, inside * per_pair)


def test_lax_convolutions_are_counted_as_ours():
    def plain(k, x):
        return jax.lax.conv_general_dilated(
            x, k, (2, 1), ((1, 0), (2, 2)), rhs_dilation=(1, 2), dimension_numbers=("NCHW", "OIHW", "NCHW"),
            feature_group_count=2,
        )  # fmt: skip

    kernel = jax.ShapeDtypeStruct((6, 2, 3, 3), jnp.float32)
    (theirs,) = summary(plain, (2, 4, 9, 8), params=kernel, axes=(2, 3)).rows
    net = jc.Conv(6, 3, stride=(2, 1), padding=((1, 0), (2, 2)), dilation=(1, 2), groups=2, bias=False)
    (ours,) = summary(net, (2, 9, 8, 4)).rows
    same = {"path": "", "output": ()}
    assert dataclasses.replace(theirs, **same) == dataclasses.replace(ours, **same)


HOLES = [
    {"window_strides": (2, 2), "padding": "SAME"},
    {"window_strides": (1, 1), "padding": ((2, 2), (1, 2)), "lhs_dilation": (2, 3), "rhs_dilation": (1, 2)},
    {"window_strides": (2, 3), "padding": ((1, 4), (0, 3)), "lhs_dilation": (3, 2)},
]


@pytest.mark.parametrize("arguments", HOLES, ids=range(3))
def test_multiplications_are_those_that_xla_counts(arguments):
    def conv(x):
        kernel = jnp.ones((3, 3, 1, 4))
        return jax.lax.conv_general_dilated(x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **arguments)

    x = jax.ShapeDtypeStruct((2, 9, 8, 1), jnp.float32)
    assert jax.jit(conv).lower(x).compile().cost_analysis()["flops"] == 2 * summary(conv, x).inside


def test_products_and_numbers_of_a_small_net():
    net = jc.chain(jc.Conv(2, 3), relu, jc.MaxPool(2), jc.flatten, head=jc.Dense(5, bias=False))
    found = summary(net, (7, 6, 6, 1))
    assert [row.path for row in found.rows] == ["conv0", "relu0", "max_pool0", "flatten0", "head"]
    assert [row.output for row in found.rows] == [(7, 4, 4, 2), (7, 4, 4, 2), (7, 2, 2, 2), (7, 8), (7, 5)]
    assert [row.macs for row in found.rows] == [7 * 16 * 9 * 2, 0, 0, 0, 7 * 8 * 5]
    assert [row.parameters for row in found.rows] == [20, 0, 0, 0, 40]
    assert [row.moved for row in found.rows[:2]] == [4 * (7 * 36 + 20 + 7 * 32), 4 * 2 * 7 * 32]
    assert found.rows[0].other == found.rows[1].other == 7 * 32  # the bias; one maximum each
    assert found.rows[2].size == found.rows[2].stride == (2, 2)
    assert found.intensity == 2 * found.macs / found.moved
    assert found.parameter_bytes == 240


def test_pools_show_their_windows():
    net = jc.chain(jc.MaxPool(3, stride=2, padding=1), jc.AvgPool((2, 3), stride=1, dilation=2), jc.L2Pool(2))
    found = [(r.size, r.stride, r.padding, r.dilation) for r in summary(net, (1, 30, 30, 2)).rows]
    none = ((0, 0), (0, 0))
    assert found == [
        ((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
        ((2, 3), (1, 1), none, (2, 2)),
        ((2, 2), (2, 2), none, (1, 1)),
    ]


def test_repeat_and_remat_are_the_same_net():
    def layer():
        return jc.chain(jc.Conv(3, 3, padding=1), jc.BatchNorm(), relu)

    def sums(net):
        found = summary(jc.chain(jc.Conv(3, 3), net, jc.Conv(3, 3, stride=2)), (1, 12, 12, 1))
        return found.parameters, found.macs, found.inside, found.other, found.rows[-1].field

    plain = sums(jc.chain(layer(), layer(), layer()))
    assert sums(jc.repeat(layer(), 3)) == plain
    assert sums(jc.remat(jc.chain(layer(), layer(), layer()))) == plain
    rows = summary(jc.repeat(layer(), 3), (1, 12, 12, 3)).rows
    assert [(r.path, r.times, r.parameters) for r in rows] == [
        ("conv0", 3, 252), ("batch_norm0", 3, 18), ("relu0", 3, 0),
    ]  # fmt: skip


def test_a_part_called_twice_has_its_parameters_once():
    twice = jc.compose("twice", {"half": jc.Dense(4)}, lambda call, x: call("half", call("half", x)))
    found = summary(twice, (1, 4))
    assert [(row.path, row.parameters, row.macs) for row in found.rows] == [("half", 20, 16), ("half#2", 0, 16)]
    assert (found.parameters, found.macs) == (20, 32)


# ---------------------------------------------------------------- memory


def test_memory_by_hand():
    cell = 4 * 10 * 10
    plain = summary(lambda x: jnp.sin(jnp.exp(x)), (1, 10, 10, 1))
    assert plain.peak_bytes == 2 * cell  # an operand and its result
    assert plain.training.kept == 2 * cell  # exp(x) and cos(exp(x))
    held = summary(lambda x: jnp.exp(jnp.tanh(x)) + x, (1, 10, 10, 1))
    assert held.peak_bytes == 3 * cell
    wide = jax.ShapeDtypeStruct((10, 70), jnp.float32)
    dense = summary(lambda k, x: x @ k, (10, 10), params=wide)
    assert (dense.peak_bytes, dense.training.kept, dense.parameter_bytes) == (400 + 2800, 400, 2800)


def test_what_has_no_backward_pass_has_no_number():
    found = summary(lambda x: jax.lax.while_loop(lambda c: c.sum() < 3, jnp.tanh, x), (2, 4))
    assert (found.training.kept, found.training.peak) == (None, None)
    assert found.notes == ("a while loop is counted as one step, and its result depends on all its inputs",)
    assert "training memory   –" in str(found)


def test_remat_keeps_less():
    body = jc.chain(*[jc.Conv(4, 3, padding=1), jnp.tanh] * 4)
    plain, again = (summary(net, (1, 16, 16, 4)).training for net in (body, jc.remat(body)))
    assert again.kept == 4 * 16 * 16 * 4  # the input alone
    assert plain.kept >= 4 * again.kept
    assert again.peak > again.kept


# ---------------------------------------------------------------- other libraries


@pytest.mark.slow
def test_flax_nets():
    from flax import linen, nnx

    class Linen(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.max_pool(linen.relu(linen.Conv(4, (3, 3))(x)), (2, 2), (2, 2))
            return linen.Dense(3)(x.reshape(len(x), -1))

    class NNX(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(1, 4, (3, 3), rngs=rngs)
            self.head = nnx.Linear(64, 3, rngs=rngs)

        def __call__(self, x):
            x = nnx.max_pool(nnx.relu(self.conv(x)), (2, 2), (2, 2))
            return self.head(x.reshape(len(x), -1))

    net = Linen()
    params = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.ones((1, 8, 8, 1))))
    tables = summary(net.apply, (2, 8, 8, 1), params=params), summary(NNX(nnx.Rngs(0)), (2, 8, 8, 1))
    paths = [[row.path for row in table.rows] for table in tables]
    assert paths[0] == ["Linen/Conv_0", "Linen/relu0", "Linen/max_pool0", "Linen/reshape0", "Linen/Dense_0"]
    assert paths[1] == ["conv0", "relu0", "max_pool0", "reshape0", "dense0"]
    for table in tables:
        assert [row.parameters for row in table.rows] == [40, 0, 0, 0, 195]
        assert [row.macs for row in table.rows] == [2 * 64 * 36, 0, 0, 0, 2 * 192]
        assert [row.inside for row in table.rows] == [2 * 4 * 22 * 22, 0, 0, 0, 2 * 192]
        assert [row.field[0].size for row in table.rows] == [3, 3, 4, 4, 8]
        assert table.rows[2].size == (2, 2)


# ---------------------------------------------------------------- what it looks like


def example():
    return jc.chain(jc.Conv(20, 5), relu, jc.MaxPool(2), jc.flatten, jc.Dense(100), head=jc.Dense(10))


def test_text_fits():
    for net in (example(), resnet((1, 1), False)):
        found = summary(net, (1, 224, 224, 1))
        for width in (80, 120, 200):
            assert max(map(len, found.text(width).splitlines())) <= width
    first = str(summary(example(), (1, 28, 28, 1))).splitlines()[4]
    assert " ".join(first.split()) == "conv0 24×24×20 5×5 520 288.00 k 288.00 k 46.08 kB 5×5"


def test_the_other_formats():
    found = summary(example(), (1, 28, 28, 1))
    data = json.loads(found.json())
    assert (data["parameters"], data["macs"], len(data["rows"])) == (found.parameters, found.macs, 6)
    assert data["rows"][2]["field"][0] == {"size": 6, "unclipped": 6, "effective_stride": 2, "center": 2.5}
    lines = found.markdown().splitlines()
    assert len({line.count("|") for line in lines[:8]}) == 1
    page = found.html()
    assert page.startswith("<!doctype html>")
    assert "src=" not in page
    assert page.count("<tr>") == 7
    scope = summary(lambda x: jax.named_scope("<b>")(jnp.sin)(x), (1, 4, 4, 1))
    assert "&lt;b&gt;" in scope._repr_html_()


@pytest.mark.slow
def test_import_stays_light():
    code = "import sys, jaxconv; print(any('analysis' in m for m in sys.modules)); print(jaxconv.summary.__name__)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert out == ["False", "summary"]


MESSAGES = {
    "a net that cannot work": (
        lambda: summary(jc.chain(jc.Conv(3, 9)), (1, 4, 4, 1)),
        "at conv0: conv: a kernel of 9 must fit into the padded input of 4 + 0 + 0 cells on spatial axis 0\n"
        "  got: spatial shape (4, 4); out = floor((4 + 0 + 0 - 1*(9 - 1) - 1) / 1) + 1 = -4\n"
        "  fix: a larger input, a kernel of at most 4, or padding='same'",
    ),
    "no net": (lambda: summary(3, (1, 4)), "summary needs a Layer or a function\n  got: int"),
    "no shape": (
        lambda: summary(example(), [1, 28, 28, 1]),
        "x must be an array, a ShapeDtypeStruct or a tuple of ints ≥ 0\n  got: [1, 28, 28, 1]\n  fix: (1, 28, 28, 1)",
    ),
    "more inputs": (
        lambda: summary(example(), (1, 28, 28, 1), 3),
        "summary of a Layer takes no arguments beside its input\n  got: 1 more",
    ),
    "axes": (
        lambda: summary(example(), (1, 28, 28, 1), axes=(4,)),
        "axes must be among the 4 axes of x\n  got: axes=(4,), x (1, 28, 28, 1)",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name):
    call, message = MESSAGES[name]
    with pytest.raises(jc.ShapeError) as caught:
        call()
    assert str(caught.value) == message


def test_transposed_convolutions_that_overlap_unevenly_are_marked():
    net = jc.chain(jc.ConvTranspose(4, 3, stride=2), jc.ConvTranspose(4, (4, 6), stride=2), jc.ConvTranspose(4, 3))
    found = summary(net, (1, 5, 5, 3))
    assert [row.uneven for row in found.rows] == [True, False, False]
    assert found.notes == ("conv_transpose0: kernel no multiple of the stride, which gives checkerboard patterns",)
    assert [line.split()[2:5] for line in str(found).splitlines()[3:5]] == [
        ["3×3ᵀ", "s2", "uneven"],
        ["4×6ᵀ", "s2", "388"],
    ]
    assert summary(jc.Conv(4, 3, stride=2), (1, 9, 9, 3)).notes == ()
