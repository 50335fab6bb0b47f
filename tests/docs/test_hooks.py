"""What the build of the documentation adds: notebooks to download, and the picture of the levels."""

import importlib
import io
import json
import pathlib
import re
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[2]
pytest.importorskip("mkdocs")


@pytest.fixture
def building(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return lambda name: importlib.import_module(f"building.{name}")


def test_the_notebooks_come_with_all_that_they_import(building):
    pytest.importorskip("jupytext")
    with zipfile.ZipFile(io.BytesIO(building("hooks").notebooks())) as archive:
        texts = {pathlib.PurePath(name).name: archive.read(name).decode() for name in archive.namelist()}
    pages = [name for name in texts if name.endswith(".ipynb")]
    assert len(pages) == len([*(ROOT / "docs" / "course").glob("[01]*.py"), *(ROOT / "docs" / "how-to").glob("*.py")])
    helpers = {path.stem for path in (ROOT / "docs" / "course").glob("*.py")}
    for name in pages:
        notebook = json.loads(texts[name])
        assert notebook["nbformat"] == 4
        code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
        used = helpers & set(re.findall(r"^(?:from|import) (\w+)", code, re.M))
        assert used, name
        assert {f"{helper}.py" for helper in used} <= set(texts)


def test_the_picture_has_every_package_and_its_size(building):
    html = building("house").house()
    found = re.findall(r"<code>jaxconv/([^<]+)</code><span>[^<]+</span><small>([\d,]+) lines", html)
    top = {path.name + "/" for path in (ROOT / "jaxconv").iterdir() if (path / "__init__.py").exists()}
    assert {name for name, _ in found} == top | {"typing.py", "__init__.py", "__main__.py"}
    assert [name for name, _ in found][-1] == "_base/"
    assert all(int(lines.replace(",", "")) > 0 for _, lines in found)


@pytest.mark.parametrize(("uri", "link"), [("course/03_shared_weights.py", "../notebooks.zip"), ("data.md", None)])
def test_notebooks_have_a_button(building, uri, link):
    class Page:
        url = uri.replace(".md", ".html").replace(".py", ".html")

        class file:
            src_uri = uri

    html = building("hooks").on_page_content("<p>$x$</p>", page=Page)
    assert (f'href="{link}"' in html) == (link is not None)
    assert "<math" in html
