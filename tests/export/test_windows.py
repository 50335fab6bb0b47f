"""Convolutions, pools and products against JAX, through ONNX Runtime."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export.run_onnx import check, operators
from jax import lax

import jaxconv as jc

LAYOUTS = {
    1: [("NWC", "WIO", "NWC"), ("NCW", "OIW", "NWC")],
    2: [("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW"), ("HWNC", "IOWH", "CNWH"), ("NHWC", "HWOI", "NHWC")],
    3: [("NDHWC", "DHWIO", "NDHWC"), ("NCDHW", "OIDHW", "NCDHW")],
}
CASES = {
    "plain": {},
    "strided": {"window_strides": 2},
    "same": {"padding": "SAME", "window_strides": 2},
    "asymmetric": {"padding": (2, 0), "window_strides": 3},
    "cropped": {"padding": (-1, 2)},
    "dilated": {"rhs_dilation": 2, "padding": (1, 3)},
    "groups": {"feature_group_count": 2},
    "depthwise": {"feature_group_count": 4, "padding": "SAME"},
    "transposed": {"lhs_dilation": 2, "padding": (1, 2)},
    "transposed, cropped": {"lhs_dilation": 3, "padding": (-1, 0)},
    "transposed, wide": {"lhs_dilation": 2, "padding": (5, 4)},
    "transposed, groups": {"lhs_dilation": 2, "padding": (2, 2), "feature_group_count": 2},
    "transposed, dilated, strided": {"lhs_dilation": 3, "rhs_dilation": 2, "window_strides": 2, "padding": (3, 4)},
}


def shaped(letters, sizes):
    return tuple(sizes[letter] for letter in letters)


def conv_case(rank, layout, arguments, rng):
    """A function of x and one of x and the kernel, with their arrays."""
    arguments, groups = dict(arguments), arguments.get("feature_group_count", 1)
    spatial = dict(zip("DHW"[3 - rank :], (9, 8, 10)[:rank], strict=True))
    x = rng.normal(size=shaped(layout[0], {"N": 3, "C": 4, **spatial})).astype(np.float32)
    taps = dict(zip(spatial, (3, 2, 3)[:rank], strict=True))
    kernel = rng.normal(size=shaped(layout[1], {"I": 4 // groups, "O": 8, **taps})).astype(np.float32)
    padding = arguments.pop("padding", "VALID")
    padding = padding if isinstance(padding, str) else [padding] * rank
    options = {k: v if k == "feature_group_count" else (v,) * rank for k, v in arguments.items()}
    options = {"window_strides": (1,) * rank, "padding": padding, "dimension_numbers": layout, **options}
    return lambda x, k: lax.conv_general_dilated(x, k, **options), x, kernel


@pytest.mark.sampled
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("rank", "layout"), [(rank, layout) for rank, found in LAYOUTS.items() for layout in found])
def test_conv(rank, layout, case, rng):
    fn, x, kernel = conv_case(rank, layout, CASES[case], rng)
    model = check(lambda x: fn(x, jnp.asarray(kernel)), x, symbolic=layout[0][0] == "N")
    assert sum(op in ("Conv", "ConvTranspose") for op in operators(model)) == 1


@pytest.mark.parametrize("case", ["plain", "transposed, groups"])
def test_a_kernel_that_is_an_input(case, rng):
    fn, x, kernel = conv_case(2, LAYOUTS[2][0], CASES[case], rng)
    check(fn, x, kernel, symbolic=False)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "layer",
    [
        jc.ConvTranspose(5, 3, stride=2), jc.ConvTranspose(4, 4, stride=2, padding=1, groups=2),
        jc.Conv(4, 3, groups=4), jc.Conv(6, (3, 1), stride=(1, 2), padding=((0, 2), (1, 0)), dilation=(2, 1)),
        jc.DepthwiseConv(3, stride=2),
        jc.Conv(4, 3, padding="same", padding_mode="reflect"), jc.GroupNorm(2), jc.LayerNorm(), jc.InstanceNorm(),
        jc.Upsample(scale=2, mode="linear"),
    ],
    ids=str,
)  # fmt: skip
def test_layers(layer, rng):
    x = rng.normal(size=(3, 8, 9, 4)).astype(np.float32)
    params, state = layer.init(jax.random.key(0), x.shape)
    check(lambda x: layer.apply(params, state, x)[0], x)


MUCH = [(0, 0), (3, 2), (2, 4), (0, 0)]
POOLS = {
    "max": lambda x: jc.max_pool(x, 2),
    "overlapping": lambda x: jc.max_pool(x, 3, stride=2),
    "padded": lambda x: jc.max_pool(x, 3, stride=2, padding=1),
    "same": lambda x: jc.max_pool(x, (2, 3), padding="same"),
    "dilated": lambda x: jc.max_pool(x, 2, dilation=2, stride=1),
    "ceil_mode": lambda x: jc.max_pool(x, 3, stride=2, ceil_mode=True),
    "stride above the window": lambda x: jc.max_pool(x, 2, stride=3),
    "max of max": lambda x: jc.max_pool(jc.max_pool(x, 3, stride=2, padding=1), 3, stride=1, padding=1),
    "avg": lambda x: jc.avg_pool(x, 2),
    "avg, padded": lambda x: jc.avg_pool(x, 3, stride=2, padding=1),
    "avg, padding counted": lambda x: jc.avg_pool(x, 3, stride=2, padding=1, count_include_pad=True),
    "avg of avg": lambda x: jc.avg_pool(jc.avg_pool(x, 3, stride=1), 3, stride=1),
    "l2": lambda x: jc.l2_pool(x, 2),
    "adaptive": lambda x: jc.adaptive_avg_pool(x, (3, 2)),
    "global": lambda x: jc.global_avg_pool(x) + jc.global_max_pool(x),
    "reduce_window_max": lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 2, 1), (1, 2, 1, 1), "SAME"),
    "reduce_window_min": lambda x: lax.reduce_window(x, jnp.inf, lax.min, (1, 3, 3, 1), (1, 2, 2, 1), "SAME"),
    "reduce_window_sum": lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2, 3, 1), (1, 1, 2, 1), "SAME"),
    "one axis": lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 3, 1), (1, 1, 3, 1), "VALID"),
    "channels first": lambda x: lax.reduce_window(x.mT, 0.0, lax.add, (1, 1, 2, 3), (1, 1, 2, 2), "VALID"),
    "of channels": lambda x: lax.reduce_window(x.mT, 0.0, lax.add, (1, 1, 3, 1), (1, 1, 1, 1), "SAME"),
    "much padding": lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 1, 1, 1), MUCH),
}  # fmt: skip


@pytest.mark.sampled
@pytest.mark.parametrize("name", POOLS)
def test_pools(name, rng):
    x = rng.normal(size=(3, 9, 10, 4)).astype(np.float32)
    model = check(POOLS[name], x)
    kinds = {
        "max": 1,
        "overlapping": 1,
        "padded": 1,
        "same": 1,
        "dilated": 1,
        "ceil_mode": 1,
        "max of max": 2,
        "avg": 1,
    }
    if name in kinds:
        assert sum(op.endswith("Pool") for op in operators(model)) == kinds[name]
        assert not {"Slice", "Pad"} & set(operators(model))


@pytest.mark.parametrize("shape", [(3, 11, 2), (2, 6, 7, 5, 2)])
def test_pools_of_one_and_three_axes(shape, rng):
    x = rng.normal(size=shape).astype(np.float32)
    two, three = (2,) * (x.ndim - 2), (3,) * (x.ndim - 2)
    model = check(lambda x: jc.max_pool(jc.avg_pool(x, two, stride=1), three, stride=2, padding=1), x)
    assert [op for op in operators(model) if op != "Transpose"] == ["AveragePool", "Mul", "Div", "MaxPool"]


@pytest.mark.sampled
@pytest.mark.parametrize(("shift", "step"), [*itertools.product(range(-2, 3), (1, 2, 3))])
def test_maxima_of_any_slices(shift, step, rng):
    """Slices that are no window, and those that are one by chance."""
    x = rng.normal(size=(3, 12, 9, 2)).astype(np.float32)

    def fn(x):
        a = x[:, 2 + shift : 10 + shift : step]
        b, c = x[:, 1:9:step], x[:, 4:12:step]
        return (
            jnp.maximum(jnp.maximum(a, b), c),
            a + b + c,
            jnp.maximum(a + b, c),
            a + a,
            jnp.maximum(x[..., :1], x[..., 1:]),
        )

    check(fn, x)


def test_sums_of_padded_slices_whose_padding_is_not_zero(rng):
    x = rng.normal(size=(3, 6, 5, 2)).astype(np.float32)
    padded = lambda x: jnp.pad(x, [(0, 0), (1, 1), (0, 0), (0, 0)], constant_values=7.0)  # noqa: E731
    check(lambda x: (padded(x)[:, 1:] + padded(x)[:, :-1], lax.max(padded(x)[:, 1:], padded(x)[:, :-1])), x)


PRODUCTS = {
    "one batch axis": (((2,), (1,)), ((0,), (0,)), (3, 4, 5), (3, 5, 6)),
    "two batch axes": (((1,), (3,)), ((2, 0), (0, 1)), (3, 5, 2), (2, 3, 4, 5)),
    "no contraction": (((), ()), ((0,), (0,)), (3, 4), (3, 5)),
    "vectors": (((0,), (0,)), ((), ()), (4,), (4,)),
    "first axes": (((0,), (0,)), ((), ()), (4, 3), (4, 5)),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", PRODUCTS)
def test_dot_general(name, rng):
    contract, batch, a, b = PRODUCTS[name]
    a, b = (rng.normal(size=shape).astype(np.float32) for shape in (a, b))
    check(lambda a, b: lax.dot_general(a, b, (contract, batch)), a, b, symbolic=False)


def test_transposes_that_meet_cancel(rng):
    """Between the first and the last operation in one layout there is none."""
    net = jc.chain(
        jc.Conv(8, 3), jc.BatchNorm(), jax.nn.relu, jc.MaxPool(2), jc.residual(jc.chain(jc.Conv(8, 3, padding="same"))),
        jc.Conv(4, 1), jc.global_avg_pool, jc.Dense(3),
    )  # fmt: skip
    params, state = net.init(jax.random.key(0), (1, 12, 12, 3))
    model = check(lambda x: net.apply(params, state, x)[0], rng.normal(size=(3, 12, 12, 3)).astype(np.float32))
    assert operators(model).count("Transpose") == 1
