"""Old names still work for one release, under a warning; the new ones warn of nothing."""

import inspect
import warnings

import jax
import numpy as np
import pytest

import jaxconv as jc
from jaxconv._base.errors import ConfigError
from jaxconv.augment import augment_problems
from jaxconv.models import registry
from jaxconv.models._registry import make_net, net_problems, with_defaults

X = np.arange(5 * 5 * 2, dtype=np.float32).reshape(1, 5, 5, 2)
KERNEL = np.ones((3, 3, 2, 2), np.float32)
CALLS = {
    "conv": (lambda **w: jc.conv(X, KERNEL, padding=1, **w), {"pad_mode": "edge"}, {"padding_mode": "edge"}),
    "pad": (
        lambda **w: jc.pad(X, "same", **w),
        {"size": 3, "pad_mode": "wrap"}, {"kernel_size": 3, "padding_mode": "wrap"},
    ),
    "max_pool": (lambda **w: jc.max_pool(X, **w), {"size": 2, "ceil": True}, {"kernel_size": 2, "ceil_mode": True}),
    "avg_pool": (
        lambda **w: jc.avg_pool(X, 3, padding=1, **w), {"count_padding": True}, {"count_include_pad": True},
    ),
    "Conv": (
        lambda **w: jc.Conv(2, **w).init(jax.random.key(0), X)[0]["kernel"], {"size": 3}, {"kernel_size": 3},
    ),
    "MaxPool": (lambda **w: jc.MaxPool(**w).apply({}, {}, X)[0], {"size": 2}, {"kernel_size": 2}),
}  # fmt: skip
NAMES = {
    "features": jc.backbone, "wire": jc.compose, "standardise_kernel": jc.standardize_kernel, "freeze": jc.optim.freeze,
    "partition": jc.optim.partition, "slow": jc.optim.scale_lr,
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_an_old_argument_is_the_new_one_under_a_warning(name):
    call, old, new = CALLS[name]
    with pytest.warns(DeprecationWarning, match="is now called") as caught:
        got = call(**old)
    assert [str(w.message) for w in caught] == [f"{name}: {a} is now called {b}" for a, b in zip(old, new, strict=True)]
    line = call.__code__.co_firstlineno
    assert all(w.filename == __file__ and line <= w.lineno <= line + 1 for w in caught), "the caller's line"
    np.testing.assert_array_equal(got, call(**new))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(TypeError, match="once"):
            call(**old, **new)


@pytest.mark.parametrize("name", NAMES)
def test_an_old_function_is_the_new_one_under_a_warning(name):
    with pytest.warns(DeprecationWarning, match=f"jaxconv.{name} is now jaxconv."):
        assert getattr(jc, name) is NAMES[name]
    assert name not in dir(jc)


def test_the_optimizers_old_arguments():
    with pytest.warns(DeprecationWarning, match="optimizer: clip_norm is now called max_grad_norm"):
        jc.optim.optimizer("sgd", 0.1, steps=1, clip_norm=1.0)
    with pytest.warns(DeprecationWarning, match="optimizer: rates is now called lr_multipliers"):
        jc.optim.optimizer("sgd", 0.1, steps=1, rates={"*": 0.5})


def test_every_model_takes_classes_for_one_release():
    for name, function in registry.items():
        if name == "autoencoder":
            continue
        assert function.renamed["classes"] == "num_classes", name
        assert "classes" not in inspect.signature(function).parameters
    with pytest.warns(DeprecationWarning, match="lenet5: classes is now called num_classes"):
        assert repr(jc.models.lenet5(classes=3)) == repr(jc.models.lenet5(num_classes=3))


def test_every_model_with_a_backbone_takes_features_for_one_release():
    channels = {"conv_pool", "small_residual"}  # whose `features` are output channels
    for name in registry.keys() - channels:
        assert registry[name].renamed["features"] == "upto", name
    for name in channels:
        assert "features" in inspect.signature(registry[name]).parameters
    with pytest.warns(DeprecationWarning, match="lenet5: features is now called upto"):
        assert repr(jc.models.lenet5(features="s4")) == repr(jc.models.lenet5(upto="s4"))
    with pytest.warns(DeprecationWarning, match="autoencoder: maps is now called widths"):
        assert repr(jc.models.autoencoder(maps=(4, 8))) == repr(jc.models.autoencoder(widths=(4, 8)))


def test_old_names_in_a_config():
    with pytest.warns(DeprecationWarning, match="net: size is now called kernel_size"):
        assert with_defaults("conv_pool", {"size": 3})["kernel_size"] == 3
    with pytest.warns(DeprecationWarning, match="kernel_size"):
        assert net_problems("conv_pool", {"size": "big"}) == ["net.kernel_size: must be a whole number, got 'big'"]
    with (
        pytest.warns(DeprecationWarning, match="size"),
        pytest.raises(ConfigError, match="net: expected kernel_size once"),
    ):
        make_net("conv_pool", {"size": 3, "kernel_size": 3}, 10)
    with pytest.warns(DeprecationWarning, match="augment.shift: pad_mode is now called padding_mode"):
        assert augment_problems({"shift": {"pixels": 1, "pad_mode": "edge"}}) == []
    with pytest.warns(DeprecationWarning, match="augment: colour_jitter is now called color_jitter"):
        assert augment_problems({"colour_jitter": 0.2}) == []


def test_a_net_of_the_users_own_that_takes_classes(tmp_path, monkeypatch):
    (tmp_path / "old_net.py").write_text("import jaxconv as jc\ndef net(classes): return jc.Dense(classes)\n")
    monkeypatch.chdir(tmp_path)
    params, _ = make_net("old_net:net", {}, 7).init(jax.random.key(0), (1, 2))
    assert params["kernel"].shape == (2, 7)
