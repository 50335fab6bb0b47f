"""The printed reference of a config and its JSON schema, tested against the records, `parse` and each other."""

import dataclasses
import tomllib
from pathlib import Path

import jsonschema
import pytest

from jaxconv._base.errors import ConfigError
from jaxconv.run import config
from jaxconv.run.config.records import NESTED
from jaxconv.run.config.reference import reference
from jaxconv.run.config.schema import FUNCTIONS, TABLES, schema, signature, table

ROOT = Path(__file__).parents[3]
CONFIGS = sorted([*ROOT.glob("configs/*.toml"), *ROOT.glob("experiments/*/*.toml")])
EVERY = [(section, name) for section in FUNCTIONS for name in FUNCTIONS[section]]


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(schema())


def test_the_reference_is_a_config_with_every_key():
    found = tomllib.loads(reference())
    for section, record in TABLES.items():
        *parents, last = section.split(".")
        own = found
        for key in (*parents, last):
            own = own[key]
        fields = {field.name for field in dataclasses.fields(record)} if record else set()
        nested = {path.partition(".")[2] for path in NESTED if path.startswith(f"{section}.")}
        assert set(own) == fields - {"arguments"} - (nested - set(own))
    read = config.parse(found)
    assert read.train.eval_every == 500
    assert read.optim.schedule.name == "warmup_cosine_decay_schedule"


@pytest.mark.parametrize("section", [section for section, record in TABLES.items() if record])
def test_each_key_has_a_meaning_a_default_and_an_example_other_than_it(section):
    found = table(section)
    for key, entry in found["properties"].items():
        assert entry["description"].endswith("."), key
        assert (key in found["required"]) != ("default" in entry), key
        if f"{section}.{key}" not in NESTED:
            assert len(entry["examples"]) == 1
            assert key == "decay" or entry["examples"][0] != entry.get("default"), key


def test_defaults_are_those_of_the_records():
    for section, record in TABLES.items():
        for field in dataclasses.fields(record) if record else ():
            made = field.default_factory is not dataclasses.MISSING
            value = field.default_factory() if made else field.default
            if field.name != "arguments" and value is not dataclasses.MISSING:
                assert table(section)["properties"][field.name]["default"] == value


@pytest.mark.parametrize("width", [40, 80])
def test_comments_fit_into_the_width(width):
    for line in "\n".join(reference(section, width) for section in TABLES).splitlines():
        assert len(line) <= width or not line.startswith("#") or " " not in line[2:].strip()


@pytest.mark.sampled
@pytest.mark.parametrize(("section", "name"), EVERY, ids=map("-".join, EVERY))
def test_the_arguments_of_each_function_are_toml(section, name, validator):
    text = reference(f"{section}.{name}")
    found = tomllib.loads(text)
    for key in section.split("."):
        found = found[key]
    found = found[name] if section == "augment" else found
    entries = signature(section, name)
    assert set(found) - {"name"} <= set(entries["properties"])
    for key in entries["properties"]:
        assert f"\n{key} = " in text or f"\n# {key} =" in text
    if section != "optim.schedule":
        tables = {"data": {"name": "digits"}, "net": {"name": "conv_pool"}, "train": {"epochs": 1, "batch_size": 2}}
        tables |= {"optim": {"name": "sgd", "learning_rate": 1.0}}
        given = {"augment": {name: True}, "optim": found | {"learning_rate": 1.0}}.get(section, found)
        validator.validate(tables | {section: given})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_are_valid_as_given_and_as_resolved(path, validator):
    validator.validate(tomllib.loads(path.read_text()))
    validator.validate(tomllib.loads(config.to_toml(config.read(path))))


@pytest.mark.parametrize(
    ("override", "valid"),
    [
        ("train.epoch=3", False),
        ("train.epochs=-1", False),
        ("net.paddnig=same", False),
        ("net.padding=sane", False),
        ("net.features=[3, true]", False),
        ("net.name=resnet999", False),
        ("net.name=mine:net", True),
        ("optim.momentun=0.9", False),
        ("optim.b1=0.8", True),
        ("augment.flipp=true", False),
        ("augment.shift=2", True),
        ("augment.shift={padding_mode='edge', probability=0.5}", False),
        ("augment.random_choice={flip=true, shift={pixels=1}}", True),
        ("optim.schedule={name='cosine_decay_schedule', decay_percent=50}", True),
        ("optim.schedule={name='cosine_decay_schedule', decay_epoch=5}", False),
        ("devices.shard={'*'='all'}", False),
    ],
)
def test_the_schema_tells_what_parse_tells(override, valid, validator):
    found = tomllib.loads(ROOT.joinpath("configs/digits.toml").read_text())
    from jaxconv.run.config.parsing import _set

    _set(found, override)
    assert validator.is_valid(found) == valid
    if not override.endswith("mine:net"):
        try:
            config.parse(found)
            assert valid
        except ConfigError:
            assert not valid


def test_one_key_and_unknown_ones():
    assert reference("checkpoint.keep") == (
        "[checkpoint]\n# Number of latest checkpoints to keep, beside the best one. (integer > 0; default 2)\nkeep = 5"
    )
    for path, near in [("trian", "train"), ("train.epoch", "train.epochs"), ("net.resnet19", "net.resnet18")]:
        with pytest.raises(ConfigError) as caught:
            reference(path)
        assert str(caught.value) == (
            f"there is no {path!r} in a config; expected one of {', '.join(TABLES)}, or a key or function of these; "
            f"did you mean {near!r}?"
        )
