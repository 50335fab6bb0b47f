"""Attributions by gradients with respect to the input."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv import geometry
from jaxconv._base.keys import check_key
from jaxconv._base.numeric import check_number
from jaxconv.explain.relu import guided
from jaxconv.explain.scores import Predict, Target, as_input, broadcast, fixed, input_gradient

__all__ = ["guided_backprop", "integrated_gradients", "saliency", "smooth_grad"]


def saliency(f: Predict, x: ArrayLike, target: Target = None) -> jax.Array:
    """Saliency map: max_c |∂s/∂x_c|, the largest gradient magnitude over the channels of each cell.

    Args:
      f: x -> class scores [N, K], such as `lambda x: net.apply(params, state, x)[0]`; any JAX function.
      x: [N, *spatial, C].
      target: a class, classes [N], a function from the outputs of f to scores [N], or None for the predicted class.

    Returns:
      [N, *spatial], at least 0.

    Raises:
      ShapeError: if f returns no class scores, or a class is out of range.

    Source: Simonyan et al., Deep Inside Convolutional Networks, 2013.

    >>> f = lambda x: jnp.stack([x[..., 0].sum((1, 2)), -2 * x[:, 0, 0, 1]], -1)
    >>> saliency(f, jnp.ones((1, 2, 2, 2)), target=1)
    Array([[[2., 0.],
            [0., 0.]]], dtype=float32)
    """
    return jnp.abs(input_gradient(f, as_input(x), target)).max(-1)


def smooth_grad(
    f: Predict, x: ArrayLike, target: Target = None, *, key: jax.Array, samples: int = 50, noise: float = 0.15
) -> jax.Array:
    """SmoothGrad: the mean gradient over noisy copies of the input, (1/n) Σ ∂s(x + ε)/∂x with ε ~ N(0, σ²).

    Args:
      f, x, target: as in `saliency`; the predicted class is that of x without noise.
      key: random key.
      samples: number of noisy copies, n; each is one forward and one backward pass.
      noise: σ as a fraction of max(x) - min(x) of each input.

    Returns:
      [N, *spatial, C], signed.

    Raises:
      ShapeError: as `saliency`; if samples < 1 or noise < 0.

    Source: Smilkov et al., SmoothGrad: Removing Noise by Adding Noise, 2017.

    >>> smooth_grad(lambda x: x.sum((1, 2)), jnp.ones((1, 2, 1)), key=jax.random.key(0)).ravel()
    Array([1., 1.], dtype=float32)
    """
    x, samples = as_input(x), geometry.integer(samples, "samples")
    check_number(noise, "noise", "noise must be a number ≥ 0", lambda noise: noise >= 0)
    target = fixed(f, x, target)
    axes = tuple(range(1, x.ndim))
    sigma = noise * (x.max(axes, keepdims=True) - x.min(axes, keepdims=True)) if x.size else jnp.zeros_like(x)

    def step(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        noisy = x + sigma * jax.random.normal(key, x.shape, x.dtype)
        return total + input_gradient(f, noisy, target), None

    return jax.lax.scan(step, jnp.zeros_like(x), jax.random.split(check_key(key), samples))[0] / samples


def integrated_gradients(
    f: Predict, x: ArrayLike, target: Target = None, *, baseline: ArrayLike = 0.0, steps: int = 50
) -> jax.Array:
    """Integrated gradients: (x - x') ∫ ∂s(x' + α(x - x'))/∂x dα over α in 0..1, by Gauss–Legendre quadrature.

    Completeness: the sum over an input is s(x) - s(x'), up to the error of the quadrature.

    Args:
      f, x, target: as in `saliency`; the predicted class is that of x.
      baseline: x', an input without information; broadcast to x. 0 is the mean of normalized images.
      steps: points of the quadrature; each is one forward and one backward pass.

    Returns:
      [N, *spatial, C], signed, in units of the score.

    Raises:
      ShapeError: as `saliency`; if steps < 1, or the baseline does not broadcast to x.

    Source: Sundararajan et al., Axiomatic Attribution for Deep Networks, 2017.

    >>> x = jnp.array([1.0, 3.0]).reshape(1, 2, 1)
    >>> integrated_gradients(lambda x: (x**2).sum((1, 2)), x).ravel().round(3)
    Array([1., 9.], dtype=float32)
    """
    x, steps = as_input(x), geometry.integer(steps, "steps")
    origin = broadcast(baseline, x, "baseline")
    target = fixed(f, x, target)
    places, weights = np.polynomial.legendre.leggauss(steps)

    def step(total: jax.Array, point: Any) -> tuple[jax.Array, None]:
        place, weight = point
        return total + weight * input_gradient(f, origin + place * (x - origin), target), None

    points = jnp.asarray((places + 1) / 2, x.dtype), jnp.asarray(weights / 2, x.dtype)
    return (x - origin) * jax.lax.scan(step, jnp.zeros_like(x), points)[0]


def guided_backprop(f: Predict, x: ArrayLike, target: Target = None) -> jax.Array:
    """Guided backpropagation: the gradient whose negative parts are set to 0 at every ReLU on the way back.

    At y = max(x, 0), the gradient g of y becomes g·[x > 0]·[g > 0]. ReLUs are found in the traced program of f:
    `jax.nn.relu`, `jax.nn.relu6` and `jnp.maximum(x, 0)`, in the layers of any library.

    Args:
      f, x, target: as in `saliency`.

    Returns:
      [N, *spatial, C], signed. It resembles the edges of the image whatever the class is, see Adebayo et al., Sanity
      Checks for Saliency Maps, 2018.

    Raises:
      ShapeError: as `saliency`; if f has no ReLU.

    Source: Springenberg et al., Striving for Simplicity: The All Convolutional Net, 2014.

    >>> f = lambda x: -jax.nn.relu(x[:, 0]) + jax.nn.relu(2 * x[:, 1])
    >>> guided_backprop(f, jnp.ones((1, 2, 1)), lambda y: y[:, 0]).ravel()
    Array([0., 2.], dtype=float32)
    """
    return input_gradient(guided(f), as_input(x), target)
