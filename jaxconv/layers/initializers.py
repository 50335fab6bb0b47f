"""Initializers: (key, shape, dtype) -> array, with the correct fan of every kind of kernel.

Any of `jax.nn.initializers` works, too. These differ in two ways: they know the fan of grouped, depthwise, transposed
and unshared kernels, and they sample in chunks of a fixed size, so that random sampling compiles once per net instead
of once per shape (0.2 to 0.7 s each on a CPU).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.compat import Tracer
from jaxconv._base.errors import ShapeError
from jaxconv._base.keys import check_key

__all__ = [
    "Initializer", "Normal", "Orthogonal", "VarianceScaling", "dirac", "glorot_normal", "glorot_uniform", "he_normal",
    "he_uniform", "lecun_normal", "lecun_uniform", "ones", "orthogonal", "zeros",
]  # fmt: skip

Initializer = Callable[..., jax.Array]
CHUNK = 1 << 14
_MANY = 1 << 20  # chunks
_COUNTABLE = 1 << 48  # numbers, a petabyte
TRUNCATED = 0.87962566103423978  # standard deviation of a unit normal cut off at ±2


@functools.partial(jax.jit, static_argnames="normal")
def _chunk(key: jax.Array, index: Any, normal: bool) -> jax.Array:
    """CHUNK samples of mean 0 and variance 1: truncated normal (±2 standard deviations) or uniform."""
    key = jax.random.fold_in(key, index)
    if normal:
        return jax.random.truncated_normal(key, -2, 2, (CHUNK,), jnp.float32) / TRUNCATED
    return jax.random.uniform(key, (CHUNK,), jnp.float32, -math.sqrt(3), math.sqrt(3))


def _draw(key: jax.Array, shape: Sequence[int], normal: bool) -> Any:
    """Samples of mean 0 and variance 1; the same whether traced (vmap, jit) or not."""
    check_key(key)
    size = _size(shape)
    chunks = max(-(-size // CHUNK), 1)
    # Tracing for shapes must not allocate memory, and a short iota would compile for every length.
    indices: Any = jax.lax.iota(jnp.uint32, chunks) if chunks > _MANY else np.arange(chunks, dtype=np.uint32)
    first = _chunk(key, np.uint32(0), normal)
    if isinstance(first, Tracer):
        flat = jax.vmap(lambda i: _chunk(key, i, normal))(indices).reshape(-1)
    else:
        flat = np.concatenate([first, *(_chunk(key, i, normal) for i in indices[1:])])
    return flat[:size].reshape(shape)


@dataclasses.dataclass(frozen=True)
class VarianceScaling:
    """Weights of mean 0 and variance `scale` / fan.

    Attributes:
      scale: 2 keeps the variance through a ReLU (He), 1 through a linear layer (LeCun, Glorot).
      fan: "in", "out" or "avg": number of weights per output, per input, or their mean.
      normal: truncated normal (±2 standard deviations) if True, uniform if False.

    >>> VarianceScaling(2, "in")(jax.random.key(0), (3, 3, 16, 32)).std().round(3)
    Array(0.119, dtype=float32)
    """

    scale: float
    fan: str
    normal: bool = True

    def __post_init__(self) -> None:
        if self.fan not in ("in", "out", "avg") or not self.scale > 0:
            raise ShapeError(
                'VarianceScaling needs a scale > 0 and fan "in", "out" or "avg"', got=f"{self.scale}, {self.fan!r}"
            )

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        """Sample a kernel of shape [*k, C_in, C_out]."""
        if len(shape) < 2:
            raise ShapeError("a fan needs a shape [*k, C_in, C_out]", got=f"{tuple(shape)}", fix="initializers.zeros")
        taps = math.prod(shape[:-2])
        return self.scaled(key, shape, taps * shape[-2], taps * shape[-1], dtype)

    def scaled(self, key: Any, shape: Sequence[int], fan_in: float, fan_out: float, dtype: Any) -> jax.Array:
        """Sample an array of any shape for given fans."""
        fan = {"in": fan_in, "out": fan_out, "avg": (fan_in + fan_out) / 2}[self.fan]
        deviation = np.float32(math.sqrt(self.scale / max(fan, 1)))
        weights: jax.Array = jax.device_put((_draw(key, shape, self.normal) * deviation).astype(dtype))
        return weights


he_normal: VarianceScaling = VarianceScaling(2, "in")
he_uniform: VarianceScaling = VarianceScaling(2, "in", normal=False)
lecun_normal: VarianceScaling = VarianceScaling(1, "in")
lecun_uniform: VarianceScaling = VarianceScaling(1, "in", normal=False)
glorot_normal: VarianceScaling = VarianceScaling(1, "avg")
glorot_uniform: VarianceScaling = VarianceScaling(1, "avg", normal=False)


@dataclasses.dataclass(frozen=True)
class Normal:
    """Weights of mean 0 and a fixed standard deviation, independent of the fan.

    Attributes:
      deviation: standard deviation of the weights, a normal truncated at ±2 (the truncation is corrected for).

    >>> Normal(0.02)(jax.random.key(0), (3, 3, 16, 32)).std().round(3)
    Array(0.02, dtype=float32)
    """

    deviation: float

    def __post_init__(self) -> None:
        if not self.deviation > 0:
            raise ShapeError("Normal needs a standard deviation > 0", got=f"{self.deviation}")

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        """Sample an array of any shape."""
        weights: jax.Array = jax.device_put((_draw(key, shape, True) * np.float32(self.deviation)).astype(dtype))
        return weights

    def scaled(self, key: Any, shape: Sequence[int], fan_in: float, fan_out: float, dtype: Any) -> jax.Array:
        """Sample a kernel; the fans are ignored."""
        return self(key, shape, dtype)


def zeros(key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Zeros, without compilation.

    >>> zeros(None, (2,))
    Array([0., 0.], dtype=float32)
    """
    return _filled(0, shape, dtype)


def ones(key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Ones, without compilation.

    >>> ones(None, (2,))
    Array([1., 1.], dtype=float32)
    """
    return _filled(1, shape, dtype)


def _filled(value: int, shape: Sequence[int], dtype: Any) -> jax.Array:
    """A constant array: jnp.full would compile for every shape, and np.full allocate memory under tracing."""
    _size(shape)
    filled: jax.Array = jax.device_put(np.broadcast_to(np.array(value, dtype), shape))
    return filled


def _size(shape: Sequence[int]) -> int:
    size = math.prod(shape)
    if size > _COUNTABLE:
        raise MemoryError(f"no memory holds a parameter of shape {tuple(shape)}")
    return size


@dataclasses.dataclass(frozen=True)
class Orthogonal:
    """Orthonormal feature maps times `scale` (orthonormal rows if there are more feature maps than weights in each).

    Source: Saxe et al., Exact solutions to the nonlinear dynamics of learning, 2013.

    >>> k = orthogonal(jax.random.key(0), (3, 3, 2, 4)).reshape(18, 4)
    >>> bool(jnp.allclose(k.T @ k, jnp.eye(4), atol=1e-5))
    True
    """

    scale: float = 1.0

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        return jax.nn.initializers.orthogonal(self.scale)(key, shape, dtype)


orthogonal: Orthogonal = Orthogonal()


def dirac(key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Identity kernel: the center tap passes channel i to feature map i; further feature maps are zero.

    Args:
      key: unused.
      shape: [*k, C_in, C_out].

    Raises:
      ShapeError: if the kernel is even: it has no center.

    >>> dirac(None, (3, 1, 1)).ravel()
    Array([0., 1., 0.], dtype=float32)
    """
    if len(shape) < 3:
        raise ShapeError("dirac needs a kernel's shape [*k, C_in, C_out]", got=f"{tuple(shape)}")
    if any(k % 2 == 0 for k in shape[:-2]):
        raise ShapeError("dirac needs odd kernel sizes: an even kernel has no center", got=f"{tuple(shape)}")
    middle = tuple(k // 2 for k in shape[:-2])
    kernel = np.zeros(shape, dtype)
    kernel[middle] = np.eye(shape[-2], shape[-1])
    placed: jax.Array = jax.device_put(kernel)
    return placed


def draw_kernel(
    init: Initializer, key: Any, size: Sequence[int], c_in: int, features: int, groups: int, dtype: Any
) -> jax.Array:
    """Sample a convolution kernel [*size, c_in/groups, features] with the fans of one group.

    >>> draw_kernel(he_normal, jax.random.key(0), (3, 3), 8, 16, 4, jnp.float32).shape
    (3, 3, 2, 16)
    """
    one = (*size, c_in // groups, features // groups)
    if isinstance(init, VarianceScaling | Normal):
        taps = math.prod(size)
        return init.scaled(key, (*one[:-1], features), taps * one[-2], taps * one[-1], dtype)
    if groups == 1:
        return init(key, one, dtype)
    return jnp.moveaxis(_groups(init, key, groups, one, dtype), 0, -2).reshape(*one[:-1], features)


def draw_transposed(
    init: Initializer,
    key: Any,
    size: Sequence[int],
    stride: Sequence[int],
    c_in: int,
    features: int,
    groups: int,
    dtype: Any,
) -> jax.Array:
    """Sample a kernel [*size, features/groups, c_in] for `conv_transpose` from c_in channels to `features`.

    Fan-in of an output cell: c_in/groups channels times k/stride taps per axis, since a stride spreads the input cells.
    """
    one = (*size, c_in // groups, features // groups)
    if isinstance(init, VarianceScaling | Normal):
        seen = math.prod(k / min(k, s) for k, s in zip(size, stride, strict=True))
        return init.scaled(key, (*size, one[-1], c_in), seen * one[-2], math.prod(size) * one[-1], dtype)
    kernels = jnp.swapaxes(_groups(init, key, groups, one, dtype), -1, -2)
    return jnp.moveaxis(kernels, 0, -2).reshape(*size, one[-1], c_in)


def draw_unshared(
    init: Initializer, key: Any, out: Sequence[int], size: Sequence[int], c_in: int, features: int, dtype: Any
) -> jax.Array:
    """Sample a kernel [*out, *size, c_in, features]: one convolution kernel for each position."""
    one, taps = (*size, c_in, features), math.prod(size)
    if isinstance(init, VarianceScaling | Normal):
        return init.scaled(key, (*out, *one), taps * c_in, taps * features, dtype)
    return _groups(init, key, math.prod(out), one, dtype).reshape(*out, *one)


def _groups(init: Initializer, key: Any, n: int, shape: Sequence[int], dtype: Any) -> jax.Array:
    """Sample n kernels independently: [n, *shape]."""
    return jax.vmap(lambda k: init(k, shape, dtype))(jax.random.split(key, n))


def check_initializer(init: Initializer, name: str) -> Initializer:
    """`init` if it is callable; raises ShapeError otherwise."""
    if not callable(init):
        fix = f"jaxconv.initializers.{init}" if isinstance(init, str) and init in globals() else ""
        raise ShapeError(f"{name} must be a function (key, shape, dtype) -> array", got=f"{name}={init!r}", fix=fix)
    return init


def __dir__() -> list[str]:
    return sorted(__all__)
