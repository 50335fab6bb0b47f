"""Invalid calls that were once accepted, or failed inside JAX: each with its complete message."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from messages.calls import CONV, INDICES, K, Row, X, Y, check, each, init, tiny, zeros

import jaxconv as jc

# fmt: off
TABLE = [
    Row("conv with channels that differ, no layout to blame", lambda: jc.conv(zeros(1, 32, 32, 3), zeros(3, 3, 32, 8)),
        "x must have 32 channels on its last axis, to match the kernel [*k, C_in/groups, C_out]\n"
        "  got: x (1, 32, 32, 3), kernel (3, 3, 32, 8)\n"
        "  fix: a kernel of shape (3, 3, 3, 8)"),
    Row("conv with grouped channels that differ", lambda: jc.conv(zeros(1, 8, 8, 4), zeros(3, 3, 4, 4), groups=2),
        "x must have 8 channels (4 for each of 2 groups) on its last axis, to match the kernel [*k, C_in/groups, "
        "C_out]\n"
        "  got: x (1, 8, 8, 4), kernel (3, 3, 4, 4)\n"
        "  fix: a kernel of shape (3, 3, 2, 4)"),
    Row("conv of an unbatched channels-first image", lambda: jc.conv(zeros(3, 8, 9), K),
        "x must have 3 channels on its last axis, to match the kernel [*k, C_in/groups, C_out]\n"
        "  got: x (3, 8, 9), kernel (3, 3, 3, 4)\n"
        "  fix: x looks channels-first (NCHW): jnp.moveaxis(x, -3, -1) puts the channels last"),
    Row("conv of a channels-first signal", lambda: jc.conv(zeros(2, 3, 9), zeros(3, 3, 4)),
        "x must have 3 channels on its last axis, to match the kernel [*k, C_in/groups, C_out]\n"
        "  got: x (2, 3, 9), kernel (3, 3, 4)\n"
        "  fix: x looks channels-first: jnp.moveaxis(x, -2, -1) puts the channels last"),
    Row("max_pool of an unbatched gray image", lambda: jc.max_pool(zeros(8, 8), 2),
        "max_pool with an int kernel_size needs [N, H, W, C] or [N, D, H, W, C]\n"
        "  got: 2 axes: (8, 8)\n"
        "  fix: x[None, :, :, None] for one gray image [H, W]; x[None], kernel_size=(2,) for one signal [W, C]"),
    Row("conv with a kernel without output channels", lambda: jc.conv(X, zeros(3, 3, 3, 0)),
        "conv needs a kernel [*k, C_in/groups, C_out] without empty axes\n"
        "  got: kernel (3, 3, 3, 0)"),
    Row("conv of no channels", lambda: jc.conv(zeros(1, 8, 8, 0), K),
        "x must have 3 channels on its last axis, to match the kernel [*k, C_in/groups, C_out]\n"
        "  got: x (1, 8, 8, 0), kernel (3, 3, 3, 4)"),
    Row("Conv.init of no channels", lambda: init(jc.Conv(4, 3), 1, 8, 8, 0),
        "x must have at least one channel on its last axis\n"
        "  got: 0 channels"),
    Row("Dense.init of no channels", lambda: init(jc.Dense(4), 1, 0),
        "dense needs an input [..., C_in] of at least one channel\n"
        "  got: (1, 0)"),
    Row("Conv.apply on other channels", lambda: jc.Conv(4, 3).apply(CONV, {}, zeros(1, 8, 8, 1)),
        "x must have 3 channels on its last axis, to match the kernel [*k, C_in/groups, C_out]\n"
        "  got: x (1, 8, 8, 1), kernel (3, 3, 3, 4)\n"
        "  fix: an input with 3 channels, as at init"),
    Row("DepthwiseConv.apply on other channels", lambda: jc.DepthwiseConv(3).apply({"kernel": zeros(3, 3, 1, 3), "bias": zeros(3)}, {}, zeros(1, 8, 8, 5)),
        "x must have 3 channels (1 for each of 3 groups) on its last axis, to match the kernel [*k, C_in/groups, "
        "C_out]\n"
        "  got: x (1, 8, 8, 5), kernel (3, 3, 1, 3)\n"
        "  fix: an input with 3 channels, as at init"),
    Row("BatchNorm on other channels", lambda: jc.BatchNorm().apply({"scale": zeros(3), "bias": zeros(3)}, {"mean": zeros(3), "var": zeros(3)}, zeros(1, 8, 8, 5)),
        "batch_norm needs 3 channels, as at init\n"
        "  got: x (1, 8, 8, 5), mean (3,), var (3,)"),
    Row("BatchNorm with a var of another length", lambda: jc.BatchNorm().apply({"scale": zeros(3), "bias": zeros(3)}, {"mean": zeros(3), "var": zeros(2)}, X, train=True),
        "batch_norm needs 3 channels, as at init\n"
        "  got: x (1, 8, 8, 3), mean (3,), var (2,)"),
    Row("residual of a body that loses the border", lambda: init(jc.residual(jc.Conv(4, 3)), 1, 8, 8, 3),
        "body and shortcut must have the same output shape\n"
        "  got: body (1, 6, 6, 4), shortcut (1, 8, 8, 3)\n"
        "  fix: padding='same' in the body, and shortcut=Conv(4, 1)"),
    Row("residual of a body that strides", lambda: init(jc.residual(jc.Conv(4, 3, stride=2, padding="same")), 1, 8, 8, 3),
        "body and shortcut must have the same output shape\n"
        "  got: body (1, 4, 4, 4), shortcut (1, 8, 8, 3)\n"
        "  fix: shortcut=Conv(4, 1, stride=2)"),
    Row("residual of a body of other features", lambda: init(jc.residual(jc.Conv(4, 1)), 1, 8, 8, 3),
        "body and shortcut must have the same output shape\n"
        "  got: body (1, 8, 8, 4), shortcut (1, 8, 8, 3)\n"
        "  fix: shortcut=Conv(4, 1)"),
    Row("residual of flatten", lambda: init(jc.residual(jc.flatten), 1, 8, 8, 3),
        "body and shortcut must have the same output shape\n"
        "  got: body (1, 192), shortcut (1, 8, 8, 3)"),
    Row("dropout of integers", lambda: jc.dropout(np.ones(4, np.int32), 0.5, jax.random.key(0)),
        "dropout needs a floating type\n"
        "  got: int32\n"
        "  fix: x.astype(jnp.float32)"),
    Row("SpatiallySeparableConv with a padding of one axis", lambda: jc.SpatiallySeparableConv(4, (3, 3), padding=((1, 1),)),
        "padding must be a name, an int, one pair (lo, hi), or a pair for each of the 2 spatial axes\n"
        "  got: padding=((1, 1),)"),
    Row("SpatiallySeparableConv with three paddings", lambda: jc.SpatiallySeparableConv(4, (3, 3), padding=((1, 1), (1, 1), (1, 1))),
        "padding must be a name, an int, one pair (lo, hi), or a pair for each of the 2 spatial axes\n"
        "  got: padding=((1, 1), (1, 1), (1, 1))"),
    Row("SpatiallySeparableConv with one int", lambda: jc.SpatiallySeparableConv(4, 3),
        "kernel_size must be one int for each spatial axis\n"
        "  got: kernel_size=3\n"
        "  fix: kernel_size=(3, 3)"),
    Row("cast to None", lambda: jc.cast(jc.Conv(4, 3), None),
        "cast needs a floating dtype\n"
        "  got: None\n"
        "  fix: jnp.bfloat16"),
    Row("cast to a word", lambda: jc.cast(jc.Conv(4, 3), "bf16"),
        "cast needs a floating dtype\n"
        "  got: 'bf16'\n"
        "  fix: jnp.bfloat16"),
    Row("torch's circular", lambda: jc.conv(X, K, padding=1, padding_mode="circular"),
        "padding_mode must be one of zeros, reflect, edge, wrap\n"
        "  got: padding_mode='circular'; did you mean 'wrap'?"),
    Row("torch's replicate", lambda: jc.conv(X, K, padding=1, padding_mode="replicate"),
        "padding_mode must be one of zeros, reflect, edge, wrap\n"
        "  got: padding_mode='replicate'; did you mean 'edge'?"),
    Row("a padding_mode as padding", lambda: jc.conv(X, K, padding="reflect"),
        "padding must be one of valid, same, same_lower, full, causal, an int, a pair, or a pair for each axis\n"
        "  got: padding='reflect'\n"
        "  fix: padding='same', padding_mode='reflect'"),
    Row("padding an empty axis", lambda: jc.pad(zeros(1, 0, 8, 3), 1, (1, 1), padding_mode="edge"),
        "padding needs at least one cell on every spatial axis\n"
        "  got: spatial shape (0, 8)"),
    Row("blurring an empty axis", lambda: jc.blur_pool(zeros(1, 0, 8, 3)),
        "padding needs at least one cell on every spatial axis\n"
        "  got: spatial shape (0, 8)"),
    Row("conv_transpose of an empty axis", lambda: jc.conv_transpose(zeros(1, 0, 8, 4), K),
        "conv_transpose needs at least one cell on every spatial axis\n"
        "  got: (0, 8)"),
    Row("max_unpool of other shapes", lambda: jc.max_unpool(zeros(1, 4, 4, 3), zeros(1, 4, 3, 3, dtype=np.int32), 8),
        "max_unpool needs values and indices of the same shape [N, *out, C]\n"
        "  got: y (1, 4, 4, 3), indices (1, 4, 3, 3)"),
    Row("max_unpool to a negative shape", lambda: jc.max_unpool(zeros(1, 4, 4, 3), INDICES, (-8, 8)),
        "shape must be ≥ 1\n"
        "  got: shape=-8"),
    Row("max_unpool to nothing", lambda: jc.max_unpool(zeros(1, 4, 4, 3), INDICES, (0, 8)),
        "shape must be ≥ 1\n"
        "  got: shape=0"),
    Row("output_padding of the stride", lambda: jc.conv_transpose(Y, K, stride=2, output_padding=2),
        "output_padding must be less than the stride: in [0, 2) on spatial axis 0\n"
        "  got: output_padding=(2, 2), stride 2\n"
        "  fix: output_padding=1"),
    Row("output_padding at stride 1", lambda: jc.conv_transpose(Y, K, output_padding=1),
        "output_padding must be less than the stride: in [0, 1) on spatial axis 0\n"
        "  got: output_padding=(1, 1), stride 1\n"
        "  fix: output_padding=0"),
    Row("output_size that does not convolve to the input", lambda: jc.conv_transpose(Y, K, stride=2, output_size=12),
        "output_size must be 9 or 10 on spatial axis 0: only these sizes convolve to 4\n"
        "  got: output_size=(12, 12)\n"
        "  fix: output_size=9"),
    Row("output_size at stride 3", lambda: jc.conv_transpose(Y, K, stride=3, output_size=9),
        "output_size must be 12 to 14 on spatial axis 0: only these sizes convolve to 4\n"
        "  got: output_size=(9, 9)\n"
        "  fix: output_size=12"),
    Row("ConvTranspose with another's kernel", lambda: jc.ConvTranspose(3, 3).apply({"kernel": zeros(5, 5, 3, 4), "bias": zeros(3)}, {}, Y),
        "this conv_transpose's kernel must be (3, 3, 3, 4)\n"
        "  got: kernel (5, 5, 3, 4)\n"
        "  fix: params initialized by this layer"),
    Row("LocalConv with another's kernel", lambda: jc.LocalConv(4, 3).apply({"kernel": zeros(6, 6, 3, 3, 3, 5), "bias": zeros(6, 6, 5)}, {}, X),
        "this local_conv's kernel must be (6, 6, 3, 3, 3, 4)\n"
        "  got: kernel (6, 6, 3, 3, 3, 5)\n"
        "  fix: params initialized by this layer"),
    Row("local_conv with a shared kernel", lambda: jc.local_conv(X, K),
        "local_conv needs one kernel per output position, [*out, *k, C_in, C_out]\n"
        "  got: kernel (3, 3, 3, 4), x (1, 8, 8, 3)\n"
        "  fix: jaxconv.conv for a shared kernel"),
    Row("ConvTranspose.init of NCHW", lambda: init(jc.ConvTranspose(4, 3), 1, 3, 32, 32),
        "conv_transpose needs its input as [N, H, W, C]\n"
        "  got: (1, 3, 32, 32), which looks like NCHW\n"
        "  fix: jnp.moveaxis(x, 1, -1); init within jc.assume_channels_last() if it has 32 channels"),
    Row("an int for a key", lambda: jc.Conv(4, 3).init(0, (1, 8, 8, 3)),
        "key must be one jax.random key\n"
        "  got: 0\n"
        "  fix: jax.random.key(0)"),
    Row("no key for a net", lambda: tiny().init(None, (1, 8, 8, 3)),
        "key must be one jax.random key\n"
        "  got: None\n"
        "  fix: jax.random.key(0)"),
    Row("many keys for one", lambda: jc.Dense(3).init(jax.random.split(jax.random.key(0), 2), (1, 3)),
        "key must be one jax.random key\n"
        "  got: keys of shape (2,)\n"
        "  fix: jax.random.key(0)"),
    Row("an int for dropout's key", lambda: jc.dropout(X, 0.5, 7),
        "key must be one jax.random key\n"
        "  got: 7\n"
        "  fix: jax.random.key(0)"),
    Row("a list for a shape", lambda: jc.Conv(4, 3).init(jax.random.key(0), [1, 8, 8, 3]),
        "x must be an array, a ShapeDtypeStruct or a tuple of ints ≥ 0\n"
        "  got: [1, 8, 8, 3]\n"
        "  fix: (1, 8, 8, 3)"),
    Row("a negative shape", lambda: init(jc.Conv(4, 3), -1, 8, 8, 3),
        "x must be an array, a ShapeDtypeStruct or a tuple of ints ≥ 0\n"
        "  got: (-1, 8, 8, 3)"),
    Row("an empty shape", lambda: init(tiny()),
        "x must be an array, a ShapeDtypeStruct or a tuple of ints ≥ 0\n"
        "  got: ()"),
    Row("Dense with a bias of another length", lambda: jc.Dense(3).apply({"kernel": zeros(4, 3), "bias": zeros(2)}, {}, zeros(1, 4)),
        "bias must have one value for each of the 3 output channels\n"
        "  got: bias (2,)"),
    Row("Dense with a kernel of other features", lambda: jc.Dense(3).apply({"kernel": zeros(4, 5), "bias": zeros(3)}, {}, zeros(1, 4)),
        "this dense's kernel must be (4, 3)\n"
        "  got: kernel (4, 5)\n"
        "  fix: params initialized by this layer"),
    Row("a kernel that is None", lambda: jc.Dense(3).apply({"kernel": None, "bias": zeros(3)}, {}, zeros(1, 4)),
        "params of dense must be arrays\n"
        "  got: kernel=None"),
    Row("a stride that is no number", lambda: jc.conv(X, K, stride=float("nan")),
        "stride must be an int\n"
        "  got: stride=nan"),
    Row("p as text", lambda: jc.lp_pool(X, 2, p="2"),
        "p must be a number ≥ 1, for (Σ|x|^p)^(1/p) to be a norm\n"
        "  got: p='2'"),
    Row("rate as text", lambda: jc.Dropout("0.5"),
        "rate must be a number in [0, 1)\n"
        "  got: rate='0.5'"),
    Row("a negative eps", lambda: jc.layer_norm(X, eps=-1.0),
        "eps must be a number ≥ 0\n"
        "  got: eps=-1.0"),
    Row("an unknown fan", lambda: jc.initializers.VarianceScaling(1, "fan_in"),
        "VarianceScaling needs a scale > 0 and fan \"in\", \"out\" or \"avg\"\n"
        "  got: 1, 'fan_in'"),
    Row("an initializer's name", lambda: jc.Conv(4, 3, kernel_init="he_normal"),
        "kernel_init must be a function (key, shape, dtype) -> array\n"
        "  got: kernel_init='he_normal'\n"
        "  fix: jaxconv.initializers.he_normal"),
    Row("a number for an initializer", lambda: jc.Dense(4, bias_init=0.0),
        "bias_init must be a function (key, shape, dtype) -> array\n"
        "  got: bias_init=0.0"),
    Row("repeat of a layer that changes the shape", lambda: init(jc.repeat(jc.Dense(8), 3), 1, 4),
        "a repeated layer must preserve the shape and dtype of its input\n"
        "  got: (1, 4) float32 -> (1, 8) float32"),
    Row("repeat with params of another n", lambda: jc.repeat(jc.Dense(4), 2).apply({"kernel": zeros(3, 4, 4), "bias": zeros(3, 4)}, {}, zeros(1, 4)),
        "params and state of repeat(dense, 2) must have a leading axis of size 2\n"
        "  got: 3"),
    Row("adjoint of a pool", lambda: jc.adjoint(jc.MaxPool(2), (1, 8, 8, 3)),
        "adjoint needs a linear layer with a kernel: Conv, DepthwiseConv, LocalConv, ConvTranspose or Dense\n"
        "  got: max_pool"),
    Row("adjoint of a chain of one", lambda: jc.adjoint(jc.chain(jc.Conv(4, 3)), (1, 8, 8, 3)),
        "adjoint needs a linear layer with a kernel: Conv, DepthwiseConv, LocalConv, ConvTranspose or Dense\n"
        "  got: chain\n"
        "  fix: the adjoints of its parts, in reverse order"),
    Row("adjoint.init on another shape", lambda: init(jc.adjoint(jc.Conv(4, 3), (1, 8, 8, 3)), 1, 5, 5, 4),
        "this adjoint needs an input [N, 6, 6, 4]\n"
        "  got: (1, 5, 5, 4)"),
    Row("freeze of nothing", lambda: jc.optim.freeze(optax.sgd(0.1)),
        "freeze needs patterns\n"
        "  got: ()\n"
        "  fix: freeze(optimizer, 'stem', '*/bias')"),
    Row("freeze of a list", lambda: jc.optim.freeze(optax.sgd(0.1), ["stem"]),
        "freeze needs patterns\n"
        "  got: (['stem'],)\n"
        "  fix: freeze(optimizer, 'stem', '*/bias')"),
    Row("partition by a word", lambda: jc.optim.partition({"stem": CONV}, "stem"),
        "labels must be {label: pattern or patterns}\n"
        "  got: 'stem'\n"
        "  fix: {'frozen': 'stem'}"),
    Row("a pattern with a slip", lambda: jc.optim.partition({"stem": CONV}, {"frozen": "stme"}),
        "a pattern must match at least one parameter\n"
        "  got: 'stme'; did you mean 'stem'?\n"
        "  fix: paths here: stem/bias, stem/kernel"),
    Row("replace on a path halfway there", lambda: jc.replace(tiny(), "stem/conv1", jnp.sin),
        "chain has conv0, relu0\n"
        "  got: path 'stem/conv1'; did you mean 'conv0'?"),
    Row("a path that is no text", lambda: jc.replace(tiny(), 0, jnp.sin),
        "a path must be text like 'stage1/conv0'\n"
        "  got: 0"),
    Row("backbone of a flow in another order", lambda: init(jc.backbone(jc.compose("w", {"a": jnp.sin, "b": jnp.sin}, lambda call, x: call("a", call("b", x))), "a"), 1, 2),
        "backbone needs parts that run in definition order\n"
        "  got: 'b' runs before 'a'"),
    Row("a layer's function for a layer", lambda: jc.chain(jc.Conv(4, 3), jc.Dropout),
        "a part must be a Layer or a callable from array to array; got the function Dropout: call it, Dropout(...)", error=TypeError),
    Row("a list of layers", lambda: jc.chain([jc.Conv(4, 3), jc.Conv(4, 3)]),
        "a part must be a Layer or a callable from array to array; got a list of 2: chain(*layers)", error=TypeError),
    Row("compose without a flow", lambda: jc.compose("w", {"a": jnp.sin}, None),
        "compose needs a dict of parts and a function flow(call, x); got dict, None", error=TypeError),
    Row("a size as text", lambda: jc.max_pool(X, "2"),
        "kernel_size must be an int, or one for each spatial axis\n"
        "  got: kernel_size='2'"),
]
# fmt: on


@each(TABLE)
def test_message_of_an_invalid_call(row):
    check(row)
