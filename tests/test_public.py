"""The public names: `dir` shows exactly these, whatever was imported before, and none hides a module."""

import importlib
import importlib.util
import json
import pathlib
import pkgutil
import subprocess
import sys
import types
import typing

import pytest

import jaxconv as jc

PUBLIC = (
    "augment", "data", "explain", "export", "geometry", "layers", "layers.initializers", "models", "ops", "port",
    "training", "training.losses", "training.metrics", "training.optim", "typing",
)  # fmt: skip
"""The public modules below jaxconv."""
MODULES = (
    "augment", "data", "explain", "export", "geometry", "initializers", "losses", "metrics", "models", "optim", "port",
    "training", "typing",
)  # fmt: skip
"""Those that are names of `jaxconv` itself."""


def fresh(code):
    """What a fresh process prints, as JSON."""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(out.stdout)


def module(name):
    return importlib.import_module(f"jaxconv.{name}" if name else "jaxconv")


@pytest.fixture(scope="module")
def shown():
    """`dir(jaxconv)` of a fresh process: before and after every module of the package is imported."""
    return fresh("""
import json, pkgutil, importlib, jaxconv
before = dir(jaxconv)
for found in pkgutil.walk_packages(jaxconv.__path__, "jaxconv."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
print(json.dumps([before, dir(jaxconv)]))
""")


def test_dir_shows_the_public_names_alone(shown):
    before, _ = shown
    assert before == sorted([*jc.__all__, "__version__"])
    assert set(MODULES) < set(before)
    assert not {"Any", "TYPE_CHECKING", "importlib", "operator", "rewrite", "sys", "warnings", "interrupt"} & set(
        before
    )
    assert len(set(jc.__all__)) == len(jc.__all__)


def test_dir_does_not_depend_on_what_was_imported(shown):
    before, after = shown
    assert before == after


def test_modules_are_imported_when_they_are_first_used():
    loaded = fresh("""
import json, sys, jaxconv
before = [name for name in sys.modules if name.startswith("jaxconv.")]
jaxconv.models.lenet5, jaxconv.summary, jaxconv.losses.cross_entropy
print(json.dumps([before, sorted(sys.modules)]))
""")
    lazy = {"jaxconv.models", "jaxconv.training", "jaxconv.data", "jaxconv.port", "jaxconv.augment", "jaxconv.analysis"}
    assert not lazy & set(loaded[0])
    assert {"jaxconv.models", "jaxconv.training", "jaxconv.analysis"} <= set(loaded[1])
    assert "jaxconv.port" not in loaded[1]


@pytest.mark.parametrize("name", ["", *PUBLIC])
def test_every_public_name_exists(name):
    found = module(name)
    assert found.__doc__
    for public in found.__all__:
        assert getattr(found, public) is not None, public


@pytest.mark.parametrize("name", PUBLIC)
def test_dir_of_a_public_module(name):
    found = module(name)
    assert dir(found) == sorted(found.__all__)
    assert len(set(found.__all__)) == len(found.__all__)


@pytest.mark.parametrize("name", ["", *PUBLIC])
def test_public_functions_and_classes_are_documented(name):
    found = module(name)
    for public in found.__all__:
        value = getattr(found, public)
        if isinstance(value, (type, types.FunctionType, types.ModuleType)) and typing.get_origin(value) is None:
            own = value.__doc__ or ""
            assert own.strip(), f"{name}.{public} has no docstring"
            assert not own.startswith(f"{value.__name__}("), f"{name}.{public} has only a dataclass's own docstring"


@pytest.mark.parametrize("name", ["", *PUBLIC])
def test_no_public_name_hides_a_module(name):
    found = module(name)
    modules = {sub.name for sub in pkgutil.iter_modules(getattr(found, "__path__", []))}
    for public in set(found.__all__) & modules:
        assert isinstance(getattr(found, public), types.ModuleType), f"{found.__name__}.{public} hides a module"


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="module 'jaxconv' has no attribute 'Convolution'"):
        jc.Convolution  # noqa: B018


def test_the_types_are_shipped():
    assert (pathlib.Path(jc.__file__).parent / "py.typed").is_file()


def test_the_words_of_the_types_are_those_that_are_known():
    from jaxconv._base.types import PaddingMode, PaddingWord
    from jaxconv.data.registry import InMemory, registry
    from jaxconv.geometry import PADDING_MODES, PADDINGS

    assert typing.get_args(PaddingWord) == PADDINGS
    assert typing.get_args(PaddingMode) == PADDING_MODES
    results = {name: typing.get_type_hints(function)["return"] for name, function in registry.items()}
    assert set(typing.get_args(InMemory)) == {
        name for name, result in results.items() if result == jc.data.Dataset[jc.data.Arrays]
    }


@pytest.mark.parametrize(
    ("name", "ours"), [("Linear", "Dense"), ("Conv2d", "Conv"), ("MaxPool1d", "MaxPool"), ("Sequential", "chain")]
)
def test_names_of_other_libraries_have_a_hint(name, ours):
    message = f"module 'jaxconv' has no attribute {name!r}; the layer is called {ours} here"
    with pytest.raises(AttributeError) as caught:
        getattr(jc, name)
    assert str(caught.value) == message
    assert hasattr(jc, ours)


def test_a_misspelt_name_has_no_hint_of_ours():
    with pytest.raises(AttributeError) as caught:
        jc.max_pol  # noqa: B018
    assert str(caught.value) == "module 'jaxconv' has no attribute 'max_pol'"
    assert (caught.value.name, caught.value.obj) == ("max_pol", jc)  # what Python's own suggestion is made of
