"""Docstrings of the package as Markdown: doctests become code blocks, literal asterisks stay."""

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^(>>> .*(?:\n(?!\s*$).*)*)", re.M)


class Doctests(griffe.Extension):
    """Fences the doctests of docstrings, which Markdown takes for quotations."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """A docstring with its doctests fenced, and what its formulas and shapes have in common with Markdown escaped."""
    text = DOCTEST.sub(r"```pycon\n\1\n```", text)
    parts = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.S)
    parts[::2] = [part.replace("*", r"\*").replace("<", "&lt;") for part in parts[::2]]
    return "".join(parts)
