"""The worked examples of the lecture notes this project grew out of, one by one."""

import jax
import numpy as np
import pytest
from support import oracle

import jaxconv as jc

SMALL = np.array([[1, 3, 2, 1], [4, 2, 0, 1], [5, 1, 3, 3], [0, 2, 4, 6]], np.float32)[None, ..., None]


def parameters(layer, shape):
    params, _ = jax.eval_shape(lambda: layer.init(jax.random.key(0), shape))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def shape_of(f, *shapes):
    return jax.eval_shape(f, *(jax.ShapeDtypeStruct(shape, "float32") for shape in shapes)).shape


@pytest.mark.slow
def test_three_5x5_maps_of_28x28_are_24x24_and_pool_to_12x12(rng):
    images = rng.normal(size=(1, 28, 28, 1)).astype(np.float32)
    kernel = rng.normal(size=(5, 5, 1, 3)).astype(np.float32)
    maps = jc.conv(images, kernel, np.zeros(3, np.float32))
    assert maps.shape == (1, 24, 24, 3)
    assert jc.max_pool(maps, 2).shape == (1, 12, 12, 3)


@pytest.mark.parametrize(("padding", "out"), [("valid", 24), ("same", 28), ("full", 32)])
def test_valid_same_full(padding, out):
    """28 with a kernel of 5: n - k + 1, n, n + k - 1."""
    got = shape_of(lambda x, k: jc.conv(x, k, padding=padding), (1, 28, 28, 1), (5, 5, 1, 3))
    assert got == (1, out, out, 3)


@pytest.mark.parametrize(
    ("n", "k", "s", "p", "out"),
    [(7, 3, 1, 0, 5), (7, 3, 2, 0, 3), (7, 3, 1, 1, 7), (8, 3, 2, 1, 4), (227, 11, 4, 0, 55), (224, 7, 2, 3, 112)],
)
def test_output_size_formula(n, k, s, p, out):
    """floor((n + 2p - k) / s) + 1."""
    got = shape_of(lambda x, w: jc.conv(x, w, stride=s, padding=p), (1, n, 1), (k, 1, 1))
    assert got == (1, out, 1)


def test_1x1_convolution_is_a_dense_layer_on_every_pixel(rng, assert_close):
    x, weights = (rng.normal(size=shape).astype(np.float32) for shape in [(2, 5, 4, 7), (7, 3)])
    bias = rng.normal(size=3).astype(np.float32)
    pixels = np.asarray(x, np.float64).reshape(-1, 7) @ weights + bias
    assert_close(jc.conv(x, weights[None, None], bias), pixels.reshape(2, 5, 4, 3))


def test_1x1_layer_is_the_dense_layer_on_every_pixel(rng, assert_close):
    x = rng.normal(size=(2, 5, 4, 7)).astype(np.float32)
    dense, conv = jc.Dense(3), jc.Conv(3, 1)
    params, state = dense.init(jax.random.key(0), (40, 7))
    want, _ = dense.apply(params, state, x.reshape(-1, 7))
    lifted, state = conv.init(jax.random.key(1), x.shape)
    lifted = {**lifted, "kernel": params["kernel"][None, None], "bias": params["bias"]}
    assert_close(conv.apply(lifted, state, x)[0], np.reshape(want, (2, 5, 4, 3)))


def test_kernel_of_one_map_is_kh_kw_cin():
    params, _ = jax.eval_shape(lambda: jc.Conv(20, (5, 3)).init(jax.random.key(0), (1, 28, 28, 4)))
    assert params["kernel"].shape == (5, 3, 4, 20)
    assert params["bias"].shape == (20,)


def test_more_input_channels_leave_the_number_of_maps(rng, assert_close):
    """A feature map sums over all input channels: channels add weights, not maps."""
    for channels in (1, 3, 8):
        layer = jc.Conv(6, 3)
        assert shape_of(lambda x, k: jc.conv(x, k), (1, 9, 9, channels), (3, 3, channels, 6)) == (1, 7, 7, 6)
        assert parameters(layer, (1, 9, 9, channels)) == (3 * 3 * channels + 1) * 6
    x, kernel = (rng.normal(size=shape).astype(np.float32) for shape in [(1, 6, 6, 3), (3, 3, 3, 2)])
    alone = [np.asarray(jc.conv(x[..., c : c + 1], kernel[:, :, c : c + 1])) for c in range(3)]
    assert_close(jc.conv(x, kernel), sum(alone))


def test_thirty_parameters_against_a_hundred_and_eighty():
    """Three 3×3 maps with biases on 6×6: (3·3+1)·3 = 30; five dense units without: 36·5 = 180."""
    assert parameters(jc.Conv(3, 3), (1, 6, 6, 1)) == 30
    assert parameters(jc.Dense(5, bias=False), (1, 36)) == 180
    assert parameters(jc.chain(jc.flatten, jc.Dense(5, bias=False)), (1, 6, 6, 1)) == 180


def test_convolution_by_hand():
    kernel = np.array([[1, 0], [0, -1]], np.float32)[..., None, None]
    want = [[1 - 2, 3 - 0, 2 - 1], [4 - 1, 2 - 3, 0 - 3], [5 - 2, 1 - 4, 3 - 6]]
    for impl in ("lax", "einsum", "auto"):
        np.testing.assert_array_equal(jc.conv(SMALL, kernel, impl=impl)[0, ..., 0], want)


def test_pools_by_hand(quick_jit):
    @quick_jit
    def pools(x):
        return jc.max_pool(x, 2), jc.avg_pool(x, 2), jc.l2_pool(x, 2), jc.max_pool(x, 3, stride=1)

    largest, mean, l2, overlapping = pools(SMALL)
    np.testing.assert_array_equal(largest[0, ..., 0], [[4, 2], [5, 6]])
    np.testing.assert_array_equal(mean[0, ..., 0], [[2.5, 1], [2, 4]])
    np.testing.assert_allclose(
        l2[0, ..., 0],
        [[np.sqrt(1 + 9 + 16 + 4), np.sqrt(4 + 1 + 0 + 1)], [np.sqrt(25 + 1 + 0 + 4), np.sqrt(9 + 9 + 16 + 36)]],
        rtol=1e-6,
    )
    np.testing.assert_array_equal(overlapping[0, ..., 0], [[5, 3], [5, 6]])


def test_pooling_keeps_the_maps_and_has_no_parameters():
    for layer in (jc.MaxPool(2), jc.AvgPool(2), jc.L2Pool(2)):
        assert parameters(layer, (1, 24, 24, 3)) == 0
        assert shape_of(lambda x, pool=layer: pool.apply({}, {}, x)[0], (1, 24, 24, 3)) == (1, 12, 12, 3)


def test_shift_equivariance(rng, assert_close):
    """Shifting the image by (2, 1) pixels shifts its feature maps by (2, 1)."""
    picture = np.zeros((1, 16, 16, 1), np.float32)
    picture[0, 4:9, 5:10] = rng.normal(size=(5, 5, 1))
    kernel = rng.normal(size=(5, 5, 1, 3)).astype(np.float32)
    moved = np.roll(picture, (2, 1), (1, 2))
    assert_close(jc.conv(moved, kernel), np.roll(jc.conv(picture, kernel), (2, 1), (1, 2)))


@pytest.mark.slow
def test_max_pooling_forgets_small_shifts():
    """A feature that moves within its window gives the same pooled map."""
    picture = np.zeros((4, 4, 4, 1), np.float32)
    for n, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        picture[n, row, column] = 1
    pooled = np.asarray(jc.max_pool(picture, 2))
    assert (pooled == pooled[0]).all()


def test_the_einsum_of_the_lecture_notes_is_the_convolution(rng, assert_close):
    """An independent einsum: patches of the input times the kernel."""
    x, kernel = (rng.normal(size=shape).astype(np.float32) for shape in [(2, 8, 8, 3), (5, 5, 3, 4)])
    patches = np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(1, 2))  # [N, i, j, l, m, n]
    want = np.einsum("bijlmn,mnlt->bijt", patches.astype(np.float64), kernel)
    for impl in ("lax", "einsum", "auto"):
        assert_close(jc.conv(x, kernel, impl=impl), want, impl)
    np.testing.assert_allclose(oracle.conv(x, kernel), want, rtol=1e-10, atol=1e-12)


def test_backpropagation_through_conv_relu_pool_is_the_oracles(rng, assert_close):
    x, kernel = (rng.normal(size=shape).astype(np.float32) for shape in [(2, 7, 7, 2), (3, 3, 2, 3)])
    g = rng.normal(size=(2, 2, 2, 3)).astype(np.float32)

    def loss(x, kernel):
        return (g * jc.max_pool(jax.nn.relu(jc.conv(x, kernel)), 2)).sum()

    dx, dkernel = jax.jit(jax.grad(loss, (0, 1)))(x, kernel)
    maps = oracle.conv(x, kernel)
    back = oracle.max_pool_grad(np.maximum(maps, 0), g, 2) * (maps > 0)
    for got, want in zip((dx, dkernel), oracle.conv_grads(x, kernel, back), strict=True):
        assert_close(got, want)
