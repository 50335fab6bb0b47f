"""JAX's strict settings, in which nothing is promoted silently: everything public can be traced under them."""

import jax
import jax.numpy as jnp
import optax
import pytest
from models.families import FAMILIES, small
from support.table import TABLE

import jaxconv as jc
from jaxconv import augment
from jaxconv.data import Batch
from jaxconv.engine import FORMULATIONS
from jaxconv.training import losses, metrics
from jaxconv.training.step import init_state, make_step

ARGUMENTS = {"shift": 2, "expand": 1, "rotate": 15, "affine": {"degrees": 10, "shear": 5}, "cutout": 3}
pytestmark = pytest.mark.sampled

LABELS = jnp.array([0, 1, 2, 0])


@pytest.fixture(autouse=True)
def _strict():
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield


def trace_gradient(net, x):
    """The types of a layer's gradients; nothing is compiled."""
    params, state = jax.eval_shape(lambda key: net.init(key, x), jax.random.key(0))

    def loss(params, state, x):
        y, _ = net.apply(params, state, x, key=jax.random.key(1), train=True)
        return sum(v.astype(jnp.float32).sum() for v in jax.tree.leaves(y))

    like = jax.ShapeDtypeStruct(x.shape, x.dtype)
    dparams, dx = jax.eval_shape(jax.grad(loss, (0, 2)), params, state, like)
    assert jax.tree.map(lambda v: (v.shape, v.dtype), dparams) == jax.tree.map(lambda v: (v.shape, v.dtype), params)
    assert (dx.shape, dx.dtype) == (x.shape, x.dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("entry", [pytest.param(entry, id=f"{entry.names}-{i}") for i, entry in enumerate(TABLE)])
def test_ops_and_layers(entry, dtype):
    trace_gradient(entry.layer, jax.ShapeDtypeStruct(entry.shape, dtype))


@pytest.mark.parametrize("impl", FORMULATIONS)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_formulations(impl, groups):
    """Lowered, because a formulation is traced where the primitive is lowered."""
    x, k = jnp.ones((2, 6, 6, 4), jnp.bfloat16), jnp.ones((3, 3, 4 // groups, 4), jnp.bfloat16)

    def loss(x, k):
        return jc.conv(x, k, groups=groups, stride=2, padding="same", impl=impl).astype(jnp.float32).sum()

    assert jax.jit(jax.grad(loss, (0, 1))).lower(x, k).as_text()


@pytest.mark.parametrize("name", FAMILIES)
def test_models(name):
    trace_gradient(small(name), jax.ShapeDtypeStruct(FAMILIES[name].shape, "float32"))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [*((name, ARGUMENTS.get(name, True)) for name in augment.registry), ("augmix", {"alpha": 0.5})],
    ids=str,
)
def test_augmentations(name, arguments, soft, dtype):
    batch = Batch(jnp.ones((4, 8, 8, 3), dtype), jax.nn.one_hot(LABELS, 3) if soft else LABELS, jnp.ones(4))
    run = augment.from_config({name: arguments}, num_classes=3)
    out = jax.eval_shape(run, jax.random.key(0), batch)
    assert out.image.shape == batch.image.shape


@pytest.mark.parametrize("words", [{}, {"average": 0.9}, {"scale_loss": True}, {"accumulate": 2}], ids=str)
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_training_steps(compute, words):
    net = jc.cast(jc.chain(jc.Conv(4, 3), jc.BatchNorm(), jax.nn.relu, jc.global_avg_pool, head=jc.Dense(3)), compute)
    step = make_step(net, optax.sgd(0.1, momentum=0.9), prepare=lambda x: x.astype(jnp.float32) / 255, **words)
    kept = {word: True for word in words if word in ("average", "scale_loss")}
    train = init_state(net, optax.sgd(0.1, momentum=0.9), jax.random.key(0), (1, 8, 8, 3), **kept)
    after, _ = jax.eval_shape(step, train, Batch(jnp.ones((4, 8, 8, 3), jnp.uint8), LABELS, jnp.ones(4)))
    assert jax.tree.map(lambda v: v.dtype, after.params) == jax.tree.map(lambda v: v.dtype, train.params)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_losses_and_metrics(dtype):
    logits, weights = jnp.eye(4, 3).astype(dtype), jnp.ones(4)
    assert metrics.accuracy(logits, LABELS, weights) == 1
    assert metrics.top_k(logits, LABELS, 2, weights) == 1
    assert metrics.confusion_matrix(logits, LABELS, weights).shape == (3, 3)
    assert metrics.calibration_error(jax.nn.softmax(logits), LABELS, weights=weights).shape == ()
    assert metrics.per_class(jnp.eye(3, dtype=int)).f1.tolist() == [1, 1, 1]
    assert losses.cross_entropy(logits, LABELS, weights, smoothing=0.1).shape == ()
    assert losses.binary_cross_entropy(logits, jax.nn.one_hot(LABELS, 3), weights).shape == ()
    assert losses.mean_squared_error(logits, jax.nn.one_hot(LABELS, 3), weights).shape == ()
