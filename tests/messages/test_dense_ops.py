"""Messages of invalid calls of the ops and layers of decoders and dense tasks."""

import jax.numpy as jnp
import numpy as np
from messages.calls import Row, X, check, each, init, zeros

import jaxconv as jc

# fmt: off
TABLE = [
    Row("resize without a size", lambda: jc.resize(X),
        "exactly one of size and scale must be given\n  got: size=None, scale=None"),
    Row("resize with size and scale", lambda: jc.resize(X, 4, scale=2),
        "exactly one of size and scale must be given\n  got: size=4, scale=2",
        fixed=lambda: jc.resize(X, scale=2)),
    Row("resize by torch's word", lambda: jc.resize(X, 4, mode="bilinear"),
        "mode must be one of nearest, nearest-exact, linear, cubic, area\n"
        "  got: mode='bilinear'; did you mean 'linear'?",
        fixed=lambda: jc.resize(X, 4, mode="linear")),
    Row("resize to nearest with aligned corners", lambda: jc.resize(X, 4, align_corners=True),
        "align_corners is for mode='linear' and 'cubic'\n  got: mode='nearest', align_corners=True"),
    Row("resize with antialias and aligned corners", lambda: jc.resize(X, 4, mode="linear", align_corners=True, antialias=True),
        "antialias needs align_corners=False\n  got: align_corners=True, antialias=True"),
    Row("resize to 0", lambda: jc.resize(X, 0),
        "size must be ≥ 1\n  got: size=0"),
    Row("resize to a float size", lambda: jc.resize(X, 16.0),
        "size must be an int\n  got: size=16.0\n  fix: size=16",
        fixed=lambda: jc.resize(X, 16)),
    Row("resize to the full shape", lambda: jc.resize(X, (1, 16, 16, 3)),
        "size must be one int, or one for each of the 2 spatial axes\n  got: size=(1, 16, 16, 3)",
        fixed=lambda: jc.resize(X, (16, 16))),
    Row("resize by a scale of three axes", lambda: jc.resize(X, scale=(2, 2, 2)),
        "scale must be one number, or one for each of the 2 spatial axes\n  got: scale=(2, 2, 2)"),
    Row("resize by a negative scale", lambda: jc.resize(X, scale=-1),
        "scale must be a number above 0\n  got: scale=-1"),
    Row("resize to nothing", lambda: jc.resize(X, scale=0.1),
        "resize must have a non-empty output: out = floor(n * scale)\n"
        "  got: out = (0, 0) from (8, 8), scale=0.1\n"
        "  fix: scale=0.125 or more",
        fixed=lambda: jc.resize(X, scale=0.125)),
    Row("resize of a matrix", lambda: jc.resize(zeros(8, 3), 4),
        "resize needs [N, *spatial, C] with at least one cell\n  got: (8, 3)"),
    Row("Upsample in a net", lambda: init(jc.chain(jc.Upsample(size=(2, 2, 2))), 1, 8, 8, 3),
        "at upsample0: size must be one int, or one for each of the 2 spatial axes\n  got: size=(2, 2, 2)"),
    Row("pixel_shuffle of other channels", lambda: jc.pixel_shuffle(X, 2),
        "pixel_shuffle needs a multiple of 4 channels, the cells of a block\n  got: 3 channels, factor=2"),
    Row("pixel_unshuffle of an odd size", lambda: jc.pixel_unshuffle(X, 3),
        "pixel_unshuffle needs spatial sizes that are multiples of factor\n"
        "  got: spatial shape (8, 8), factor=3",
        fixed=lambda: jc.pixel_unshuffle(X, 4)),
    Row("unfold of a window that does not fit", lambda: jc.unfold(X, 9),
        "unfold: a window of 9 must fit into the padded input of 8 + 0 + 0 cells on spatial axis 0\n"
        "  got: spatial shape (8, 8); out = floor((8 + 0 + 0 - 1*(9 - 1) - 1) / 1) + 1 = 0\n"
        "  fix: a larger input or a window of at most 8"),
    Row("fold of other rows", lambda: jc.fold(zeros(1, 4, 4, 9), 8, 3),
        "fold to (8, 8) needs rows [N, 6, 6, 9*C]\n  got: (1, 4, 4, 9)",
        fixed=lambda: jc.fold(zeros(1, 6, 6, 9), 8, 3)),
    Row("grid_sample with a grid of another rank", lambda: jc.grid_sample(X, zeros(1, 4, 2)),
        "grid_sample needs x [N, H, W, C] and grid [N, *out, 2], or x [N, D, H, W, C] and grid [N, *out, 3]\n"
        "  got: x (1, 8, 8, 3), grid (1, 4, 2)",
        fixed=lambda: jc.grid_sample(X, zeros(1, 4, 4, 2))),
    Row("grid_sample by torch's words", lambda: jc.grid_sample(X, zeros(1, 4, 4, 2), mode="bilinear"),
        "mode must be one of nearest, linear, cubic\n  got: mode='bilinear'; did you mean 'linear'?"),
    Row("grid_sample with torch's border", lambda: jc.grid_sample(X, zeros(1, 4, 4, 2), padding_mode="border"),
        "padding_mode must be one of zeros, edge, reflect\n  got: padding_mode='border'; did you mean 'edge'?"),
    Row("grid_sample cubic on three axes", lambda: jc.grid_sample(zeros(1, 2, 3, 4, 1), zeros(1, 2, 2, 2, 3), mode="cubic"),
        "mode='cubic' is for two spatial axes\n  got: x (1, 2, 3, 4, 1)\n  fix: mode='linear'"),
    Row("affine_grid of square matrices", lambda: jc.affine_grid(np.eye(3, dtype=np.float32)[None], 4),
        "affine_grid needs floating matrices [N, 2, 3] or [N, 3, 4]\n  got: (1, 3, 3) float32"),
    Row("affine_grid of integers", lambda: jc.affine_grid(jnp.ones((1, 2, 3), int), 4),
        "affine_grid needs floating matrices [N, 2, 3] or [N, 3, 4]\n  got: (1, 2, 3) int32"),
    Row("SqueezeExcite of other channels", lambda: init(jc.chain(jc.SqueezeExcite(8, 2)), 1, 8, 8, 3),
        "at squeeze_excite0: squeeze_excite needs 8 channels on the last axis\n"
        "  got: (1, 8, 8, 3)\n"
        "  fix: features=3",
        fixed=lambda: init(jc.SqueezeExcite(3, 2), 1, 8, 8, 3)),
    Row("CBAM of a vector", lambda: init(jc.CBAM(8, 2), 1, 8),
        "cbam needs 8 channels on the last axis\n  got: (1, 8)"),
    Row("CoordinateAttention of signals", lambda: init(jc.CoordinateAttention(3, 8), 1, 8, 3),
        "coordinate_attention needs [N, H, W, C]\n  got: (1, 8, 3)"),
    Row("stochastic_pool of padding alone", lambda: jc.stochastic_pool(X, 2, padding=2),
        "every window of stochastic_pool must contain at least one cell of its input\n"
        "  got: window 0 of spatial axis 0 contains only padding (2, 2) (size 2, stride 2, dilation 1, input 8)\n"
        "  fix: less padding"),
    Row("StochasticPool without a key", lambda: jc.chain(jc.StochasticPool(2)).apply({"stochastic_pool0": {}}, {"stochastic_pool0": {}}, X, train=True),
        "at stochastic_pool0: stochastic_pool needs a key when train=True\n"
        "  got: key=None\n"
        "  fix: net.apply(params, state, x, key=jax.random.fold_in(key, step), train=True)"),
    Row("weight_norm of a pool", lambda: init(jc.weight_norm(jc.MaxPool(2)), 1, 8, 8, 3),
        "weight_norm needs a layer with a kernel\n  got: max_pool"),
    Row("spectral_norm of a net", lambda: init(jc.spectral_norm(jc.chain(jc.Conv(4, 3))), 1, 8, 8, 3),
        "spectral_norm needs a layer with a kernel\n  got: chain\n  fix: spectral_norm around each of its parts"),
    Row("weight_norm without its scale", lambda: jc.weight_norm(jc.Conv(4, 3)).apply(init(jc.Conv(4, 3), 1, 8, 8, 3)[0], {}, X),
        "params of weight_norm must hold kernel, bias, scale\n"
        "  got: kernel, bias\n"
        "  fix: params, state = net.init(key, x)"),
    Row("roi_align of boxes without images", lambda: jc.roi_align(X, zeros(5, 4), 7),
        "roi_align needs x [N, H, W, C] and boxes [N, K, 4]\n  got: x (1, 8, 8, 3), boxes (5, 4)",
        fixed=lambda: jc.roi_align(X, zeros(5, 4)[None], 7)),
    Row("roi_align of adaptive samples", lambda: jc.roi_align(X, zeros(1, 5, 4), 7, samples=-1),
        "samples must be ≥ 1\n  got: samples=-1"),
    Row("deform_conv of signals", lambda: jc.deform_conv(zeros(1, 8, 3), zeros(3, 3, 4), zeros(1, 6, 6)),
        "deform_conv needs x [N, H, W, C] and a kernel [*k, C_in/groups, C_out] of two axes\n"
        "  got: x (1, 8, 3), kernel (3, 3, 4)"),
    Row("deform_conv with offsets of another size", lambda: jc.deform_conv(X, zeros(3, 3, 3, 4), zeros(1, 8, 8, 18)),
        "offset must be [N, *out, G*9*2] = (1, 6, 6, 18*G), where G divides the channels\n"
        "  got: offset (1, 8, 8, 18), x (1, 8, 8, 3)",
        fixed=lambda: jc.deform_conv(X, zeros(3, 3, 3, 4), zeros(1, 8, 8, 18), padding="same")),
    Row("deform_conv with a mask for offsets", lambda: jc.deform_conv(X, zeros(3, 3, 3, 4), zeros(1, 6, 6, 18), zeros(1, 6, 6, 18)),
        "mask must be (1, 6, 6, 9)\n  got: mask (1, 6, 6, 18)"),
    Row("ECA of an even kernel", lambda: jc.ECA(4),
        "kernel_size of ECA must be odd\n  got: kernel_size=4\n  fix: kernel_size=3",
        fixed=lambda: jc.ECA(3)),
    Row("AttentionPool of heads that do not divide", lambda: jc.AttentionPool(6, 4),
        "heads must divide features\n  got: heads=4, features=6"),
    Row("AttentionPool on another size", lambda: attention_pool_on(zeros(1, 4, 4, 8)),
        "at positions: attention_pool needs 64 positions of 8 channels, as at init\n  got: 16 of 8",
        fixed=lambda: attention_pool_on(zeros(2, 8, 8, 8))),
    Row("SPP of an int", lambda: jc.SPP(4),
        "sizes must be a sequence of at least one int\n  got: sizes=4"),
    Row("PPM of a size 0", lambda: jc.PPM(4, (1, 0)),
        "sizes must be ≥ 1\n  got: sizes=0"),
    Row("ASPP without rates", lambda: jc.ASPP(4, ()),
        "rates must be a sequence of at least one int\n  got: rates=()"),
]
# fmt: on


def attention_pool_on(x):
    layer = jc.AttentionPool(8, 2)
    return layer.apply(*init(layer, 1, 8, 8, 8), x)


@each(TABLE)
def test_message_of_an_invalid_call(row):
    check(row)
