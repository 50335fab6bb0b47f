"""`pytest --update-messages`: rewrite expected texts in the source of the tests from what the code says now.

An assertion `got == expected` (two texts, or two lists of texts) or `expected in texts` fails: the expected text is
looked up among the string expressions of the test's own file, in this order: in the failing statement; in the entry of
a table that the case names (a `Row` of this title, this key of a dict, this list of parameters); in the entry of the
case's number; anywhere, if it is there once. String expressions are literals, f-strings and sums of them. The test
still fails in this run, and the next one checks the new text. A test stops at its first failing assertion: run again
until nothing is rewritten, then read the diff.
"""

import ast
import difflib
import itertools
import pathlib
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

WIDTH = 120
PURE = (ast.Constant, ast.Name, ast.Attribute, ast.Subscript, ast.BinOp, ast.JoinedStr, ast.FormattedValue)
NEUTRAL = (ast.expr_context, ast.operator)  # what `ast.walk` gives beside expressions
FIRST_MARK = 0xE000  # private characters mark the expressions of an f-string while its text is laid out


class Edit(NamedTuple):
    """Characters `start:end` of the file, which say `old`, become `text`, which says `new`."""

    path: str
    start: int
    end: int
    text: str
    old: str
    new: str


class Updater:
    """The plugin: workers find the edits, the process that reports makes them."""

    def __init__(self, config: pytest.Config):
        self.config = config
        self.compared: tuple[str, Any, Any] | None = None
        self.edits: list[Edit] = []
        self.missed: list[str] = []

    def pytest_assertrepr_compare(self, op: str, left: Any, right: Any) -> None:
        self.compared = op, left, right

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
        report = yield
        compared, self.compared = self.compared, None
        if call.excinfo is not None and call.excinfo.errisinstance(AssertionError) and compared is not None:
            for old, new in changed_texts(*compared):
                edits = find_edits(item, call.excinfo, old, new)
                report.user_properties.append(("message", [list(edit) for edit in edits] or item.nodeid))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == "message" and isinstance(value, str):
                self.missed.append(value)
            elif name == "message":
                self.edits.extend(Edit(*edit) for edit in value)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if hasattr(self.config, "workerinput"):
            return
        done, refused = apply(self.edits)
        for edit in done:
            terminalreporter.write_line(f"rewritten in {edit.path}: {edit.new.splitlines()[0][:80]}")
        for edit in refused:
            terminalreporter.write_line(f"not rewritten in {edit.path}, several texts became this one or it several: "
                                        f"{edit.old.splitlines()[0][:80]}")  # fmt: skip
        for nodeid in dict.fromkeys(self.missed):
            terminalreporter.write_line(f"not rewritten, expected text not found in the file: {nodeid}")
        if done:
            terminalreporter.write_line("run again until nothing is rewritten, then read the diff")


def changed_texts(op: str, left: Any, right: Any) -> Iterator[tuple[str, str]]:
    """(expected, raised) of every text that differs in a failed comparison `raised == expected`."""
    if op == "in" and isinstance(left, str) and isinstance(right, list | tuple | set):
        close = difflib.get_close_matches(left, [text for text in right if isinstance(text, str)], 1, 0.3)
        yield from ((left, new) for new in close)
    elif op == "==" and isinstance(left, str) and isinstance(right, str) and left != right:
        yield right, left
    elif op == "==" and isinstance(left, list | tuple) and isinstance(right, list | tuple) and len(left) == len(right):
        for got, expected in zip(left, right, strict=True):
            yield from changed_texts(op, got, expected)


def find_edits(item: pytest.Item, error: pytest.ExceptionInfo, old: str, new: str) -> list[Edit]:
    """The edits that make the test's file say `new` where it says `old`; none where that is not found."""
    path = pathlib.Path(item.path)
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    names = dict(vars(item.module))  # type: ignore[attr-defined]
    lines = set()
    for entry in error.traceback:
        if pathlib.Path(entry.path) == path:
            names |= entry.frame.f_locals
            lines.add(entry.lineno + 1)
    found = [node for node in ast.walk(tree) if evaluate(node, names) == old and not inside_fstring(node, parents)]
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else []
    numbers = set(item.callspec.indices.values()) if hasattr(item, "callspec") else set()
    titles = {title for value in parameters for title in texts_of(value)} - {old}
    chosen = (
        [node for node in found if in_failing_statement(node, parents, lines)]
        or [node for node in found if titles & set(names_of_entry(node, parents))]
        or [node for node in found if numbers & set(numbers_of_entry(node, parents))]
        or found
    )
    if len(chosen) > 1 and chosen == found:  # the others may be right
        return []
    starts = offsets(source)
    edits = []
    for node in chosen:
        start, end = (starts(node.lineno, node.col_offset), starts(node.end_lineno, node.end_col_offset))
        indent = len(source[starts(node.lineno, 0) :]) - len(source[starts(node.lineno, 0) :].lstrip(" "))
        text = write(node, new, names, indent + 4 if enclosed(node, parents) else None)
        if evaluate(ast.parse(f"({text})", mode="eval").body, names) == new:
            edits.append(Edit(str(path), start, end, text, old, new))
    return edits


def evaluate(node: ast.AST, names: dict[str, Any]) -> str | None:
    """The text that a string expression gives: None for everything else, and where a name is unknown."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if not isinstance(node, ast.JoinedStr | ast.BinOp):
        return None
    if not all(isinstance(part, (*PURE, *NEUTRAL)) for part in ast.walk(node)):
        return None
    try:
        value = eval(compile(ast.Expression(node), "<expected>", "eval"), names)
    except Exception:
        return None
    return value if isinstance(value, str) else None


def inside_fstring(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    return isinstance(parents.get(node), ast.JoinedStr | ast.FormattedValue)


def in_failing_statement(node: ast.AST, parents: dict[ast.AST, ast.AST], lines: set[int]) -> bool:
    """Whether the assertion or the call around `node` is on one of `lines`."""
    while not isinstance(node, ast.stmt):
        node = parents[node]
    return isinstance(node, ast.Assert | ast.Expr) and any(
        node.lineno <= line <= (node.end_lineno or 0) for line in lines
    )


def texts_of(value: Any) -> list[str]:
    """The texts by which a parameter names its entry: the parameter itself, or the first field of a row."""
    first = value[0] if isinstance(value, tuple) and value else value
    return [first] if isinstance(first, str) else []


def names_of_entry(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> Iterator[str]:
    """The texts that stand beside `node` in its entry: the key of a dict, other arguments, other parameters."""
    while node in parents:
        child, node = node, parents[node]
        if isinstance(node, ast.Dict) and child in node.values:
            key = node.keys[node.values.index(child)]
            yield from (part.value for part in ast.walk(key or node) if is_text(part))
            return
        if isinstance(node, ast.Call | ast.Tuple):
            beside = node.args if isinstance(node, ast.Call) else node.elts
            yield from (part.value for part in beside if part is not child and is_text(part))


def numbers_of_entry(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> Iterator[int]:
    """Where the entry around `node` is in the lists around it."""
    while node in parents:
        child, node = node, parents[node]
        if isinstance(node, ast.List):
            yield node.elts.index(child)


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def enclosed(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Whether brackets are open around `node`, so that it may go over several lines."""
    if node.lineno != node.end_lineno:  # type: ignore[attr-defined]
        return True
    while node in parents and not isinstance(node, ast.stmt):
        child, node = node, parents[node]
        if isinstance(node, ast.List | ast.Dict | ast.Set) or (isinstance(node, ast.Call) and child is not node.func):
            return True
    return False


def write(node: ast.AST, new: str, names: dict[str, Any], indent: int | None) -> str:
    """The source of a string expression that gives `new`, with the names that `node` uses where their values occur.

    indent: of lines of their own, where brackets around `node` allow them.
    """
    fillers: dict[str, str] = {}
    for part in ast.walk(node):
        filler = ast.FormattedValue(part, -1) if isinstance(part, ast.Name) and isinstance(node, ast.BinOp) else part
        if isinstance(filler, ast.FormattedValue):
            joined = ast.fix_missing_locations(ast.JoinedStr([filler]))
            value = evaluate(joined, names)
            if value and len(value) > 1 and value in new:
                fillers.setdefault(value, "{" + ast.unparse(joined).split("{", 1)[1].rsplit("}", 1)[0] + "}")
    sources = []
    for value in sorted(fillers, key=len, reverse=True):
        new = new.replace(value, chr(FIRST_MARK + len(sources)))
        sources.append(fillers[value])
    column, one_line = node.col_offset, literal(new, sources)  # type: ignore[attr-defined]
    several = node.lineno != node.end_lineno  # type: ignore[attr-defined]
    if not several and column + len(one_line) + 2 <= WIDTH:
        return one_line
    start = column if several or indent is None else indent
    pieces = ("\n" + " " * start).join(literal(piece, sources) for piece in lay_out(new, WIDTH - start - 8))
    if indent is None:
        return f"({pieces})"
    return pieces if several else "\n" + " " * start + pieces


def lay_out(text: str, width: int) -> Iterator[str]:
    """`text` in pieces of at most `width` characters where it has spaces, a new piece after every line feed."""
    for line in text.splitlines(keepends=True) or [""]:
        piece = ""
        for word in line.replace(" ", " \0").split("\0"):
            if piece and len(piece) + len(word) > width and piece.strip():
                yield piece
                piece = ""
            piece += word
        yield piece


def literal(text: str, sources: list[str]) -> str:
    """A string literal in double quotes; an f-string where it holds marks of `sources`."""
    marked = any(FIRST_MARK <= ord(letter) < FIRST_MARK + len(sources) for letter in text)
    escaped = []
    for letter in text:
        if FIRST_MARK <= ord(letter) < FIRST_MARK + len(sources):
            escaped.append(sources[ord(letter) - FIRST_MARK])
        elif letter == '"':
            escaped.append('\\"')
        elif marked and letter in "{}":
            escaped.append(letter * 2)
        else:
            escaped.append(letter if letter == "'" else repr(letter)[1:-1])
    return ("f" if marked else "") + '"' + "".join(escaped) + '"'


def offsets(source: str) -> Any:
    """From a line and a column in UTF-8 bytes, as `ast` counts them, to an index of `source`."""
    lines = source.split("\n")
    starts = list(itertools.accumulate((len(line) + 1 for line in lines), initial=0))

    def offset(line: int, column: int) -> int:
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    return offset


def apply(edits: list[Edit]) -> tuple[list[Edit], list[Edit]]:
    """Make the edits, formatted; gives those made, and those refused because two tests want different texts."""
    wanted: dict[tuple[str, int, int], set[Edit]] = {}
    for edit in edits:
        wanted.setdefault(edit[:3], set()).add(edit)
    done = [next(iter(group)) for group in wanted.values() if len(group) == 1]
    refused = [edit for group in wanted.values() if len(group) > 1 for edit in group]
    for path in dict.fromkeys(edit.path for edit in done):
        source = pathlib.Path(path).read_text(encoding="utf-8")
        for edit in sorted((edit for edit in done if edit.path == path), key=lambda edit: -edit.start):
            source = source[: edit.start] + edit.text + source[edit.end :]
        ast.parse(source)
        pathlib.Path(path).write_text(source, encoding="utf-8")
        if ruff := shutil.which("ruff"):
            subprocess.run([ruff, "format", "-q", path], check=False)
    return done, refused
