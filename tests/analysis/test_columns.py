"""Columns of a summary: one meaning each, in every place where the table is shown."""

import html
import pathlib
import re

import jax
import pytest

import jaxconv as jc
from jaxconv.analysis.columns import COLUMNS
from jaxconv.analysis.html import THEMES

ROOT = pathlib.Path(__file__).parents[2]
HEADS = [column.head for column in COLUMNS]


def found():
    net = jc.chain(jc.Conv(8, 3, padding="same"), jax.nn.relu, jc.MaxPool(2), jc.flatten, head=jc.Dense(10))
    return jc.summary(net, (1, 8, 8, 1))


def legend(text):
    """The head of each column in the legend, and its meaning."""
    lines = re.split(r"^─+\n", text, flags=re.M)[-1].splitlines()
    joined = re.sub(r"\n {2,}", " ", "\n".join(lines)).splitlines()
    heads = {next(head for head in HEADS[::-1] if line.startswith(head)): line for line in joined}
    return {head: line.removeprefix(head).strip() for head, line in heads.items()}


def test_a_meaning_is_one_line_of_its_own():
    assert len({column.meaning for column in COLUMNS}) == len(set(HEADS)) == len(COLUMNS)
    assert all(0 < len(column.meaning) <= 60 and column.meaning[-1] != "." for column in COLUMNS)


@pytest.mark.parametrize("width", [30, 50, 80, 100, 140])
def test_the_legend_has_the_columns_that_are_shown(width):
    text = found().text(width)
    heads = text.split("\n─")[0]
    shown = [column for column in COLUMNS if all(word in heads for word in column.head.split())]
    dropped = [column.goes for column in COLUMNS if column not in shown]
    assert sorted(dropped) == [*range(1, len(dropped) + 1)]
    assert legend(text) == {column.head: column.meaning for column in shown}
    assert width < 60 or max(map(len, text.splitlines())) <= width


def test_all_columns_fit_into_140_characters_and_the_last_heads_break():
    lines = [line.split() for line in found().text(140).splitlines()[:3]]
    assert lines[:2] == [["MACs"], ["excl.", "receptive", "unclipped", "effective"]]
    assert lines[2] == [head.split()[-1] for head in HEADS]
    assert found().text(30).splitlines()[0].split() == ["layer", "output", "parameters", "MACs"]


def test_html_has_the_meanings_on_hover_and_in_a_list():
    page = found().html()
    heads = re.findall(r'<th[^>]* title="([^"]*)">([^<]*)</th>', page)
    assert [(html.unescape(head), html.unescape(words)) for words, head in heads] == [
        (column.head, column.meaning) for column in COLUMNS
    ]
    listed = re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd>", page.split("<details>")[1])
    assert [(html.unescape(a), html.unescape(b)) for a, b in listed] == [(c.head, c.meaning) for c in COLUMNS]


def test_markdown_has_the_meanings():
    assert found().markdown().endswith("".join(f"- {c.head}: {c.meaning}\n" for c in COLUMNS))


def test_the_help_has_the_meanings():
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from jaxconv.cli.commands import app

    words = " ".join(CliRunner().invoke(app, ["summary", "--help"], env={"COLUMNS": "80"}).output.split())
    assert all(f"{column.head}: {column.meaning}" in words for column in COLUMNS)


def test_the_page_has_the_meanings():
    text = (ROOT / "docs/how-to/read-a-summary.md").read_text("utf-8")
    assert re.findall(r"^\| (.+?) \| (.+) \|$", text, re.M)[1:] == [(c.head, c.meaning) for c in COLUMNS]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 900, 1600])
def test_the_page_follows_the_scheme(browser, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.set_content(found().html())
    paper, ink = colors(page, ".jaxconv")
    assert (sum(paper) > sum(ink)) == (scheme == "light")
    assert contrast(paper, ink) > 7
    assert contrast(paper, colors(page, ".jaxconv dt")[1]) > 4.5
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("host", range(3), ids=["JupyterLab", "VS Code", "Colab"])
def test_a_notebook_follows_its_theme_whatever_the_system(browser, host, scheme):
    page = browser.new_page(color_scheme="light" if scheme == "dark" else "dark")
    given = {"text": (230, 230, 230), "page": (17, 17, 17)} if scheme == "dark" else {"text": (9, 9, 9)}
    given = {"page": (250, 250, 250), **given}
    names = {THEMES[name].split()[host]: value for name, value in given.items()}
    theme = "; ".join(f"{name}: rgb{value}" for name, value in names.items())
    page.set_content(f"<style>:root {{{theme}}}</style>{found()._repr_html_()}")
    for part in (".jaxconv", ".jaxconv td", ".jaxconv th"):
        assert colors(page, part) == (given["page"], given["text"])
    page.close()


def colors(page, part):
    """Background and text color of the first element that a selector matches, as numbers."""
    script = "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]"
    return tuple(tuple(map(int, re.findall(r"\d+", v)[:3])) for v in page.locator(part).first.evaluate(script))


def contrast(a, b):
    """Contrast ratio of two colors, as WCAG 2 defines it."""

    def luminance(color):
        parts = [v / 255 / 12.92 if v / 255 <= 0.04045 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in color]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_the_former_name_of_the_effective_stride():
    field = jc.summary(jc.Conv(4, 3, stride=2), (1, 9, 9, 3)).rows[0].field[0]
    with pytest.warns(DeprecationWarning, match=r"Field\.jump is now Field\.effective_stride"):
        assert field.jump == field.effective_stride == 2
