"""One table of all augmentations, and one contract for all of them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv._base.errors import ShapeError
from jaxconv.augment import compose, from_config, random_choice, registry, sometimes
from jaxconv.data import Batch

pytestmark = pytest.mark.sampled

CLASSES = 4
TABLE = {
    "flip": 0.5,
    "shift": 1,
    "expand": 1,
    "random_resized_crop": 0.3,
    "rotate": 30,
    "affine": {"degrees": 10, "scale": [0.8, 1.2], "shear": [10, 5], "translate": 0.1},
    "perspective": 0.5,
    "elastic": {"alpha": 4, "sigma": 1},
    "color_jitter": 0.5,
    "grayscale": 0.5,
    "invert": 0.5,
    "posterize": 2,
    "solarize": 0.5,
    "autocontrast": 0.5,
    "equalize": 0.5,
    "sharpness": 0.9,
    "gaussian_blur": {"sigma": [0.5, 1.5]},
    "gaussian_noise": 0.2,
    "trivial_augment": True,
    "rand_augment": 20,
    "augmix": True,
    "cutout": 3,
    "random_erasing": 0.9,
    "mixup": 1.0,
    "cutmix": 1.0,
}
COLORED = {"grayscale"}  # take 1 or 3 channels
FLOATING, SOFT = {"color_jitter", "mixup"}, {"mixup", "cutmix"}


def make(name):
    return from_config({name: TABLE[name]}, num_classes=CLASSES)


def test_the_table_is_whole():
    assert {"repeat", *TABLE} == set(registry)  # it draws nothing


@pytest.mark.parametrize("name", TABLE)
def test_contract(name, quick_jit, batch_of):
    batch = batch_of((1, 17, 16, 3))  # fewer pixels have no histogram to equalize
    batch = Batch(np.repeat(batch.image, 40, 0), np.arange(40, dtype=np.int32) % CLASSES, np.ones(40, np.float32))
    if name in SOFT:  # a partner that looks the same leaves nothing to see
        batch = batch._replace(image=batch_of((40, 17, 16, 3)).image)
    augment = quick_jit(make(name))
    first, again, other = (augment(jax.random.key(k), batch) for k in (0, 0, 1))
    assert isinstance(first, Batch)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first.image, other.image)
    assert first.image.shape == batch.image.shape
    assert first.image.dtype == (np.float32 if name in FLOATING else np.uint8)
    np.testing.assert_array_equal(first.weight, batch.weight)
    if name in SOFT:
        assert (first.label.shape, first.label.dtype) == ((40, CLASSES), np.float32)
        np.testing.assert_allclose(first.label.sum(-1), 1, rtol=1e-6)
    else:
        np.testing.assert_array_equal(first.label, batch.label)
        assert len(np.unique(first.image, axis=0)) > 1, "all images made the same draw"


def mostly_slow(*quick):
    return [pytest.param(name, marks=[pytest.mark.slow] * (name not in quick)) for name in TABLE]


@pytest.mark.parametrize("name", mostly_slow("shift", "affine", "cutmix"))
def test_an_ensemble_member_equals_its_lone_run(name, quick_jit, batch_of):
    batch, keys = batch_of((9, 6, 5, 3)), jax.random.split(jax.random.key(7), 3)
    augment, ensemble = quick_jit(make(name)), quick_jit(jax.vmap(make(name), in_axes=(0, None)))
    members = ensemble(keys, batch)
    for member, key in enumerate(keys):
        alone = augment(key, batch)
        error = np.abs(np.asarray(members.image[member], np.float64) - np.asarray(alone.image, np.float64))
        assert error.max() <= (1 if alone.image.dtype == np.uint8 else 1e-3)
        assert (error > 1e-3).mean() < 1e-3  # a rounding may fall the other way, and rarely
        np.testing.assert_allclose(members.label[member], alone.label, rtol=1e-5)


@pytest.mark.parametrize("name", mostly_slow("flip"))
def test_eager_equals_jit(name, quick_jit, batch_of):
    batch = batch_of((6, 5, 7, 3), np.float32)
    eager, compiled = (f(jax.random.key(0), batch) for f in (make(name), quick_jit(make(name))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), eager, compiled)


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("shape", [(0, 5, 7, 3), (2, 1, 1, 1), (3, 4, 5, 4)])
def test_shapes_and_types(name, dtype, shape):
    shape = (*shape[:3], min(shape[3], 3)) if name in COLORED else shape
    n = shape[0]
    given = Batch(*(jax.ShapeDtypeStruct(s, t) for s, t in ((shape, dtype), ((n,), jnp.int32), ((n,), jnp.float32))))
    result = jax.eval_shape(make(name), jax.random.key(0), given)
    assert (result.image.shape, result.image.dtype) == (shape, jnp.float32 if name in FLOATING else dtype)
    assert result.label.shape == ((n, CLASSES) if name in SOFT else (n,))
    assert result.weight == given.weight


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(0, 3, 3, 1), (5, 1, 1, 1)])
def test_all_of_them_on_no_images_and_on_single_pixels(quick_jit, batch_of, shape):
    result = quick_jit(from_config(TABLE, num_classes=CLASSES))(jax.random.key(0), batch_of(shape))
    assert result.image.shape == shape
    assert ((result.image >= 0) & (result.image <= 255)).all()
    assert np.isfinite(result.label).all()


def test_the_values_of_64_bit_mode_keep_their_types(x64, batch_of):
    batch = batch_of((3, 4, 4, 3), np.float64)
    for name in TABLE:
        result = jax.eval_shape(make(name), jax.random.key(0), batch)
        assert result.image.dtype == np.float64, name
        assert result.label.dtype == (np.float32 if name in SOFT else np.int32), name


@pytest.mark.parametrize("name", TABLE)
def test_what_is_no_batch_of_images_is_refused(name):
    key, images = jax.random.key(0), jnp.zeros([2, 4, 4, 1])
    with pytest.raises(ShapeError) as caught:
        make(name)(key, images)
    assert str(caught.value) == (
        f"{name} takes a Batch\n  got: an array [2, 4, 4, 1]\n  fix: jaxconv.data.Batch(image, label, weight)"
    )
    with pytest.raises(ShapeError) as caught:
        make(name)(key, Batch(images[0], jnp.zeros(2, int), jnp.ones(2)))
    assert str(caught.value) == f"{name} takes images [N, H, W, C]\n  got: [4, 4, 1]"


@pytest.mark.parametrize("wrap", [compose, random_choice, lambda augment: sometimes(augment, 0.5)])
def test_combinations_name_what_refuses(wrap):
    with pytest.raises(ShapeError, match=re.escape("takes a Batch\n  got: NoneType")):
        wrap(make("flip"))(jax.random.key(0), None)
