"""`pytest --update-messages` on a copy: every form of table is rewritten, and passes afterwards."""

import os
import pathlib
import subprocess
import sys

import pytest

CONFTEST = """
from support.update_messages import Updater


def pytest_addoption(parser):
    parser.addoption("--update-messages", action="store_true")


def pytest_configure(config):
    if config.getoption("update_messages"):
        config.pluginmanager.register(Updater(config))
"""

SETTINGS = """
[tool.pytest.ini_options]
pythonpath = ["{}"]
[tool.ruff]
line-length = 120
"""

TESTS = '''"""A test file with wrong expectations."""

from typing import NamedTuple

import pytest

START = "one mistake: "
ÜBER = "é"


class Row(NamedTuple):
    title: str
    call: object
    message: str


def said(name, more=""):
    return f"{START}{name} is wrong\\n  got: {name!r}{more}"


# fmt: off
ROWS = [
    Row("first", lambda: said("a"),
        "an old message\\n  got: 'a'"),
    Row("second, with the old text of the first", lambda: said("b", " and {braces} and \\"quotes\\""),
        "an old message\\n  got: 'a'"),
    Row("é: a right one", lambda: said("c"), "one mistake: c is wrong\\n  got: 'c'"),
    Row("long", lambda: said("d", " long" * 40), "short"),
]
# fmt: on
NAMED = {
    "x": (said("x"), f"{START}y is bad"),
    "ö": (said("ö"), START + "y is bad"),
}


@pytest.mark.parametrize("row", ROWS, ids=[row.title for row in ROWS])
def test_rows(row):
    assert row.call() == row.message


@pytest.mark.parametrize("name", NAMED)
def test_names(name):
    got, expected = NAMED[name]
    assert got == expected


@pytest.mark.parametrize(("call", "message"), [(lambda: said("p"), "same"), (lambda: said("q"), "same")])
def test_numbers(call, message):
    assert call() == message


def test_statements(tmp_path):
    assert f"cannot write {tmp_path}/c: disk full" == f"cannot read {tmp_path}/c: disk full"
    assert said("s").splitlines() == ["old", "  got: 's'"]
    assert "one mistake: s was wrong" in said("s").splitlines()
    assert said("a name so long that it leaves no room", " for one line of source") == "same"


def test_unknown():
    assert said("u") == "not in this file".replace("not", "never")
'''


@pytest.fixture
def run(tmp_path):
    """Runs the copy's tests: gives its exit status and what it wrote."""
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (tmp_path / "test_copy.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(SETTINGS.format(pathlib.Path(__file__).parent))

    def run(*options):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "xdist", *options]
        alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # those of other packages import much
        ended = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=False)
        return ended.returncode, ended.stdout

    return run


@pytest.mark.slow
def test_every_form_is_rewritten_and_passes_afterwards(run, tmp_path):
    path = tmp_path / "test_copy.py"
    run("--update-messages", "-n", "2")
    first = path.read_text(encoding="utf-8")
    for expected in (
        '    Row("first", lambda: said("a"),\n        "one mistake: a is wrong\\n  got: \'a\'"),\n',
        '        "one mistake: b is wrong\\n  got: \'b\' and {braces} and \\"quotes\\""),\n',
        '    Row("é: a right one", lambda: said("c"), "one mistake: c is wrong\\n  got: \'c\'"),\n',
        '    "x": (said("x"), f"{START}x is wrong\\n  got: \'x\'"),\n',
        '    "ö": (said("ö"), f"{START}ö is wrong\\n  got: \'ö\'"),\n',
        '(lambda: said("p"), "one mistake: p is wrong\\n  got: \'p\'"),\n',
        '(lambda: said("q"), "one mistake: q is wrong\\n  got: \'q\'"),\n',
        'disk full" == f"cannot write {tmp_path}/c: disk full"',
        '["old", "  got: \'s\'"]',  # a test stops at its first failing assertion
    ):
        assert expected in first
    for _ in range(3):
        status, written = run("--update-messages")
    assert (status, "not rewritten, expected text not found in the file: test_copy.py::test_unknown" in written) == (
        1,
        True,
    )
    last = path.read_text(encoding="utf-8")
    assert max(map(len, last.splitlines())) <= 120
    assert run("--deselect", "test_copy.py::test_unknown")[0] == 0
    assert path.read_text(encoding="utf-8") == last


def test_a_text_in_several_places_is_left_alone(run, tmp_path):
    path = tmp_path / "test_copy.py"
    body = 'OLD = ["same", "same"]\n\n\ndef test_both():\n    assert "new".strip() == OLD[0]\n'
    path.write_text(body)
    status, written = run("--update-messages")
    assert (status, path.read_text()) == (1, body)
    assert "not rewritten, expected text not found in the file: test_copy.py::test_both" in written
