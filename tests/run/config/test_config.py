"""Config files: what they mean, and whole messages about what they must not be."""

import dataclasses
import tomllib

import jax
import pytest
from support.config_text import config_text

from jaxconv._base.errors import ConfigError
from jaxconv.models import registry
from jaxconv.models._registry import make_net
from jaxconv.run import config
from jaxconv.run.config.schema import FUNCTIONS

GOOD = config_text(
    {"features": [4, 8], "kernel_size": 3, "padding": "same"},
    optim={"name": "sgd", "learning_rate": 1, "momentum": 0.9},
    optim__schedule={"name": "warmup_cosine_decay_schedule", "warmup_steps": 3},
    train={"epochs": 1.5, "batch_size": 32},
)


@pytest.fixture
def read(tmp_path):
    def read(text, *overrides):
        path = tmp_path / "x.toml"
        path.write_text(text)
        return config.read(path, overrides)

    return read


@pytest.fixture
def refusal(read, tmp_path):
    def refusal(text, *overrides):
        with pytest.raises(ConfigError) as caught:
            read(text, *overrides)
        return str(caught.value).replace(str(tmp_path) + "/", "")

    return refusal


def test_what_a_file_means(read):
    settings = read(GOOD)
    assert settings.optim == config.OptimConfig(
        "sgd",
        1.0,
        config.ScheduleConfig("warmup_cosine_decay_schedule", {"warmup_steps": 3}),
        arguments={"momentum": 0.9},
    )
    assert settings.train == config.TrainConfig(epochs=1.5, batch_size=32)
    assert settings.net.arguments == {
        "features": [4, 8],
        "kernel_size": 3,
        "padding": "same",
        "hidden": [100],
        "dropout": 0.0,
        "batch_norm": False,
        "activation": "relu",
    }


def test_the_resolved_config_reads_back_equal(read):
    for overrides in [(), ("data.root=/somewhere", "augment.shift=2", "net.dropout=0.5")]:
        settings = read(GOOD, *overrides)
        text = config.to_toml(settings)
        assert config.parse(tomllib.loads(text)) == settings
        assert config.to_toml(config.parse(tomllib.loads(text))) == text


@pytest.mark.parametrize("section", ["data", "net", "optim", "optim.schedule"])
def test_the_defaults_of_every_function_read_back_equal(section):
    for name in FUNCTIONS[section]:
        table = tomllib.loads(GOOD)
        *parents, last = section.split(".")
        given = table
        for key in parents:
            given = given[key]
        given[last] = {"name": name} | ({"learning_rate": 0.1} if section == "optim" else {})
        try:
            settings = config.parse(table)
        except ConfigError:  # it has arguments that must be given
            continue
        assert config.parse(tomllib.loads(config.to_toml(settings))) == settings


def test_overrides(read):
    settings = read(
        GOOD,
        "train.epochs=3",
        "net.features=[2]",
        "optim.schedule.name=constant_schedule".replace("constant", "warmup_cosine_decay"),
        "data.root=some where",
    )
    assert settings.train.epochs == 3
    assert read(GOOD, "seed=4").train.seed == 4  # one section alone has such a key
    assert settings.net.arguments["features"] == [2]
    assert settings.data.root == "some where"


def test_every_mistake_at_once(refusal):
    text = (
        GOOD.replace("batch_size = 32", 'batch_sise = 32\nseed = "x"\neval_every = -1\nlog_every = true')
        .replace("momentum", "momentun")
        .replace("kernel_size = 3", 'kernel_size = "big"\ndropuot = 0.5')
        .replace("warmup_steps", "warm_steps")
    )
    assert refusal(text).splitlines() == [
        "x.toml: 8 errors",
        "  train.seed: must be a whole number, got 'x'",
        "  train.log_every: must be a whole number, got True",
        "  train.eval_every: must be greater than or equal to 0, got -1",
        "  train.batch_sise: unknown key; expected one of epochs, batch_size, sampling, "
        "seed, label_smoothing, log_every, eval_every, norm_group, progressive_resizing, "
        "temperature_scaling, log_norms; did you mean 'batch_size'?",
        "  net.kernel_size: must be a whole number, got 'big'",
        "  net.dropuot: conv_pool takes num_classes, features, kernel_size, padding, hidden, dropout, batch_norm, "
        "activation; did you mean 'dropout'?",
        "  optim.momentun: sgd takes momentum, nesterov, accumulator_dtype, weight_decay; did you mean 'momentum'?",
        "  optim.schedule.warm_steps: warmup_cosine_decay_schedule takes init_value, warmup_steps, "
        "decay_steps, end_value, exponent; did you mean 'warmup_steps'?",
    ]


SETS = "digits, shapes, mnist, fashion_mnist, cifar10, cifar100, images, folder, masks, coco, npz"
SGD = "momentum, nesterov, accumulator_dtype, weight_decay"
NETS = ", ".join(registry)
SINGLE = [
    (
        "[train]",
        "[trian]",
        "trian: unknown section; expected one of data, net, optim, train, pretrained, task, loss, distill, "
        "augment, precision, ensemble, early_stopping, tta, checkpoint, log, devices; did you mean 'train'?",
    ),
    (
        '"digits"',
        '"digit"',
        f"data.name: must be one of {SETS}, or \"module:function\"; got 'digit'; did you mean 'digits'?",
    ),
    ('"digits"', "3", "data.name: must be text in quotes, got 3"),
    (
        '"conv_pool"',
        '"conv_pol"',
        f"net.name: must be one of {NETS}, or \"module:function\"; got 'conv_pol'; did you mean 'conv_pool'?",
    ),
    (
        '"conv_pool"',
        '"no_such:net"',
        "net.name: cannot import 'no_such': ModuleNotFoundError: No module named 'no_such'",
    ),
    (
        '"conv_pool"',
        '"jaxconv.models:conv_pol"',
        "net.name: module 'jaxconv.models' has no function 'conv_pol'; did you mean 'conv_pool'?",
    ),
    ("[4, 8]", '[4, "8"]', "net.features: entry 1 must be a whole number, got [4, '8']"),
    ("learning_rate = 1", "learning_rate = -1", "optim.learning_rate: must be greater than 0, got -1"),
    ("learning_rate = 1", "learning_rate = nan", "optim.learning_rate: must be a finite number, got nan"),
    ("learning_rate = 1\n", "", "optim.learning_rate: must be given"),
    ("learning_rate = 1\n", "", "x.toml: 1 error"),
    ("learning_rate", "learning_rat", "x.toml: 1 error"),
    ("[train]", "[trian]", "x.toml: 1 error"),
    ("batch_size", "batchsize", "x.toml: 1 error"),
    ("learning_rate", "learning_rat", f"optim.learning_rat: sgd takes {SGD}; did you mean 'learning_rate'?"),
    ("epochs = 1.5", 'epochs = "1.5"', "train.epochs: must be a number, got '1.5'"),
]


@pytest.mark.parametrize(("old", "new", "line"), SINGLE)
def test_single_mistakes(refusal, old, new, line):
    assert line in refusal(GOOD.replace(old, new, 1)).replace("\n  ", "\n").splitlines()


def test_bad_files_and_overrides(refusal, tmp_path, monkeypatch):
    assert refusal("a = ").startswith("x.toml is not TOML: Invalid value")
    assert refusal(GOOD, "epoch=3") == "unknown key 'epoch'; did you mean 'epochs'?"
    assert refusal(GOOD, "zzz=3") == "unknown key 'zzz'; expected SECTION.KEY=VALUE, for example train.epochs=3"
    assert refusal(GOOD, "name=3") == (
        "name is a key of several sections; did you mean data.name=3 or net.name=3 or task.name=3 or loss.name=3 or "
        "optim.name=3?"
    )
    assert refusal(GOOD, "train.epochs") == "expected KEY=VALUE, for example train.epochs=3, got 'train.epochs'"
    assert refusal(GOOD, "data.name.x=3") == "cannot set data.name.x: name is 'digits', not a table"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "digits.toml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    for wrong in ("configs/digits", "digits", "digits.toml", "configs/digit.toml"):
        with pytest.raises(ConfigError) as caught:
            config.read(wrong)
        assert str(caught.value) == f"there is no config file {wrong}; did you mean 'configs/digits.toml'?"


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("optim.learning_rate=.1", 0.1),
        ("optim.learning_rate=1.", 1.0),
        ("optim.learning_rate=+.5e-3", 5e-4),
        ("optim.momentum=-1.", -1.0),
        ("net.batch_norm=True", True),
        ("net.batch_norm=False", False),
        ("train.log_norms=True", True),
    ],
)
def test_numbers_and_words_of_pythons(read, override, value):
    section, key = override.partition("=")[0].split(".")
    record = getattr(read(GOOD, override), section)
    found = getattr(record, key) if hasattr(record, key) else record.arguments[key]
    assert (found, type(found)) == (value, type(value))


def test_none_takes_a_key_out(read, refusal):
    text = GOOD.replace("[train]", "[pretrained]\nweights = 'x.pth'\n[train]").replace(
        "momentum", "max_grad_norm = 5\nmomentum"
    )
    unset = ("optim.max_grad_norm", "optim.schedule", "pretrained.weights", "net.kernel_size")
    settings = read(text, *(f"{key}=none" for key in unset))
    assert (settings.optim.max_grad_norm, settings.optim.schedule, settings.pretrained.weights) == (None, None, None)
    assert settings.net.arguments["kernel_size"] == 5  # the net's own default
    assert read(GOOD, "optim.max_grad_norm=none") == read(GOOD)
    assert refusal(GOOD, "optim.name=none") == "x.toml with optim.name=none: 1 error\n  optim.name: must be given"
    assert read(GOOD, 'data.root="none"').data.root == "none"
    for word in ("None", "null", "nil"):
        assert refusal(GOOD, f"pretrained.weights={word}") == (
            "pretrained.weights is unset by pretrained.weights=none; the word itself is "
            f"pretrained.weights='\"{word}\"'; got 'pretrained.weights={word}'"
        )


def test_an_error_names_the_changes_that_were_made_to_the_file(refusal):
    assert refusal(GOOD, "seed=3", "train.epochs=-1") == (
        "x.toml with seed=3 train.epochs=-1: 1 error\n  train.epochs: must be greater than 0, got -1"
    )


def test_a_byte_order_mark_is_passed_over(tmp_path):
    from jaxconv.run.predict import class_names

    (tmp_path / "plain.toml").write_text(GOOD)
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert config.read(tmp_path / "marked.toml") == config.read(tmp_path / "plain.toml")
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfcat\r\ndog\r\n")
    assert class_names(tmp_path / "names.txt") == ["cat", "dog"]


def test_a_file_that_no_reader_takes_is_no_traceback(refusal):
    assert refusal("a = " + "[" * 3000) == "x.toml is not TOML: it is nested too deeply"
    assert refusal("a = " + "1" * 5000).startswith("x.toml is not TOML: Exceeds the limit (4300 digits)")
    change = "net.kernel_size=" + "1" * 5000
    got = f"x.toml with {change}: 1 error\n  net.kernel_size: must be a whole number, got '" + "1" * 5000
    assert refusal(GOOD, change).startswith(got)


def test_a_net_of_the_users_own(read, tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(
        "import jaxconv as jc\n"
        "def tiny(num_classes, width: int = 3):\n"
        "    return jc.chain(jc.flatten, jc.Dense(width), jc.Dense(num_classes))\n"
        "def wrong(**anything):\n    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    text = GOOD.replace('"conv_pool"', '"my_nets:tiny"').replace("features = [4, 8]\nkernel_size = 3\npadding", "#")
    settings = read(text)
    assert settings.net == config.NetConfig("my_nets:tiny", {"width": 3})
    assert list(make_net(settings.net.name, settings.net.arguments, 4).parts) == ["flatten0", "dense0", "dense1"]
    with pytest.raises(ConfigError) as caught:
        make_net("my_nets:wrong", {"a": 1}, 4)
    assert str(caught.value) == "net.name: my_nets:wrong must return a jaxconv Layer, it returned int"


def test_a_net_that_is_initialized_from_images(tmp_path, monkeypatch):
    (tmp_path / "image_nets.py").write_text(
        "import jaxconv as jc\n"
        "def net(num_classes, images=None):\n"
        "    return jc.chain(jc.flatten, jc.Dense(num_classes if images is None else len(images)))\n"
    )
    monkeypatch.chdir(tmp_path)
    assert (
        make_net("image_nets:net", {}, 4, lambda: [1, 2]).init(jax.random.key(0), (1, 3))[0]["dense0"]["bias"].size == 2
    )
    assert make_net("image_nets:net", {}, 4).init(jax.random.key(0), (1, 3))[0]["dense0"]["bias"].size == 4
    asked: list[int] = []
    make_net("conv_pool", {}, 4, lambda: asked.append(1))
    assert not asked  # a net that does not ask for images does not cause them to be read


GROUPS = """
[optim.groups."*bias"]
name = "sgd"
learning_rate = 0.5
momentum = 0.9
[optim.groups."*bias".schedule]
name = "linear_schedule"
transition_epochs = 1
"""


def test_groups_of_the_optimizer(read):
    settings = read(GOOD + GROUPS)
    schedule = config.ScheduleConfig("linear_schedule", {"transition_epochs": 1})
    assert settings.optim.groups == {"*bias": config.GroupConfig("sgd", 0.5, schedule, {"momentum": 0.9})}
    assert config.parse(tomllib.loads(config.to_toml(settings))) == settings


def test_mistakes_in_a_group(refusal):
    text = GROUPS.replace("momentum", "momentun").replace("transition", "transit").replace("0.5", "-1")
    assert refusal(GOOD + text).splitlines() == [
        "x.toml: 3 errors",
        "  optim.groups.*bias.learning_rate: must be greater than 0, got -1",
        f"  optim.groups.*bias.momentun: sgd takes {SGD}; did you mean 'momentum'?",
        "  optim.groups.*bias.schedule.transit_steps: linear_schedule takes end_value, transition_steps, "
        "transition_begin; did you mean 'transition_steps'?",
    ]
    text = GROUPS.replace("[optim.groups", "[optim.group")
    assert "optim.group" in refusal(GOOD + text)
    assert refusal(GOOD + "[optim.groups]\nhead = 3") == "x.toml: 1 error\n  optim.groups.head: must be a table, got 3"


def test_fewer_classes_than_the_data():
    with pytest.raises(ConfigError) as caught:
        make_net("conv_pool", {"num_classes": 3}, 10)
    assert str(caught.value) == "net.num_classes: the data has 10 classes, got 3; leave it out"


def test_records_are_frozen(read):
    with pytest.raises(dataclasses.FrozenInstanceError):
        read(GOOD).train.seed = 3
