"""The step that a config makes: precision, groups of statistics, and what cannot be trained."""

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from support.digits_run import settings

from jaxconv import run
from jaxconv._base.errors import ConfigError
from jaxconv.data import Batch


@pytest.mark.slow
def test_narrow_types_train_as_well_as_float32(tmp_path):
    results = {}
    for compute in ("float32", "bfloat16", "float16"):
        wanted = settings(f"precision.compute={compute}", "data.validation=200", "train.epochs=3")
        results[compute] = run.train(wanted, tmp_path / compute)
        trained = load_file(tmp_path / compute / "params.safetensors")
        assert all(value.dtype == np.float32 for value in trained.values())
    for part in ("test_accuracy", "validation_accuracy"):
        wide = results["float32"][part]
        assert wide > 0.65
        assert all(abs(result[part] - wide) < 0.1 for result in results.values()), (part, results)


def test_the_precision_of_products_reaches_the_step(tmp_path):
    from jaxconv.run.build import matmul_precision

    with matmul_precision(settings('precision.matmul="highest"').precision):
        assert jax.config.jax_default_matmul_precision == "highest"
    with (
        pytest.raises(ConfigError, match=r"^precision\.matmul: "),
        matmul_precision(settings('precision.matmul="hi"').precision),
    ):
        pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.batch_size=1439", "train.batch_size must be at most 1,438, the training images; got 1,439"),
        (
            "train.epochs=1e9",
            "train.epochs must take at most 2,147,483,647 steps; got 1e+09, which take 29,958,333,334",
        ),
        ("optim.accumulate=5", "optim.accumulate must divide train.batch_size; got 5 and 48"),
        ("train.norm_group=5", "train.norm_group must divide train.batch_size; got 5 and 48"),
    ],
)
def test_steps_that_cannot_be_taken(change, message):
    with pytest.raises(ConfigError) as caught:
        run.build(settings(change))
    assert str(caught.value) == message


def test_a_norm_group_that_cannot_be():
    with pytest.raises(ConfigError) as caught:
        run.build(settings("train.norm_group=16", "optim.accumulate=2"))
    assert str(caught.value) == "train.norm_group must divide the images of a micro-batch; got 16 and 24"
    with pytest.raises(ConfigError) as caught:
        run.build(settings("train.norm_group=16", "net.batch_norm=false"))
    assert str(caught.value) == "train.norm_group needs a net with batch norms; got net.name=conv_pool"


@pytest.mark.slow
def test_a_norm_group_divides_the_statistics_of_a_batch():
    """Running variances of groups are smaller, by the variance of the groups' means; one group is the batch."""

    def variance(*overrides):
        inputs, _, training = run.build(settings("net.dropout=0.0", *overrides))
        train, images = training.start(), inputs.train
        batch = Batch(images.images[:48], images.labels[:48], np.ones(48, np.float32))
        return jax.jit(training.step)(train, batch)[0].state["batch_norm0"]["var"]

    whole, groups, one = variance(), variance("train.norm_group=4"), variance("train.norm_group=48")
    assert (groups < whole).all()
    np.testing.assert_allclose(one, whole, rtol=1e-6)


def test_float16_scales_its_loss():
    from jaxconv.training.loss_scale import LossScale, rescaled

    scale = LossScale(jax.numpy.float32(8), jax.numpy.int32(3))
    assert (float(rescaled(scale, False).scale), int(rescaled(scale, False).good)) == (4, 0)
    assert (float(rescaled(scale, True).scale), int(rescaled(scale, True).good)) == (8, 4)
    grown = rescaled(LossScale(jax.numpy.float32(8), jax.numpy.int32(1999)), True)
    assert (float(grown.scale), int(grown.good)) == (16, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), [("autoencoder", "[1, 8, 8, 1]"), ("unet", "[1, 8, 8, 10]")])
def test_a_net_without_logits_is_refused_before_anything_is_written(tmp_path, name, shape):
    net = f'[net]\nname = "{name}"\n' + ('padding = "same"\ndepth = 2\nwidth = 2\n' if name == "unet" else "")
    rest = '[optim]\nname = "sgd"\nlearning_rate = 0.1\n[train]\nepochs = 1\nbatch_size = 8\n'
    with pytest.raises(ConfigError) as caught:
        run.train(settings(text=f'[data]\nname = "digits"\n{net}{rest}'), tmp_path / "never")
    assert str(caught.value) == (
        f"net.name: a net that is trained must return a logit for each class, [N, 10]; "
        f"of one image {name} returns {shape}"
    )
    assert not (tmp_path / "never").exists()
