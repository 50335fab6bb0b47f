"""Features of many images: nearest neighbors, principal components, t-SNE."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv import geometry
from jaxconv._base.errors import ShapeError, did_you_mean

__all__ = ["Components", "Neighbors", "nearest_neighbors", "principal_components", "tsne"]

METRICS = ("cosine", "euclidean")


class Neighbors(NamedTuple):
    """Nearest neighbors, the nearest first.

    Args:
      rows: int [M, k], of the features.
      distance: [M, k].
    """

    rows: jax.Array
    distance: jax.Array


class Components(NamedTuple):
    """Principal components.

    Args:
      projected: [N, k], the features along each component.
      directions: [k, D], orthonormal; the largest weight of each is positive.
      mean: [D].
      explained: [k], share of the variance.
    """

    projected: jax.Array
    directions: jax.Array
    mean: jax.Array
    explained: jax.Array


def nearest_neighbors(
    features: ArrayLike, queries: ArrayLike, k: int = 5, *, metric: Literal["cosine", "euclidean"] = "cosine"
) -> Neighbors:
    """The k rows of `features` nearest to each query.

    Args:
      features: [N, ...], features of images; further axes are flattened.
      queries: [M, ...], likewise. A query that is among the features is its own nearest neighbor.
      k: number of neighbors.
      metric: "cosine" (1 - cos of the angle; of a zero vector 1) or "euclidean".

    Returns:
      Neighbors, with ties in order of the rows.

    Raises:
      ShapeError: if the sizes differ, k is not in 1..N, or the metric is unknown.

    >>> nearest_neighbors(jnp.array([[1.0, 0.0], [0.0, 3.0]]), jnp.array([[1.0, 2.0]]), 1).rows
    Array([[1]], dtype=int32)
    """
    a, b = _rows(features, "features"), _rows(queries, "queries")
    if a.shape[1] != b.shape[1]:
        raise ShapeError("features and queries must have the same size", got=f"{a.shape[1]} and {b.shape[1]}")
    if geometry.integer(k, "k") > a.shape[0]:
        raise ShapeError(f"k must be at most the number of features, {a.shape[0]}", got=f"{k=}")
    if metric not in METRICS:
        raise ShapeError(
            f"metric must be one of {', '.join(METRICS)}", got=f"{metric!r}{did_you_mean(metric, METRICS)}"
        )
    product = jnp.matmul(b, a.T, precision="highest")
    squares = [(v**2).sum(-1) for v in (a, b)]
    if metric == "cosine":
        lengths = jnp.sqrt(squares[1])[:, None] * jnp.sqrt(squares[0])
        distance = 1 - product / jnp.where(lengths == 0, 1, lengths)
    else:
        distance = jnp.sqrt(jnp.maximum(squares[0] + squares[1][:, None] - 2 * product, 0))
    found, index = jax.lax.top_k(-distance, k)
    return Neighbors(index, -found)


def principal_components(features: ArrayLike, k: int = 2) -> Components:
    """Principal component analysis, by the singular value decomposition of the centered features.

    Args:
      features: [N, ...]; further axes are flattened to D.
      k: number of components.

    Returns:
      Components; new features v project to (v - mean) @ directions.T.

    Raises:
      ShapeError: if k is not in 1..min(N, D).

    >>> found = principal_components(jnp.array([[0.0, 0.0], [2.0, 0.1], [4.0, 0.0]]), 1)
    >>> found.projected.ravel().round(1), found.explained.round(2)
    (Array([-2.,  0.,  2.], dtype=float32), Array([1.], dtype=float32))
    """
    rows = _rows(features, "features")
    if geometry.integer(k, "k") > min(rows.shape):
        raise ShapeError(f"k must be at most min(N, D), {min(rows.shape)}", got=f"{k=} of {rows.shape}")
    mean = rows.mean(0)
    _, values, directions = jnp.linalg.svd(rows - mean, full_matrices=False)
    largest = jnp.take_along_axis(directions, jnp.abs(directions).argmax(1)[:, None], 1)
    directions = (directions * jnp.where(largest < 0, -1, 1))[:k]
    variance = values**2
    explained = variance[:k] / jnp.maximum(variance.sum(), jnp.finfo(rows.dtype).tiny)
    return Components(jnp.matmul(rows - mean, directions.T, precision="highest"), directions, mean, explained)


def tsne(features: ArrayLike, *, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """t-SNE: a map of features onto the plane that keeps near neighbors near, by scikit-learn.

    Args:
      features: [N, ...]; further axes are flattened.
      perplexity: about the number of neighbors of each point, below N.
      seed: of the layout, which starts at the principal components.

    Returns:
      float32 [N, 2]. Distances between far groups, and the sizes of groups, mean nothing.

    Raises:
      ShapeError: unless 1 ≤ perplexity < N.

    Source: van der Maaten and Hinton, Visualizing Data using t-SNE, 2008.

    >>> tsne(np.random.default_rng(0).normal(size=(12, 3)), perplexity=3).shape
    (12, 2)
    """
    from sklearn.manifold import TSNE

    rows = np.asarray(_rows(features, "features"))
    if not 1 <= perplexity < len(rows):
        raise ShapeError(f"perplexity must be at least 1 and below N, {len(rows)}", got=f"{perplexity=}")
    init = "pca" if rows.shape[1] > 1 else "random"
    return TSNE(perplexity=perplexity, random_state=seed, init=init).fit_transform(rows)


def _rows(features: ArrayLike, name: str) -> jax.Array:
    """Features [N, ...] as floats [N, D]."""
    array = jnp.asarray(features)
    if array.ndim < 2 or not array.size:
        raise ShapeError(f"{name} must be [N, ...], at least one", got=f"{array.shape}", kind="rank")
    array = array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.float32)
    return array.reshape(array.shape[0], -1)
