"""Nearest neighbors, principal components and t-SNE: equal to scikit-learn's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.explain import nearest_neighbors, principal_components, tsne


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("jitted", [pytest.param(False, marks=pytest.mark.slow), True])
def test_neighbors_equal_scikit_learns(metric, jitted, rng):
    neighbors = pytest.importorskip("sklearn.neighbors")
    features, queries = rng.normal(size=(37, 3, 4)).astype(np.float32), rng.normal(size=(5, 3, 4)).astype(np.float32)

    def find(a, b):
        return nearest_neighbors(a, b, 6, metric=metric)

    got = (jax.jit(find) if jitted else find)(features, queries)
    fitted = neighbors.NearestNeighbors(n_neighbors=6, metric=metric).fit(features.reshape(37, -1))
    distance, rows = fitted.kneighbors(queries.reshape(5, -1))
    np.testing.assert_array_equal(got.rows, rows)
    np.testing.assert_allclose(got.distance, distance, rtol=1e-4)


@pytest.mark.slow
def test_a_query_among_the_features_and_zero_vectors():
    features = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]], np.float32)
    for metric in ("cosine", "euclidean"):
        found = nearest_neighbors(features, features[[0, 2]], 1, metric=metric)
        np.testing.assert_array_equal(found.rows.ravel(), [0, 2])
        np.testing.assert_allclose(found.distance, 0, atol=1e-6)
    zero = nearest_neighbors(features, np.zeros((1, 2)), 3)
    np.testing.assert_array_equal(zero.distance, [[1, 1, 1]])
    np.testing.assert_array_equal(zero.rows, [[0, 1, 2]])
    assert nearest_neighbors(np.array([[1, 2], [3, 4]], np.uint8), np.array([[3, 3]], np.uint8), 1).rows.shape == (1, 1)


@pytest.mark.parametrize("shape", [(40, 7), (6, 30), (20, 2, 3)])
def test_components_equal_scikit_learns(shape, rng, x64):
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = rng.normal(size=shape) * np.linspace(1, 5, shape[-1])
    k = min(3, shape[0])
    got = jax.jit(lambda x: principal_components(x, k))(x)
    rows = x.reshape(shape[0], -1)
    pca = decomposition.PCA(k, svd_solver="full").fit(rows)
    signs = np.sign((np.asarray(got.directions) * pca.components_).sum(1))
    np.testing.assert_allclose(got.directions, pca.components_ * signs[:, None], atol=1e-9)
    np.testing.assert_allclose(got.projected, pca.transform(rows) * signs, atol=1e-9)
    np.testing.assert_allclose(got.explained, pca.explained_variance_ratio_, atol=1e-12)
    new = rng.normal(size=(2, rows.shape[1]))
    np.testing.assert_allclose((new - got.mean) @ got.directions.T, pca.transform(new) * signs, atol=1e-9)
    assert (np.take_along_axis(got.directions, np.abs(got.directions).argmax(1)[:, None], 1) > 0).all()


def test_equal_features_explain_nothing():
    found = principal_components(np.ones((4, 3), np.float32), 2)
    np.testing.assert_array_equal(found.projected, np.zeros((4, 2)))
    np.testing.assert_array_equal(found.explained, [0, 0])


@pytest.mark.slow
def test_tsne_separates_groups(rng):
    pytest.importorskip("sklearn")
    groups = np.repeat(np.eye(3), 15, 0)[:, None] * 20 + rng.normal(size=(45, 1, 3))
    found = tsne(groups, perplexity=10)
    assert found.shape == (45, 2)
    centers = found.reshape(3, 15, 2).mean(1)
    nearest = np.linalg.norm(found[:, None] - centers, axis=-1).argmin(1)
    np.testing.assert_array_equal(nearest, np.repeat(range(3), 15))
    np.testing.assert_array_equal(found, tsne(groups, perplexity=10))
    assert tsne(groups[..., :1], perplexity=10).shape == (45, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: nearest_neighbors(x, x[:, :2]), "features and queries must have the same size\n  got: 3 and 2"),
        (lambda x: nearest_neighbors(x, x, 5), "k must be at most the number of features, 4\n  got: k=5"),
        (lambda x: nearest_neighbors(x, x, 0), "k must be ≥ 1\n  got: k=0"),
        (lambda x: nearest_neighbors(x, x, 1, metric="cosin"),
         "metric must be one of cosine, euclidean\n  got: 'cosin'; did you mean 'cosine'?"),
        (lambda x: nearest_neighbors(x[0], x), "features must be [N, ...], at least one\n  got: (3,)"),
        (lambda x: nearest_neighbors(x, x[:0]), "queries must be [N, ...], at least one\n  got: (0, 3)"),
        (lambda x: principal_components(x, 4), "k must be at most min(N, D), 3\n  got: k=4 of (4, 3)"),
        (lambda x: tsne(x, perplexity=4.0), "perplexity must be at least 1 and below N, 4\n  got: perplexity=4.0"),
    ],
)  # fmt: skip
def test_messages(call, message):
    if "perplexity" in message:
        pytest.importorskip("sklearn")
    with pytest.raises(jc.ShapeError) as caught:
        call(jnp.ones((4, 3)))
    assert str(caught.value) == message
