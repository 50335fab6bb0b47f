"""Receptive fields, by the support of the gradient of linear nets and by the formula."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.analysis.summary import summary
from jaxconv.analysis.walk import walk
from jaxconv.geometry import ReceptiveField
from jaxconv.layers.layer import lift

pytestmark = pytest.mark.sampled

relu = jax.nn.relu


def held_to_the_gradient(net, shape, jit):
    """The reach of every output cell is the hull of what a linear net of positive weights makes of each pixel."""
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    params, state = jax.eval_shape(lambda: net.init(jax.random.key(1), x))
    weights = np.random.default_rng(0)
    params = jax.tree.map(lambda v: weights.uniform(0.1, 1, v.shape).astype(v.dtype), params)

    def run(x):
        return net.apply(params, state, x)[0]

    axes = range(1, len(shape))
    reach = walk(jax.make_jaxpr(run)(x), [None], 0, axes).outputs[0].fields
    cells = int(np.prod(shape))
    images = np.eye(cells, dtype="float32").reshape(cells, 1, *shape)
    seen = np.asarray(jit(jax.vmap(run))(images))[:, 0] != 0
    seen = seen.reshape(*shape, *seen.shape[1:])
    nothing = ~seen.any(axis=tuple(range(len(shape))))
    empty = np.zeros(nothing.shape, bool)
    for axis, field in zip(axes, reach, strict=True):
        others = tuple(a for a in range(len(shape)) if a != axis - 1)
        along = seen.any(axis=others)
        low, high = (np.broadcast_to(a, (1, *nothing.shape))[0] for a in (field.low, field.high))
        first, last = along.argmax(axis=0), along.shape[0] - 1 - along[::-1].argmax(axis=0)
        np.testing.assert_array_equal(low[~nothing], first[~nothing])
        np.testing.assert_array_equal(high[~nothing], last[~nothing])
        empty |= low > high
    np.testing.assert_array_equal(empty, nothing)


def placed(field):
    """What says where a map's fields are."""
    return field.unclipped, field.effective_stride, field.center


def random_net(rng, rank):
    """Linear layers of every kind, on inputs of at least 5 cells an axis."""

    def pick(*values):
        return values[rng.integers(len(values))]

    def conv(**given):
        size = tuple(int(k) for k in rng.integers(1, 4, rank))
        arguments = {"stride": pick(1, 1, 2), "padding": pick("same", "causal", 1, "full"), "dilation": pick(1, 1, 2)}
        return jc.Conv(pick(1, 2), size, bias=False, **(arguments | given))

    def same(features=2):
        size = tuple(int(k) for k in rng.integers(1, 4, rank))
        return jc.Conv(features, size, padding="same", dilation=pick(1, 2), bias=False)

    kinds = [
        conv,
        lambda: conv(padding_mode=pick("edge", "reflect", "wrap"), padding=1, dilation=1, stride=1),
        lambda: jc.AvgPool((2,) * rank, stride=pick(1, 2), padding=pick("valid", "same")),
        lambda: jc.ConvTranspose(2, (pick(1, 2, 3),) * rank, stride=pick(1, 2, 3), padding=pick("valid", "same"),
                                 bias=False),
        lambda: jc.chain(same(), jc.residual(jc.chain(same(), same()))),
        lambda: jc.branch(same(1), jc.chain(same(2), same(2))),
        lambda: jc.chain(jc.branch(same(1), jc.chain(same(1), same(1))), jc.DepthwiseConv((2,) * rank, bias=False)),
        lambda: jc.chain(same(), jc.repeat(same(), pick(2, 3))),
        lambda: jc.remat(conv()),
    ]  # fmt: skip
    ends = [[], [], [jc.global_avg_pool], [jc.flatten, jc.Dense(2, bias=False)], [jc.AdaptiveAvgPool(2)]]
    return jc.chain(*(pick(*kinds)() for _ in range(rng.integers(1, 5))), *pick(*ends))


def a_random_net(number, top):
    """The first that fits of the nets that a number gives, and its input's shape."""
    rng = np.random.default_rng(number)
    rank = 1 + number % 2
    while True:
        net, shape = random_net(rng, rank), (*(int(n) for n in rng.integers(5, top, rank)), 1)
        try:
            jax.eval_shape(lambda net=net, shape=shape: net.init(jax.random.key(0), (1, *shape)))
        except jc.ShapeError:
            continue
        return net, shape


@pytest.mark.parametrize("number", range(12))
def test_fields_are_the_support_of_the_gradient(number, quick_jit):
    held_to_the_gradient(*a_random_net(number, 10), quick_jit)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(200))
def test_fields_of_many_random_nets(number, quick_jit):
    held_to_the_gradient(*a_random_net(1000 + number, 14), quick_jit)


ODD = {
    "stacked": lambda x: jnp.stack([x[:, 1:], x[:, :-1]], axis=2).reshape(1, 14, 5, 1),
    "split": lambda x: sum(jnp.split(x, 4, axis=1)[1:]),
    "turned": lambda x: jnp.concatenate([x[:, ::-1], x[:, 2:5]], axis=1),
    "rolled": lambda x: jnp.roll(x, 3, axis=1) + x,
    "tiled": lambda x: jnp.tile(x, (1, 2, 1, 1))[:, 3:9],
    "repeated": lambda x: jnp.repeat(x, 3, axis=2)[:, ::3, 1:],
    "space to depth": lambda x: x.reshape(1, 4, 2, 5, 1).transpose(0, 1, 3, 2, 4).reshape(1, 4, 5, 2),
    "to vectors": lambda x: x.reshape(1, 40)[:, 7:23],
    "transposed": lambda x: jnp.einsum("nhwc->nwhc", x)[:, 1:, ::2],
    "product": lambda x: jnp.einsum("nhwc,wk->nhkc", x, jnp.ones((5, 2))),
    "windows of lax": lambda x: jax.lax.reduce_window(
        x, 0.0, jax.lax.add, (1, 3, 2, 1), (1, 2, 1, 1), ((0, 0), (2, 0), (0, 1), (0, 0)), (1, 2, 1, 1), (1, 1, 2, 1)
    ),
    "doubled": lambda x: jc.resize(x, scale=2, mode="linear"),
    "resized": lambda x: jc.resize(x, (13, 3), mode="cubic"),
    "aligned": lambda x: jc.resize(x, (5, 9), mode="linear", align_corners=True),
    "smoothed": lambda x: jc.resize(x, (3, 7), mode="linear", antialias=True)[:, 1:],
    "nearest": lambda x: jc.resize(jc.resize(x, scale=1.6)[:, 1:], (4, 4), mode="nearest-exact"),
    "shuffled": lambda x: jc.pixel_shuffle(jc.pixel_unshuffle(x[:, :, :4], 2)[:, 1:], 2),
    "unfolded": lambda x: jc.fold(
        jc.unfold(x, (3, 2), stride=(2, 1), padding="same"), (8, 5), (3, 2), stride=(2, 1), padding="same"
    ),
    "indexed": lambda x: x[:, 2] + x[:, -1],
}


@pytest.mark.parametrize("name", ODD)
def test_fields_of_rearrangements(name, quick_jit):
    held_to_the_gradient(lift(ODD[name]), (8, 5, 1), quick_jit)


def test_fields_follow_the_formula():
    layers, field = [], [ReceptiveField(), ReceptiveField()]
    rng = np.random.default_rng(3)
    for _ in range(8):
        size, stride, d = (tuple(int(v) for v in rng.integers(1, top, 2)) for top in (5, 3, 3))
        low = tuple(int(rng.integers(0, k + 1)) for k in size)
        layers.append(jc.Conv(1, size, stride=stride, dilation=d, padding=tuple((p, 9) for p in low)))
        steps = zip(field, size, stride, low, d, strict=True)
        field = [f.through(k, stride=s, low=p, dilation=e) for f, k, s, p, e in steps]
        (*_, last) = summary(jc.chain(*layers), (1, 40, 50, 1)).rows
        assert [placed(f) for f in last.field] == [(f.size, f.effective_stride, f.center) for f in field]


def test_fields_of_maps_of_one_cell_and_of_squeeze_and_excitation():
    same = jc.Conv(2, 3, padding=1)
    (*_, last) = summary(jc.chain(jc.Conv(2, 4, stride=4), same, same), (1, 4, 4, 1)).rows
    assert [placed(f) for f in last.field] == [(20, 4, 1.5)] * 2
    gate = jc.chain(jc.global_avg_pool, jc.Dense(2), jax.nn.sigmoid)
    excite = jc.compose("excite", {"gate": gate}, lambda call, x: x * call("gate", x)[:, None, None])
    (*_, last) = summary(jc.chain(jc.Conv(2, 3, stride=2), excite), (1, 9, 9, 1)).rows
    assert [placed(f) for f in last.field] == [(9, 2, 4.0)] * 2


def test_fields_of_a_decoder():
    """Resizing halves the effective stride, and adds the taps between."""
    net = jc.chain(jc.Conv(2, 3, stride=2, padding=1), jc.Upsample(scale=2, mode="linear"), jc.Conv(2, 3, padding=1))
    fields = [row.field[0] for row in summary(net, (1, 32, 32, 1)).rows]
    assert [(field.size, field.effective_stride) for field in fields] == [(3, 2), (5, 1), (7, 1)]
    assert [row.path for row in summary(lambda x: jc.resize(x, scale=(2, 3)), (1, 8, 8, 1)).rows] == ["resize0"]


def same(features=2, size=3, **given):
    return jc.Conv(features, size, padding="same", **given)


CLIPPED = {
    "pools and a flatten": jc.chain(same(), jc.MaxPool(2), same(), jc.MaxPool(2), jc.flatten, jc.Dense(3)),
    "dilated": jc.chain(same(dilation=3), same(dilation=3), jc.MaxPool(2), same(), jc.global_avg_pool, jc.Dense(3)),
    "wider than the image": jc.chain(same(size=(9, 1)), same(size=(9, 5)), jc.flatten),
    "maps of one cell": jc.chain(jc.Conv(2, 4, stride=4), same(), same(), jc.global_max_pool),
    "squeeze and excitation": jc.chain(same(), jc.SqueezeExcite(2, 1), same(), jc.AvgPool(2), jc.flatten),
    "adaptive pool": jc.chain(same(), jc.AdaptiveAvgPool(3), jc.flatten, jc.Dense(3)),
    "decoder": jc.chain(jc.Conv(2, 3, stride=2, padding=1), same(), jc.ConvTranspose(2, 2, stride=2), same()),
    "resized": jc.chain(same(stride=2), jc.Upsample(scale=2, mode="linear"), same(), jc.flatten),
}


@pytest.mark.parametrize("name", CLIPPED)
def test_fields_are_clipped_to_the_input_in_every_row(name):
    """And equal to the most cells, from the first to the last, that change an output cell, by perturbing each."""
    net, shape = CLIPPED[name], (8, 7)
    rows = summary(net, (1, *shape, 1)).rows
    for row in rows:
        assert all(1 <= field.size <= n for field, n in zip(row.field, shape, strict=True)), row
        assert all(field.unclipped is None or field.unclipped >= field.size for field in row.field)
        pooled = len(row.output) == 2 or (row.path.startswith("squeeze_excite0/") and row.output[1:3] == (1, 1))
        assert (row.field[0].unclipped is None) == pooled
    for before, after in itertools.pairwise(rows):
        assert all(b.size <= a.size for b, a in zip(before.field, after.field, strict=True)), after
    params, state = net.init(jax.random.key(0), (1, *shape, 1))
    image = jax.random.uniform(jax.random.key(1), (*shape, 1), minval=1, maxval=2)
    jacobian = jax.jacobian(lambda x: net.apply(params, state, x[None])[0][0])(image)
    seen = np.asarray(jacobian[..., 0] != 0).reshape(-1, *shape)
    for axis, field in enumerate(rows[-1].field):
        along = seen.any(axis=2 - axis)
        spans = [np.ptp(np.flatnonzero(cells)) + 1 for cells in along if cells.any()]
        assert field.size >= max(spans)
        if "Max" not in str(net) and "relu" not in str(net):  # whose derivatives are zero for other reasons
            assert field.size == max(spans)


def test_a_pool_and_the_flatten_after_it_have_one_field():
    rows = summary(CLIPPED["pools and a flatten"], (1, 8, 8, 1)).rows
    assert [row.field[0].size for row in rows] == [3, 4, 7, 7, 7, 8]
    assert [row.field[0].unclipped for row in rows] == [3, 4, 8, 10, None, None]
    assert [row.field[0].effective_stride for row in rows] == [1, 2, 2, 4, None, None]
