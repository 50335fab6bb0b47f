"""Invalid norms, dropout, dense layers, combinators and surgery: each call with its complete message."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from messages.calls import (
    BACK,
    CONV,
    NAN,
    NORM,
    STATS,
    WEIGHTS,
    K,
    Row,
    X,
    check,
    deep_drop,
    each,
    headed,
    init,
    tiny,
    zeros,
)

import jaxconv as jc

# fmt: off
TABLE = [
    # norms
    Row("batch_norm with the mean of other channels", lambda: jc.batch_norm(X, zeros(4), zeros(3)),
        "mean must have one value for each of the 3 channels\n  got: (4,)"),
    Row("batch_norm with a scalar var", lambda: jc.batch_norm(X, zeros(3), 1.0),
        "var must have one value for each of the 3 channels\n  got: ()"),
    Row("BatchNorm of momentum 1", lambda: jc.BatchNorm(momentum=1.0),
        "momentum, the decay of the running statistics, must be in [0, 1)\n"
        "  got: momentum=1.0"),
    Row("BatchNorm of momentum NaN", lambda: jc.BatchNorm(momentum=NAN),
        "momentum, the decay of the running statistics, must be in [0, 1)\n"
        "  got: momentum=nan"),
    Row("BatchNorm of one axis", lambda: init(jc.BatchNorm(), 3),
        "batch_norm needs [N, ..., C]\n  got: (3,)"),
    Row("BatchNorm without state", lambda: jc.BatchNorm().apply(NORM, {}, X),
        "state of batch_norm must hold mean, var\n"
        "  got: nothing\n"
        "  fix: params, state = net.init(key, x)"),
    Row("BatchNorm with None for its state", lambda: jc.BatchNorm().apply(NORM, None, X),
        "state of batch_norm must hold mean, var\n"
        "  got: NoneType\n"
        "  fix: params, state = net.init(key, x)"),
    Row("BatchNorm without params", lambda: jc.BatchNorm().apply({}, STATS, X),
        "params of batch_norm must hold scale, bias\n"
        "  got: nothing\n"
        "  fix: params, state = net.init(key, x)"),
    Row("BatchNorm trained on other channels", lambda: jc.BatchNorm().apply(NORM, STATS, zeros(1, 8, 8, 4), train=True),
        "batch_norm needs 3 channels, as at init\n  got: x (1, 8, 8, 4), mean (3,), var (3,)"),
    Row("group_norm with groups that do not divide", lambda: jc.group_norm(X, 2),
        "groups must divide the channels\n  got: groups=2, 3 channels"),
    Row("group_norm with no groups", lambda: jc.group_norm(X, 0),
        "groups must be ≥ 1\n  got: groups=0"),
    Row("GroupNorm with groups that do not divide in a net", lambda: init(jc.chain(norm=jc.GroupNorm(32)), 1, 8, 8, 48),
        "at norm: groups must divide the channels\n  got: groups=32, 48 channels"),
    Row("layer_norm of a scalar", lambda: jc.layer_norm(3.0),
        "layer_norm needs [..., C]\n  got: ()"),
    Row("layer_norm with torch's scale", lambda: jc.layer_norm(X, zeros(8, 8, 3)),
        "scale must have one value for each of the 3 channels\n  got: (8, 8, 3)",
        fixed=lambda: jc.layer_norm(X, zeros(3))),
    Row("instance_norm of a matrix", lambda: jc.instance_norm(zeros(4, 3)),
        "instance_norm needs [N, *spatial, C]\n  got: (4, 3)"),
    Row("local_response_norm of size 0", lambda: jc.local_response_norm(X, 0),
        "size must be ≥ 1\n  got: size=0"),
    # dropout
    Row("dropout of everything", lambda: jc.dropout(X, 1.0, jax.random.key(0)),
        "rate must be a number in [0, 1)\n  got: rate=1.0"),
    Row("dropout in percent", lambda: jc.dropout(X, 50, jax.random.key(0)),
        "rate must be a number in [0, 1)\n  got: rate=50"),
    Row("dropout of rate NaN", lambda: jc.dropout(X, NAN, jax.random.key(0)),
        "rate must be a number in [0, 1)\n  got: rate=nan"),
    Row("dropout along an axis that is not there", lambda: jc.dropout(X, 0.5, jax.random.key(0), shared=(4,)),
        "shared must name axes of x\n  got: shared=(4,), x (1, 8, 8, 3)"),
    Row("Dropout of rate 1", lambda: jc.Dropout(1),
        "rate must be a number in [0, 1)\n  got: rate=1"),
    Row("SpatialDropout of rate 1.5", lambda: jc.SpatialDropout(1.5),
        "rate must be a number in [0, 1)\n  got: rate=1.5"),
    Row("DropPath of rate NaN", lambda: jc.DropPath(NAN),
        "rate must be a number in [0, 1)\n  got: rate=nan"),
    Row("Dropout without a key", lambda: jc.Dropout(0.5).apply({}, {}, X, train=True),
        "dropout needs a key when train=True\n"
        "  got: key=None\n"
        "  fix: net.apply(params, state, x, key=jax.random.fold_in(key, step), train=True)",
        fixed=lambda: jc.Dropout(0.5).apply({}, {}, X, key=jax.random.fold_in(jax.random.key(0), 1), train=True)),
    Row("DropPath without a key in a nested net", lambda: deep_drop(None),
        "at a/drop: dropout needs a key when train=True\n"
        "  got: key=None\n"
        "  fix: net.apply(params, state, x, key=jax.random.fold_in(key, step), train=True)",
        fixed=lambda: deep_drop(jax.random.key(0))),
    # flatten and Dense
    Row("flatten of a scalar", lambda: jc.flatten(3.0),
        "flatten needs a batch axis: [N, ...]\n  got: a scalar"),
    Row("Dense of no features", lambda: jc.Dense(0),
        "features must be ≥ 1\n  got: features=0"),
    Row("Dense of a scalar", lambda: jc.Dense(10).init(jax.random.key(0), np.float32(1)),
        "dense needs an input [..., C_in] of at least one channel\n  got: ()"),
    Row("Dense without its bias", lambda: jc.Dense(3).apply({"kernel": zeros(4, 3)}, {}, zeros(1, 4)),
        "params of dense must hold kernel, bias\n"
        "  got: kernel\n"
        "  fix: params, state = net.init(key, x)"),
    Row("Dense on another input size in a net", lambda: headed(jc.flatten, 192),
        "at head: dense needs 192 inputs on the last axis, as at init\n"
        "  got: x (1, 64), kernel (192, 3)\n"
        "  fix: an input of the size used at init; global_avg_pool instead of flatten takes any size",
        fixed=lambda: headed(jc.global_avg_pool, 4)),
    # convolutions made of smaller ones, masks, initializers
    Row("DepthwiseConv with features", lambda: jc.DepthwiseConv(3, features=8),
        "features of a depthwise convolution are determined by its input\n  got: features=8"),
    Row("DepthwiseConv with groups", lambda: jc.DepthwiseConv(3, groups=3),
        "groups of a depthwise convolution are determined by its input\n  got: groups=3"),
    Row("DepthwiseConv with multiplier 0", lambda: jc.DepthwiseConv(3, multiplier=0),
        "multiplier must be ≥ 1\n  got: multiplier=0"),
    Row("SeparableConv larger than the input", lambda: init(jc.SeparableConv(4, 9), 1, 8, 8, 3),
        "at depthwise: conv: a kernel of 9 must fit into the padded input of 8 + 0 + 0 cells on spatial axis 0\n"
        "  got: spatial shape (8, 8); out = floor((8 + 0 + 0 - 1*(9 - 1) - 1) / 1) + 1 = 0\n"
        "  fix: a larger input, a kernel of at most 8, or padding='same'",
        fixed=lambda: init(jc.SeparableConv(4, 8), 1, 8, 8, 3)),
    Row("SpatiallySeparableConv with a misspelt padding",
        lambda: init(jc.SpatiallySeparableConv(4, (3, 3), padding="smae"), 1, 8, 8, 3),
        "at axis0: padding must be one of valid, same, same_lower, full, causal, an int, a pair, or a pair for "
        "each axis\n"
        "  got: padding='smae'; did you mean 'same'?",
        fixed=lambda: init(jc.SpatiallySeparableConv(4, (3, 3), padding="same"), 1, 8, 8, 3)),
    Row("masked by an array that does not broadcast", lambda: jc.masked(zeros(5, 5, 1, 1))(K),
        "a mask must broadcast to the kernel\n  got: mask (5, 5, 1, 1), kernel (3, 3, 3, 4)"),
    Row("Conv masked by an array that does not broadcast in a net",
        lambda: init(jc.chain(causal=jc.Conv(4, 3, transform=jc.masked(zeros(3, 3)))), 1, 8, 8, 3),
        "at causal: a mask must broadcast to the kernel\n"
        "  got: mask (3, 3), kernel (3, 3, 3, 4)",
        fixed=lambda: init(jc.chain(causal=jc.Conv(4, 3, transform=jc.masked(zeros(3, 3, 1, 1)))), 1, 8, 8, 3)),
    Row("he_normal for a bias", lambda: init(jc.Conv(4, 3, bias_init=jc.initializers.he_normal), 1, 8, 8, 3),
        "a fan needs a shape [*k, C_in, C_out]\n  got: (4,)\n  fix: initializers.zeros",
        fixed=lambda: init(jc.Conv(4, 3, bias_init=jc.initializers.zeros), 1, 8, 8, 3)),
    Row("dirac of an even size", lambda: init(jc.Conv(3, 2, kernel_init=jc.initializers.dirac), 1, 8, 8, 3),
        "dirac needs odd kernel sizes: an even kernel has no center\n  got: (2, 2, 3, 3)",
        fixed=lambda: init(jc.Conv(3, 3, kernel_init=jc.initializers.dirac), 1, 8, 8, 3)),
    # combinators
    Row("branch with an unknown merge", lambda: jc.branch(jnp.sin, jnp.cos, merge="concatenate"),
        "merge must be concat, sum or a function of a list of arrays\n"
        "  got: merge='concatenate'; did you mean 'concat'?",
        fixed=lambda: jc.branch(jnp.sin, jnp.cos, merge="concat")),
    Row("branch of nothing", lambda: jc.branch(),
        "branch needs at least one part\n  got: none"),
    Row("branch of maps of other sizes", lambda: init(jc.branch(jc.Conv(4, 3), jc.Conv(4, 5)), 1, 8, 8, 3),
        "branches must have the same output shape, except for the channels, to be merged by concat\n"
        "  got: conv0 (1, 6, 6, 4), conv1 (1, 4, 4, 4)"),
    Row("branch summing other channels",
        lambda: init(jc.branch(a=jc.Conv(4, 3), b=jc.Conv(5, 3), merge="sum"), 1, 8, 8, 3),
        "branches must have the same output shape to be merged by sum\n"
        "  got: a (1, 6, 6, 4), b (1, 6, 6, 5)"),
    Row("residual of other channels", lambda: init(jc.residual(jc.Conv(4, 3, padding="same")), 1, 8, 8, 3),
        "body and shortcut must have the same output shape\n"
        "  got: body (1, 8, 8, 4), shortcut (1, 8, 8, 3)\n"
        "  fix: shortcut=Conv(4, 1)",
        fixed=lambda: init(jc.residual(jc.Conv(4, 3, padding="same"), shortcut=jc.Conv(4, 1, stride=1)), 1, 8, 8, 3)),
    Row("residual of another stride in a net",
        lambda: init(jc.chain(block=jc.residual(jc.Conv(4, 2, stride=2))), 1, 8, 8, 3),
        "at block: body and shortcut must have the same output shape\n"
        "  got: body (1, 4, 4, 4), shortcut (1, 8, 8, 3)\n"
        "  fix: shortcut=Conv(4, 1, stride=2)",
        fixed=lambda: init(jc.residual(jc.Conv(4, 2, stride=2), shortcut=jc.Conv(4, 1, stride=2)), 1, 8, 8, 3)),
    Row("residual with a shortcut of other channels",
        lambda: init(jc.residual(jc.Conv(4, 3, padding="same"), shortcut=jc.Conv(5, 1)), 1, 8, 8, 3),
        "body and shortcut must have the same output shape\n"
        "  got: body (1, 8, 8, 4), shortcut (1, 8, 8, 5)"),
    Row("repeat of nothing", lambda: jc.repeat(jc.Dense(8), 0),
        "n must be ≥ 1\n  got: n=0"),
    Row("cast to int", lambda: jc.cast(jc.Dense(8), jnp.int32),
        "cast needs a floating dtype\n  got: int32\n  fix: jnp.bfloat16",
        fixed=lambda: jc.cast(jc.Dense(8), jnp.bfloat16)),
    Row("chain with an automatic name given again", lambda: jc.chain(jc.Conv(4, 3), conv0=jc.Conv(4, 3)),
        "names of parts must be unique; 'conv0' is the automatic name of another part", error=ValueError),
    Row("chain of a number", lambda: jc.chain(jc.Conv(4, 3), 3),
        "a part must be a Layer or a callable from array to array; got 3", error=TypeError),
    Row("chain of a word", lambda: jc.chain(jc.Conv(4, 3), "relu"),
        "a part must be a Layer or a callable from array to array; got 'relu'", error=TypeError),
    Row("compose that calls a part it does not have",
        lambda: init(jc.compose("w", {"conv": jnp.sin}, lambda call, x: call("cnov", x)), 1, 2),
        "a flow may only call its own parts\n"
        "  got: call('cnov'); did you mean 'conv'?\n"
        "  fix: conv",
        fixed=lambda: init(jc.compose("w", {"conv": jnp.sin}, lambda call, x: call("conv", x)), 1, 2)),
    Row("compose that leaves a part out",
        lambda: init(jc.compose("w", {"a": jnp.sin, "b": jnp.cos}, lambda call, x: call("a", x)), 1, 2),
        "every part must be called by the flow\n  got: 'b' is never called\n  fix: remove it",
        fixed=lambda: init(jc.compose("w", {"a": jnp.sin}, lambda call, x: call("a", x)), 1, 2)),
    Row("stateless with state", lambda: init(jc.stateless(jc.chain(norm=jc.BatchNorm())), 1, 8, 3),
        "stateless needs a net without state\n"
        "  got: state norm/mean, norm/var\n"
        "  fix: params, state = net.init(key, x)"),
    # surgery and adjoints
    Row("replace of a part that is not there", lambda: jc.replace(tiny(), "haed", jc.Dense(5)),
        "chain has stem, pool, head\n  got: path 'haed'; did you mean 'head'?",
        fixed=lambda: jc.replace(tiny(), "head", jc.Dense(5))),
    Row("replace in a leaf", lambda: jc.replace(jc.Dense(3), "kernel", jnp.sin),
        "dense has no parts\n  got: path 'kernel'"),
    Row("backbone up to a missing part", lambda: jc.backbone(tiny(), upto="stem/conv3"),
        "chain has conv0, relu0\n  got: path 'stem/conv3'; did you mean 'conv0'?",
        fixed=lambda: jc.backbone(tiny(), upto="stem/conv0")),
    Row("backbone of a leaf", lambda: jc.backbone(jc.Dense(3), upto="kernel"),
        "dense has no parts\n  got: path 'kernel'"),
    Row("backbone of a repeat", lambda: jc.backbone(jc.repeat(jc.chain(a=jc.Dense(8)), 2), upto="a"),
        "backbone needs a net made by compose, chain, residual or branch\n  got: repeat(chain, 2) in 'a'"),
    Row("backbone with the params of another net",
        lambda: jc.backbone(tiny(), upto="stem").apply({"conv0": CONV}, {}, X),
        "params must be those of this net: stem\n"
        "  got: params of conv0\n"
        "  fix: params, state = net.init(key, x)"),
    Row("partition by a misspelt path", lambda: jc.optim.partition(WEIGHTS, {"frozen": "head/kernle"}),
        "a pattern must match at least one parameter\n"
        "  got: 'head/kernle'; did you mean 'head/kernel'?\n"
        "  fix: paths here: head/kernel, stem/conv0/bias, stem/conv0/kernel",
        fixed=lambda: jc.optim.partition(WEIGHTS, {"frozen": "head/kernel"})),
    Row("partition by a pattern that fits nothing", lambda: jc.optim.partition(WEIGHTS, {"frozen": ["stem", "*/scale"]}),
        "a pattern must match at least one parameter\n"
        "  got: '*/scale'\n"
        "  fix: paths here: head/kernel, stem/conv0/bias, stem/conv0/kernel",
        fixed=lambda: jc.optim.partition(WEIGHTS, {"frozen": ["stem", "stem/conv0/bias"]})),
    Row("freeze of a pattern that fits nothing", lambda: jc.optim.freeze(optax.sgd(0.1), "body/*").init(WEIGHTS),
        "a pattern must match at least one parameter\n"
        "  got: 'body/*'\n"
        "  fix: paths here: head/kernel, stem/conv0/bias, stem/conv0/kernel",
        fixed=lambda: jc.optim.freeze(optax.sgd(0.1), "stem/conv0/kernel").init(WEIGHTS)),
    Row("adjoint of a chain", lambda: jc.adjoint(jc.chain(jc.Conv(4, 3)), (1, 8, 8, 3)),
        "adjoint needs a linear layer with a kernel: Conv, DepthwiseConv, LocalConv, ConvTranspose or Dense\n"
        "  got: chain\n"
        "  fix: the adjoints of its parts, in reverse order",
        fixed=lambda: jc.chain(jc.adjoint(jc.Conv(4, 3), (1, 8, 8, 3)))),
    Row("adjoint of another output", lambda: jc.adjoint(jc.Conv(4, 3), X.shape).apply(BACK, {}, zeros(1, 5, 5, 4)),
        "this adjoint needs an input [N, 6, 6, 4]\n  got: (1, 5, 5, 4)"),
    Row("adjoint of an unbatched output", lambda: jc.adjoint(jc.Conv(4, 3), X.shape).apply(BACK, {}, zeros(6, 6, 4)),
        "this adjoint needs an input [N, 6, 6, 4]\n  got: (6, 6, 4)"),
    Row("adjoint of another conv's output in a net",
        lambda: init(jc.chain(jc.Conv(4, 3), jc.adjoint(jc.Conv(5, 3), (1, 8, 8, 3))), 1, 8, 8, 3),
        "at adjoint0: this adjoint needs an input [N, 6, 6, 5]\n  got: (1, 6, 6, 4)"),
]
# fmt: on


@each(TABLE)
def test_message_of_an_invalid_call(row):
    check(row)
