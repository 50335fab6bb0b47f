"""License, citation, changelog and packaging metadata agree with the package and with each other."""

import hashlib
import inspect
import pathlib
import re
import tomllib

import pytest

import jaxconv as jc
from jaxconv import augment, models
from jaxconv.augment import named
from jaxconv.run.config import renamed

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_the_license_is_apache_2_unaltered():
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert PROJECT["project"]["license-files"] == ["LICENSE"]
    words = " ".join((ROOT / "LICENSE").read_text("utf-8").split())
    # Of the text at https://www.apache.org/licenses/LICENSE-2.0.txt, blanks and line ends aside.
    digest = "0ffddef9e48f8a09aed5caf2d44f7ba1c1be2d9b8e0a6f693b1635b2d5566645"
    assert hashlib.sha256(words.encode()).hexdigest() == digest


def test_the_version_is_stated_once():
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert "version" not in PROJECT["project"]
    source = (ROOT / PROJECT["tool"]["hatch"]["version"]["path"]).read_text("utf-8")
    assert re.findall(r'^__version__ = "(.*)"$', source, re.M) == [jc.__version__]


def test_the_citation_is_of_this_version():
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == jc.__version__
    assert citation["license"] == PROJECT["project"]["license"]
    assert citation["authors"] == PROJECT["project"]["authors"]


def test_the_changelog_has_this_version_below_what_is_unreleased():
    headings = re.findall(r"^## \[(.+?)\](.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert headings[0] == ("Unreleased", "")
    version, date = headings[1]
    assert version == jc.__version__
    assert re.fullmatch(r" - \d{4}-\d\d-\d\d", date)


def test_the_changelog_lists_every_deprecated_name():
    table = re.findall(r"^\|.*\| `([\w.]+)` \| `([\w.]+)` \|$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    expected = {(f"jc.{old}", f"jc.{new}") for old, new in jc._DEPRECATED.items()}
    expected |= {(f"jc.port.{old}", f"jc.port.{new}") for old, new in jc.port._DEPRECATED.items()}
    for module in (jc, models, augment):
        functions = [getattr(module, name) for name in module.__all__]
        for function in functions:
            expected |= set(getattr(function, "renamed", {}).items()) if inspect.isfunction(function) else set()
    expected |= set(renamed._SECTIONS.items())
    expected |= {(f"optim.{old}", f"optim.{new}") for old, new in renamed._OPTIM.items()}
    expected |= {(f"augment.{old}", f"augment.{new}") for old, new in named.OLD_NAMES.items()}
    assert set(table) == expected


def test_the_workflow_tests_the_oldest_python_that_is_supported_and_lints_first():
    yaml = pytest.importorskip("yaml")
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]
    assert all(job["needs"] == "lint" for name, job in jobs.items() if name != "lint")
    pythons = [row["python"] for row in jobs["test"]["strategy"]["matrix"]["include"]]
    assert f">={pythons[0]}" == PROJECT["project"]["requires-python"]
    for python in pythons:
        assert f"Programming Language :: Python :: {python}" in PROJECT["project"]["classifiers"]
    steps = [step.get("run") for step in jobs["lint"]["steps"]]
    assert [step for step in steps if step in ("ruff check .", "ruff format --check .", "mypy", "pyright")] == steps[
        -4:
    ]
