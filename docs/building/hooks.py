"""MkDocs hooks: generated pages, and links to files of the repository outside of docs/."""

import os
import pathlib
import posixpath
import re
import sys
from html import unescape
from typing import Any

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[2]
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "README.md": "readme.md"}
SOURCES: dict[str, str] = {}
"""Files that pages link to: path in the repository -> path in the site."""


def on_startup(**_: Any) -> None:
    """The course's notebooks find their exercises, and JAX the CPU."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT / "docs" / "course"), *os.environ.get("PYTHONPATH", "").split()]
    )
    os.environ.setdefault("JAX_PLATFORMS", "cpu")


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
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links that leave docs/ lead to the generated page or to the copy."""
    uri = page.file.src_uri

    def inside(match: re.Match[str]) -> str:
        path = outside(uri, match[1])
        if path is None:
            return match[0]
        target = f"{PAGES[path]}{match[2]}" if path in PAGES else SOURCES[path]
        return f"]({'../' * uri.count('/')}{target})"

    return LINK.sub(inside, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Formulas in $…$ and $$…$$ as MathML, outside of code."""
    from latex2mathml.converter import convert

    def formula(match: re.Match[str]) -> str:
        return convert(unescape(match[1] or match[2]), display="block" if match[1] else "inline")

    parts = re.split(r"(<pre.*?</pre>|<code.*?</code>|<script.*?</script>|<style.*?</style>)", html, flags=re.S)
    parts[::2] = [re.sub(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", formula, part, flags=re.S) for part in parts[::2]]
    return "".join(parts)
