"""Every public op, layer and combinator: how to build one, and an input. One line gets a new one all of the
contract in test_contract.py."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import jaxconv as jc
from jaxconv.layers.layer import lift


class Entry(NamedTuple):
    """`names`: the public names it covers. `build`: makes the layer. `shape`: of its input, batch first."""

    names: str
    build: Callable[[], jc.Layer]
    shape: tuple[int, ...] = (3, 6, 5, 4)
    training_differs: bool = False
    examples_alone: bool = True  # False where an example's output depends on its place in the batch

    @property
    def stateful(self) -> bool:
        born = jax.eval_shape(lambda key: self.layer.init(key, self.shape), jax.random.key(0))
        return bool(jax.tree.leaves(born[1]))

    @property
    def layer(self) -> jc.Layer:
        return lift(self.build())


def op(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[[], jc.Layer]:
    """An op with everything but its input given."""
    return lambda: lift(lambda x: function(x, *args, **kwargs))


def weights(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(7), shape) / 3


def block() -> jc.Layer:
    return jc.residual(jc.chain(jc.Conv(4, (3, 2), padding="same"), jc.BatchNorm()), shortcut=jnp.tanh)


def pooled_and_back(x: jax.Array) -> jax.Array:
    y, at = jc.max_pool_with_indices(x, 2)
    return jc.max_unpool(y * y, at, x.shape[1:-1])


def unfolded_and_back(x: jax.Array) -> jax.Array:
    words = {"stride": 2, "padding": "same"}
    return jc.fold(jnp.tanh(jc.unfold(x, 3, **words)), x.shape[1:-1], 3, **words)


def transformed(x: jax.Array) -> jax.Array:
    """Each image turned by its own mean."""
    mean = x.mean((1, 2, 3)).astype("float64" if x.dtype == "float64" else "float32")  # no position in half precision
    turn = jnp.array([[[0.9, -0.3, 0.1], [0.2, 1.1, 0.0]]], mean.dtype) + mean[:, None, None] / 10
    return jc.grid_sample(x, jc.affine_grid(turn, (4, 7)), padding_mode="edge")


def aligned(x: jax.Array) -> jax.Array:
    boxes = jnp.array([[[0.3, 0.2, 3.9, 4.6], [-1.0, 2.0, 3.0, 7.0]]], jnp.float32)
    still = 0 * jax.lax.stop_gradient(x).mean((1, 2, 3))[:, None, None]  # boxes sharded as the images are
    return jc.roi_align(x, boxes + still.astype(jnp.float32), (2, 3))


def deformed(x: jax.Array) -> jax.Array:
    """By offsets and masks from the input itself, away from the whole cells, where slopes jump."""
    moved = 0.3 + 0.2 * jnp.sin(jc.conv(x, weights(1, 1, 4, 12).astype(x.dtype)))
    mask = jax.nn.sigmoid(jc.conv(x, weights(1, 1, 4, 6).astype(x.dtype)))
    return jc.deform_conv(x, weights(3, 2, 4, 5).astype(x.dtype), moved, mask, padding="same")


def off_the_cells(layer: jc.Layer) -> jc.Layer:
    """A deformable convolution with offsets of 0.3 at init: slopes jump at whole cells."""

    def init(key: Any, x: Any) -> Any:
        params, state = layer.init(key, x)
        return {**params, "offset": {**params["offset"], "bias": params["offset"]["bias"] + 0.3}}, state

    return dataclasses.replace(layer, init=init)


def tied(layer: jc.Layer, shape: tuple[int, ...]) -> jc.Layer:
    back = jc.adjoint(layer, shape, tied=True)
    return jc.compose("tied", {"code": layer}, lambda call, x: call("code", jnp.tanh(call("code", x)), by=back))


OPS = [
    Entry("conv", lambda: lift(lambda x: jc.conv(x, weights(3, 3, 4, 6).astype(x.dtype), padding="same", stride=2))),
    Entry(
        "conv_transpose", lambda: lift(lambda x: jc.conv_transpose(x, weights(3, 2, 5, 4).astype(x.dtype), stride=2))
    ),
    Entry("local_conv", lambda: lift(lambda x: jc.local_conv(x, weights(4, 4, 3, 2, 4, 2).astype(x.dtype)))),
    Entry("max_pool", op(jc.max_pool, 2)),
    Entry("max_pool", op(jc.max_pool, 3, stride=2, padding=1, ceil_mode=True)),
    Entry("max_pool_with_indices max_unpool", lambda: lift(pooled_and_back)),
    Entry("avg_pool", op(jc.avg_pool, 3, stride=2, padding="same")),
    Entry("lp_pool", op(jc.lp_pool, 2, p=3)),
    Entry("l2_pool", op(jc.l2_pool, 3, stride=1)),
    Entry("blur_pool", op(jc.blur_pool, 3)),
    Entry("global_avg_pool", op(jc.global_avg_pool)),
    Entry("global_max_pool", op(jc.global_max_pool)),
    Entry("adaptive_avg_pool", op(jc.adaptive_avg_pool, (4, 2))),
    Entry("adaptive_max_pool", op(jc.adaptive_max_pool, (4, 2))),
    Entry("resize", op(jc.resize, (9, 4), mode="linear")),
    Entry("resize", op(jc.resize, scale=2)),
    Entry("resize", op(jc.resize, scale=(0.7, 1.6), mode="cubic")),
    Entry("resize", op(jc.resize, (3, 8), mode="cubic", antialias=True)),
    Entry("resize", op(jc.resize, (8, 3), mode="area")),
    Entry("pixel_shuffle", op(jc.pixel_shuffle, 2)),
    Entry("pixel_unshuffle", op(jc.pixel_unshuffle, (2, 1))),
    Entry("unfold fold", lambda: lift(unfolded_and_back)),
    Entry("affine_grid grid_sample", lambda: lift(transformed)),
    Entry("stochastic_pool", op(jc.stochastic_pool, 2)),
    Entry("roi_align", lambda: lift(aligned)),
    Entry("deform_conv", lambda: lift(deformed)),
    Entry("pad", op(jc.pad, (1, 2), padding_mode="reflect")),
    Entry("batch_norm", op(jc.batch_norm, weights(4), jnp.ones(4), weights(4), weights(4))),
    Entry("group_norm", op(jc.group_norm, 2)),
    Entry("layer_norm", op(jc.layer_norm, weights(4), weights(4))),
    Entry("instance_norm", op(jc.instance_norm)),
    Entry("rms_norm", op(jc.rms_norm, weights(4))),
    Entry("local_response_norm", op(jc.local_response_norm, 3, alpha=0.5)),
    Entry("flatten", op(jc.flatten)),
    Entry("dropout", lambda: lift(lambda x: jc.dropout(x, 0.3, jax.random.key(1))), examples_alone=False),
    Entry("using", lambda: jc.Conv(2, 3, impl="einsum")),
]

LAYERS = [
    Entry("Conv", lambda: jc.Conv(6, 3)),
    Entry("Conv", lambda: jc.Conv(6, (3, 2), stride=2, padding="same", groups=2, padding_mode="wrap", bias=False)),
    Entry("Conv", lambda: jc.Conv(5, (3,), padding="causal", dilation=2), (2, 7, 4)),
    Entry("Conv", lambda: jc.Conv(3, 2, stride=2), (2, 4, 4, 4, 2)),
    Entry("Conv standardize_kernel", lambda: jc.Conv(3, 3, transform=jc.standardize_kernel)),
    Entry("Conv masked", lambda: jc.Conv(3, 3, transform=jc.masked(jnp.tri(3)[:, :, None, None]))),
    Entry("ConvTranspose", lambda: jc.ConvTranspose(6, 3, stride=2, groups=2, padding="same")),
    Entry("ConvTranspose", lambda: jc.ConvTranspose(3, (4,), stride=3, padding=1, output_padding=2), (2, 5, 4)),
    Entry("adjoint", lambda: jc.adjoint(jc.Conv(4, 3, stride=2), (1, 13, 12, 2)), (3, 6, 5, 4)),
    Entry("adjoint compose", lambda: tied(jc.Conv(3, 3, stride=2, padding=1), (1, 6, 5, 4))),
    Entry("DepthwiseConv", lambda: jc.DepthwiseConv(3, multiplier=2, padding="same")),
    Entry("SeparableConv", lambda: jc.SeparableConv(5, 3, middle=jnp.tanh)),
    Entry("SpatiallySeparableConv", lambda: jc.SpatiallySeparableConv(3, (3, 2), padding=((1, 0), (0, 1)), stride=2)),
    Entry("LocalConv", lambda: jc.LocalConv(2, 3, stride=2, padding="same")),
    Entry("Dense", lambda: jc.Dense(7), (3, 5)),
    Entry("MaxPool", lambda: jc.MaxPool(2)),
    Entry("AvgPool", lambda: jc.AvgPool(2, count_include_pad=True, padding=1)),
    Entry("LpPool", lambda: jc.LpPool(2, p=1.5)),
    Entry("L2Pool", lambda: jc.L2Pool(2)),
    Entry("AdaptiveAvgPool", lambda: jc.AdaptiveAvgPool(3)),
    Entry("AdaptiveMaxPool", lambda: jc.AdaptiveMaxPool(3)),
    Entry("BlurPool", lambda: jc.BlurPool()),
    Entry("Upsample", lambda: jc.Upsample(scale=1.5, mode="linear", align_corners=True)),
    Entry("SqueezeExcite", lambda: jc.SqueezeExcite(4, 2, activation=jnp.tanh)),
    Entry("ECA", lambda: jc.ECA()),
    Entry("CBAM", lambda: jc.CBAM(4, 2, kernel_size=3, activation=jnp.tanh)),
    Entry("CoordinateAttention", lambda: jc.CoordinateAttention(4, 8, activation=jnp.tanh), training_differs=True),
    Entry("AttentionPool", lambda: jc.AttentionPool(4, 2)),
    Entry("SPP", lambda: jc.SPP((3, 1))),
    Entry("ASPP", lambda: jc.ASPP(3, (1, 2), activation=jnp.tanh), training_differs=True),
    Entry("PPM", lambda: jc.PPM(2, (1, 2), activation=jnp.tanh), training_differs=True),
    Entry("StochasticPool", lambda: jc.StochasticPool(2), (3, 6, 5, 4), True, False),
    Entry("DeformConv", lambda: off_the_cells(jc.DeformConv(6, 3, padding="same", offset_groups=2, groups=2))),
    Entry("weight_norm", lambda: jc.weight_norm(jc.Conv(5, 3, stride=2))),
    Entry("weight_norm", lambda: jc.weight_norm(jc.ConvTranspose(3, 3, stride=2))),
    Entry("spectral_norm", lambda: jc.spectral_norm(jc.Conv(5, 3)), training_differs=True),
    Entry("BatchNorm", lambda: jc.BatchNorm(), training_differs=True),
    Entry("BatchNorm", lambda: jc.BatchNorm(group=2), (4, 3, 2, 4), True, False),
    Entry("GroupNorm", lambda: jc.GroupNorm(2)),
    Entry("LayerNorm", lambda: jc.LayerNorm()),
    Entry("InstanceNorm", lambda: jc.InstanceNorm()),
    Entry("RMSNorm", lambda: jc.RMSNorm()),
    Entry("LocalResponseNorm", lambda: jc.LocalResponseNorm(3)),
    Entry("Dropout", lambda: jc.Dropout(0.4), training_differs=True),
    Entry("SpatialDropout", lambda: jc.SpatialDropout(0.4), training_differs=True),
    Entry("DropPath", lambda: jc.DropPath(0.4), training_differs=True),
]

COMBINATORS = [
    Entry("chain", lambda: jc.chain(jc.Conv(4, 3), jnp.tanh, jc.flatten, head=jc.Dense(3))),
    Entry("residual", block, training_differs=True),
    Entry("branch", lambda: jc.branch(jc.Conv(2, 1), jc.Conv(3, 3, padding="same"), jnp.sin)),
    Entry("repeat", lambda: jc.repeat(block(), 3), training_differs=True),
    Entry("remat", lambda: jc.remat(block()), training_differs=True),
    Entry("cast", lambda: jc.cast(jc.chain(jc.Conv(4, 3), jc.BatchNorm()), jnp.float32), training_differs=True),
    Entry("backbone", lambda: jc.backbone(jc.chain(a=jc.Conv(4, 3), b=jnp.tanh, c=jc.flatten), upto="b")),
    Entry("replace", lambda: jc.replace(jc.chain(a=jc.Conv(4, 3), b=jnp.tanh), "b", jnp.sin)),
]

NOT_LAYERS = {
    "assume_channels_last",
    "fold_batch_norms",
    "freeze_statistics",
    "ghost_batch_norm",
    "reparameterize",
    "stateless",
}
TABLE = OPS + LAYERS + COMBINATORS
