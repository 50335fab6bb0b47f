"""Progressive resizing: sizes of the stages against a loop of Composer's formula, images against torch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.torch_or_skip import F, torch

import jaxconv as jc
from jaxconv._base.errors import ConfigError
from jaxconv.data import Arrays, Batch
from jaxconv.training import Resident, fit, init_state, make_step
from jaxconv.training.progress import Compiled
from jaxconv.training.resizing import image_sizes, resize_to


@pytest.mark.parametrize(("delay", "tune", "increment"), [(0.5, 0.2, 4), (0.0, 0.5, 1), (0.3, 0.0, 8), (0.6, 0.4, 4)])
def test_sizes_of_each_step(delay, tune, increment):
    options = {"delay_fraction": delay, "finetune_fraction": tune, "size_increment": increment}
    found = image_sizes((24, 48), 97, initial_scale=0.4, **options)
    ends = [end for end, _ in found]
    assert ends == sorted(set(ends))
    assert ends[-1] == 97
    assert len({size for _, size in found}) == len(found)
    for step in range(97):  # of composer/algorithms/progressive_resizing
        grown = min((step / 97 - delay) / max(1 - tune - delay, 1e-9), 1.0) if step / 97 >= delay else 0.0
        scale = 0.4 + 0.6 * grown
        side = round(24 * scale / increment) * increment
        side = 24 if step / 97 >= 1 - tune else min(24, side)
        assert next(size for end, size in found if step < end) == (side, 2 * side), step


def test_small_and_large_runs():
    assert image_sizes((8, 8), 1) == [(1, (4, 4))]
    assert image_sizes((1, 1), 10) == [(10, (1, 1))]
    assert image_sizes((8, 8), 10, initial_scale=1.0) == [(10, (8, 8))]
    assert image_sizes((32, 32), 2**31 - 1)[-1] == (2**31 - 1, (32, 32))
    with pytest.raises(ConfigError, match=r"of at most 1 in all; got 0\.5, 4, 0\.7 and 0\.4"):
        image_sizes((8, 8), 10, delay_fraction=0.7, finetune_fraction=0.4)


def test_images_are_torchs(rng, assert_close):
    images = rng.integers(0, 256, (2, 8, 12, 3)).astype(np.uint8)
    batch = Batch(jnp.asarray(images), jnp.array([0, 1]), jnp.ones(2))
    found = resize_to(lambda key, batch: batch, (4, 6))(jax.random.key(0), batch)
    first = torch.tensor(images, dtype=torch.float32).permute(0, 3, 1, 2)
    expected = F.interpolate(first, (4, 6), mode="bilinear", antialias=True).permute(0, 2, 3, 1)
    assert_close(found.image, expected.numpy())


@pytest.mark.slow
def test_fit_changes_its_step_where_a_stage_ends(rng):
    """Stages of one run, resumed in each of them, end with the bits of the uninterrupted run."""
    net, tx = jc.chain(jc.Conv(4, 3, padding="same"), lambda x: x.mean((1, 2)), jc.Dense(3)), optax.sgd(0.5)
    source = Arrays(rng.integers(0, 256, (40, 8, 8, 1)).astype(np.uint8), rng.integers(0, 3, 40))
    seen = []

    def same(key, batch):
        return batch

    def recorded(images):
        seen.append(images.shape[1])
        return images / 255

    sizes = [(5, (4, 4)), (7, (6, 6)), (12, (8, 8))]
    stages = [(end, make_step(net, tx, augment=resize_to(same, size), prepare=recorded)) for end, size in sizes]
    events = []

    def trained(*ends):
        train = init_state(net, tx, jax.random.key(0), (1, 8, 8, 1))
        for end in ends:
            train = fit(stages, train, Resident(source, 8, 0), steps=end, report=events.append).final
        return train

    whole = trained(12)
    assert seen == [4, 6, 8]
    assert sum(isinstance(event, Compiled) for event in events) == 3
    for ends in [(3, 12), (5, 12), (6, 7, 12)]:
        jax.tree.map(np.testing.assert_array_equal, trained(*ends).params, whole.params)
    plain = init_state(net, tx, jax.random.key(0), (1, 8, 8, 1))
    for number, batch in enumerate(jc.training.shuffled_batches(source, 8, seed=0, steps=range(12))):
        step = next(step for end, step in stages if number < end)
        plain, _ = jax.jit(step)(plain, batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), plain.params, whole.params)
