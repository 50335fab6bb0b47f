"""Generated pages of the documentation: complete, and equal to what the package and torchvision say."""

import importlib.util
import pathlib
import re
import sys

import pytest

import jaxconv as jc

ROOT = pathlib.Path(__file__).parents[2]
pytest.importorskip("griffe")


@pytest.fixture
def pages(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("building.pages")


def test_every_public_name_is_in_the_reference(pages):
    names = {name for _, text in pages.reference() for name in re.findall(r'heading: "(\S+)"|^## (\S+)', text, re.M)}
    shown = {a or b for a, b in names}
    public = {name for name in jc.__all__ if not isinstance(getattr(jc, name), type(sys))}
    assert {f"jc.{name}" for name in public} <= shown
    for module in (
        "data",
        "augment",
        "training",
        "optim",
        "losses",
        "metrics",
        "models",
        "port",
        "geometry",
        "explain",
    ):
        own = getattr(jc, module)
        assert {f"jc.{module}.{n}" for n in own.__all__ if not isinstance(getattr(own, n), type(sys))} <= shown


def test_every_command_and_every_key_is_in_the_reference(pages):
    from jaxconv.cli.commands import app
    from jaxconv.run import config

    typer = pytest.importorskip("typer")
    text = pages.commands()
    for name, command in typer.main.get_command(app).commands.items():
        assert f"`jaxconv {name}`" in text
        assert all(
            f"`{option}`" in text for parameter in command.params for option in parameter.opts if option[0] == "-"
        )
    assert all(f"\n## [{section}]\n" in pages.config() for section in config.SECTIONS)


def test_published_accuracies_are_torchvisions(pages):
    spec = importlib.util.find_spec("torchvision")
    if spec is None:
        pytest.skip("torchvision is not installed")
    sources = "".join(path.read_text("utf-8") for path in (pathlib.Path(spec.origin).parent / "models").glob("*.py"))
    for name, (accuracy, file) in pages.PUBLISHED.items():
        found = re.search(rf'url="[^"]*/{re.escape(file)}".*?"acc@1": ([\d.]+)', sources, re.S)
        assert float(found[1]) == accuracy, name


def test_the_table_has_the_numbers_of_the_summary(pages):
    row = pages.model_row("resnet20")
    assert row == "| `resnet20` | 32×32×3 | 269,722 | 40,551,040 | 81×81 |  |  |"
    assert pages.model_row("autoencoder").split(" | ")[4] == "all"  # each pixel depends on all, through a dense layer


def test_docstrings_are_markdown(pages):
    found = importlib.import_module("building.docstrings").markdown(
        "x [N, *spatial, C], if n < 1; `a < *b`\n\n>>> 2 * 3\n6"
    )
    assert found == "x [N, \\*spatial, C], if n &lt; 1; `a < *b`\n\n```pycon\n>>> 2 * 3\n6\n```"
