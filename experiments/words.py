"""The functions that `worded_nets.py` is written in, implemented in jaxconv, Flax NNX and torch."""

import functools
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp

import jaxconv as jc

LAYER_NORM_EPS = 1e-6
Words = SimpleNamespace
ACTIVATIONS = {"relu": jax.nn.relu, "relu6": jax.nn.relu6, "gelu": functools.partial(jax.nn.gelu, approximate=False)}


def jaxconv_words() -> Words:
    """The functions in jaxconv, for the small nets; input channels are inferred."""
    return Words(
        conv=lambda c_in, c_out, size, stride=1, padding=0, **more: (
            jc.Conv(c_out, size, stride=stride, padding=padding, **more)
        ),
        dense=lambda c_in, c_out: jc.Dense(c_out), max_pool=jc.MaxPool,
        batch_norm=lambda c: jc.BatchNorm(), layer_norm=lambda c: jc.LayerNorm(eps=LAYER_NORM_EPS),
        global_pool=jc.global_avg_pool, flatten=jc.flatten, chain=jc.chain, residual=jc.residual, **ACTIVATIONS,
    )  # fmt: skip


def residual_of(module: type) -> type:
    """Module class of body(x) + shortcut(x), or + x."""

    class Residual(module):
        def __init__(self, body: Any, shortcut: Any = None):
            super().__init__()
            self.body, self.shortcut = body, shortcut

        def __call__(self, x: Any) -> Any:
            return self.body(x) + (x if self.shortcut is None else self.shortcut(x))

    return Residual


def flax_words() -> Words:
    """The functions in Flax NNX."""
    from flax import nnx

    rngs = nnx.Rngs(0)

    def conv(c_in: int, c_out: int, size: int, stride: int = 1, padding: int = 0, groups: int = 1, bias: bool = True):
        options = {"padding": padding, "feature_group_count": groups, "use_bias": bias}
        return nnx.Conv(c_in, c_out, (size, size), stride, **options, rngs=rngs)

    def max_pool(n: int, stride: int | None = None, padding: int = 0):
        edges = ((padding, padding),) * 2
        return functools.partial(nnx.max_pool, window_shape=(n, n), strides=(stride or n,) * 2, padding=edges)

    class LayerScale(nnx.Module):
        def __init__(self, c: int, value: float):
            self.scale = nnx.Param(jnp.full(c, value))

        def __call__(self, x: Any) -> Any:
            return x * self.scale[...]

    return Words(
        conv=conv, dense=lambda c_in, c_out: nnx.Linear(c_in, c_out, rngs=rngs),
        batch_norm=lambda c: nnx.BatchNorm(c, momentum=0.9, rngs=rngs),
        layer_norm=lambda c: nnx.LayerNorm(c, epsilon=LAYER_NORM_EPS, rngs=rngs), layer_scale=LayerScale,
        dropout=lambda rate: nnx.Dropout(rate, rngs=rngs),
        drop_path=lambda rate: nnx.Dropout(rate, broadcast_dims=(1, 2, 3), rngs=rngs),
        max_pool=max_pool, global_pool=lambda x: x.mean((1, 2)), flatten=lambda x: x.reshape(len(x), -1),
        chain=nnx.Sequential, residual=residual_of(nnx.Module), **ACTIVATIONS,
    )  # fmt: skip


def torch_words() -> Words:
    """The words in torch. What acts on the last axis gets a view with the channels there."""
    import torch
    from torch import nn

    class OnChannels(nn.Module):
        def __init__(self, layer: nn.Module):
            super().__init__()
            self.layer = layer

        def forward(self, x: Any) -> Any:
            return self.layer(x.movedim(1, -1)).movedim(-1, 1)

    class LayerScale(nn.Module):
        def __init__(self, c: int, value: float):
            super().__init__()
            self.scale = nn.Parameter(torch.full((c, 1, 1), value))

        def forward(self, x: Any) -> Any:
            return x * self.scale

    class DropPath(nn.Module):
        def __init__(self, rate: float):
            super().__init__()
            self.rate = rate

        def forward(self, x: Any) -> Any:
            if not (self.training and self.rate):
                return x
            kept = x.new_empty(len(x), 1, 1, 1).bernoulli_(1 - self.rate)
            return x * kept.div_(1 - self.rate)

    return Words(
        conv=nn.Conv2d, dense=lambda c_in, c_out: OnChannels(nn.Linear(c_in, c_out)), max_pool=nn.MaxPool2d,
        batch_norm=nn.BatchNorm2d, layer_norm=lambda c: OnChannels(nn.LayerNorm(c, eps=LAYER_NORM_EPS)),
        layer_scale=LayerScale, dropout=nn.Dropout, drop_path=DropPath,
        global_pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), flatten=nn.Flatten(),
        chain=nn.Sequential, residual=residual_of(nn.Module),
        relu=nn.ReLU(inplace=True), relu6=nn.ReLU6(inplace=True), gelu=nn.GELU(),
    )  # fmt: skip
