"""MkDocs hooks: generated pages, the notebooks to download, and links to files of the repository outside of docs/."""

import io
import os
import pathlib
import posixpath
import re
import sys
import zipfile
from html import unescape
from typing import Any

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = "notebooks.zip"
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "README.md": "readme.md"}
SOURCES: dict[str, str] = {}
"""Files that pages link to: path in the repository -> path in the site."""


def on_startup(**_: Any) -> None:
    """The course's notebooks find their exercises, and JAX the CPU."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT / "docs" / "course"), *os.environ.get("PYTHONPATH", "").split()]
    )
    os.environ.setdefault("JAX_PLATFORMS", "cpu")


DOWNLOAD = """<a class="md-content__button md-icon" href="{}" title="Download all notebooks">
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" role="img" aria-label="Download all notebooks">
<path d="M5 20h14v-2H5m14-9h-4V3H9v6H5l7 7z"/></svg></a>"""
LINK = re.compile(r"\]\((\.\./[^)#\s]+)((?:#[^)]*)?)\)")


def outside(page: str, link: str) -> str | None:
    """The path in the repository that a link of a page leads to, if it leaves docs/, even if it returns to it."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    return None if path.startswith("docs/") and "docs/" not in link else path


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages, and copies of the sources that pages link to."""
    sys.path.insert(0, str(ROOT / "docs"))
    from building.pages import generated

    for path, text in generated():
        files.append(File.generated(config, path, content=text))
    pages = [file for file in files if file.src_uri.endswith(".md")]
    linked = {outside(page.src_uri, link) for page in pages for link, _ in LINK.findall(page.content_string)}
    for path in filter(None, linked - set(PAGES)):
        SOURCES[path] = f"sources/{path}.txt"
        files.append(File.generated(config, SOURCES[path], content=(ROOT / path).read_text("utf-8")))
    files.append(File.generated(config, NOTEBOOKS, content=notebooks()))
    return files


def notebooks() -> bytes:
    """All pages that are notebooks, with the helpers and exercises that they import, as a ZIP archive."""
    import jupytext

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted([*(ROOT / "docs" / "course").glob("*.py"), *(ROOT / "docs" / "how-to").glob("*.py")]):
            text = path.read_text("utf-8")
            if "format_name: percent" in text:
                file.writestr(f"notebooks/{path.stem}.ipynb", jupytext.writes(jupytext.reads(text), fmt="ipynb"))
            else:
                file.writestr(f"notebooks/{path.name}", text)
    return archive.getvalue()


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links that leave docs/ lead to the generated page or to the copy; the picture of the levels."""
    from building.house import MARK, house

    uri = page.file.src_uri
    markdown = markdown.replace(MARK, house())

    def inside(match: re.Match[str]) -> str:
        path = outside(uri, match[1])
        if path is None:
            return match[0]
        target = f"{PAGES[path]}{match[2]}" if path in PAGES else SOURCES[path]
        return f"]({'../' * uri.count('/')}{target})"

    return LINK.sub(inside, markdown)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Formulas in $…$ and $$…$$ as MathML, outside of code; on notebooks a button that downloads them."""
    from latex2mathml.converter import convert

    def formula(match: re.Match[str]) -> str:
        return convert(unescape(match[1] or match[2]), display="block" if match[1] else "inline")

    parts = re.split(r"(<pre.*?</pre>|<code.*?</code>|<script.*?</script>|<style.*?</style>)", html, flags=re.S)
    parts[::2] = [re.sub(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", formula, part, flags=re.S) for part in parts[::2]]
    button = DOWNLOAD.format("../" * page.url.count("/") + NOTEBOOKS) if page.file.src_uri.endswith(".py") else ""
    return button + "".join(parts)
