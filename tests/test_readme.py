"""README, CONTRIBUTING and docs: code runs, commands parse, links and paths resolve, tables match the package."""

import ast
import dataclasses
import doctest
import inspect
import pathlib
import pkgutil
import re
import shlex

import jax
import pytest
from models.families import FAMILIES

import jaxconv as jc
from jaxconv import augment, data, engine
from jaxconv.run import config

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
TEXT = {str(page.relative_to(ROOT)): page.read_text("utf-8") for page in PAGES}
WITH_CODE = [name for name, text in TEXT.items() if re.search(r"```(python|pycon)", text)]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT[page], re.S | re.M)


def section(page, heading):
    """The text below a heading, up to the next one."""
    return re.split(r"^## ", TEXT[page].split(f"\n## {heading}\n")[1], maxsplit=1, flags=re.M)[0]


def rows(text):
    """The cells of the rows of all tables in a text, without the first heading."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return found[2:]


def quoted(text):
    """The names in `…`, a call's without its arguments."""
    return set(re.findall(r"`(\w+)[`(]", text))


@pytest.mark.parametrize(
    "page", [page if page == "README.md" else pytest.param(page, marks=pytest.mark.slow) for page in WITH_CODE]
)
def test_the_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some of it writes files
    names = {}
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), names)
    for block in blocks(page, "pycon"):
        test = doctest.DocTestParser().get_doctest(block, {}, page, page, 0)
        assert doctest.DocTestRunner().run(test).failed == 0
    if page == "README.md":
        assert names["logits"].shape == (8, 10)
        assert names["test"].accuracy > 0.93  # of 359 images
        assert names["params"]["fc"]["kernel"].shape == (512, 1000)


def test_the_loop_in_the_readme_has_fifteen_lines():
    [loop] = [block for block in blocks("README.md", "python") if "make_step" in block]
    assert len([line for line in loop.splitlines() if line]) <= 16  # one more is the import


def test_the_readme_is_short():
    assert 500 < len(TEXT["README.md"].split()) < 900


def test_the_two_set_up_commands_are_lines_of_their_own():
    lines = TEXT["README.md"].splitlines()
    assert 'python -m pip install -e ".[train]" && jaxconv train configs/digits.toml' in lines
    assert 'python -m pip install -e ".[dev]" && pytest' in lines


def commands():
    for page in TEXT:
        for line in "".join(blocks(page, "bash")).splitlines():
            for command in line.split("&&"):
                words = [word for word in shlex.split(command, comments=True) if not re.match(r"[A-Z_]+=", word)]
                if words:
                    yield pytest.param(words, id=f"{page}: {' '.join(words)}")


def extras():
    tomllib = pytest.importorskip("tomllib")
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]


@pytest.mark.parametrize("words", list(commands()))
def test_a_command_exists_and_takes_its_arguments(words):
    words = words[words.index("jaxconv") :] if words[0] == "srun" else words
    first, *rest = words[2:] if words[:2] == ["python", "-m"] else words
    if first == "jaxconv":
        _check_jaxconv(rest)
    elif first == "python":
        assert (ROOT / rest[0]).is_file()
    elif first == "pip":
        for extra in re.findall(r"\[(.+)\]", " ".join(rest)):
            assert set(extra.split(",")) <= set(extras())
    elif first == "pytest":
        assert all((ROOT / word.split("::")[0]).exists() for word in rest if "/" in word)
    elif first == "cd":
        assert (ROOT / rest[0]).is_dir()
    else:
        assert first in ("git", "jupytext", "mkdocs", "mypy", "notebook", "pre-commit", "pyright", "ruff")


def _check_jaxconv(words):
    typer = pytest.importorskip("typer")
    from jaxconv.cli.commands import app

    known = typer.main.get_command(app).commands
    name, *rest = words
    command = known[name]
    if name == "launch":
        rest, launched = rest[: rest.index("--")], rest[rest.index("--") + 1 :]
        _check_jaxconv(launched)
    if name == "plot":
        command = command.commands.get(rest[0], command.commands["run"])
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= options
    if name in ("train", "sweep", "summary", "tune") and "--resume" not in rest:
        config.read(ROOT / rest[0], [word for word in rest[1:] if "=" in word and not re.search(r",|\.\.", word)])


@pytest.mark.parametrize("page", TEXT)
def test_every_link_within_the_repository_resolves(page):
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", TEXT[page]):
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.M)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, target


@pytest.mark.parametrize("page", TEXT)
def test_every_path_exists(page):
    for path in re.findall(r"`((?:jaxconv|tests|docs|configs|experiments|\.github|\.ci)/[\w./-]*)`", TEXT[page]):
        assert (ROOT / path).exists(), path
    for line in re.findall(r"python (experiments/\w+\.py|docs/\w+\.py)", TEXT[page]):
        assert (ROOT / line).is_file(), line


@pytest.mark.parametrize("page", TEXT)
def test_every_dotted_name_exists(page):
    """Names such as `jc.optim.freeze` exist, also those in text and in code that is not run."""
    for name in set(re.findall(r"\b(?:jc|jaxconv)((?:\.\w+)+)", TEXT[page])):
        if re.search(r"\.(ShapeError|py|toml)$", name):
            continue
        pkgutil.resolve_name(f"jaxconv{name}")


def test_every_page_is_in_the_index_and_in_the_readme():
    for page in (ROOT / "docs").glob("*.md"):
        if page.name != "index.md":
            assert f"({page.name})" in TEXT["docs/index.md"]
            assert f"(docs/{page.name})" in TEXT["README.md"]


def test_pictures_are_small():
    pictures = [path for path in (ROOT / "docs").rglob("*") if path.suffix in (".png", ".gif", ".jpg", ".svg")]
    assert pictures
    assert all(path.stat().st_size < 60_000 for path in pictures)


def test_every_key_of_a_config_is_named():
    table = {name: row for row in rows(section("docs/experiments.md", "Config files")) for name in row[:1]}
    sections = {name: row[1] for cell, row in table.items() for name in re.findall(r"`\[(\w+)\]`", cell)}
    assert set(sections) == {*config.SECTIONS, "augment"}
    for name, record in config.SECTIONS.items():
        keys = {field.name for field in dataclasses.fields(record)} - {"name", "arguments"}
        missing = {key for key in keys if f"`{key}`" not in sections[name] and f"`{key} =" not in sections[name]}
        assert not missing, f"[{name}] in docs/experiments.md does not name {missing}"
    assert quoted(sections["augment"]) == {*augment.registry, "random_choice"}
    assert quoted(sections["data"]) >= set(data.names())


def test_the_tables_of_the_data_page_are_complete():
    assert {cell for row in rows(section("docs/data.md", "Augmentation")) for cell in quoted(row[1])} == {
        name for name in augment.__all__ if name not in ("Augment", "augment_problems", "from_config", "registry")
    }
    named = {name for row in rows(TEXT["docs/data.md"]) for name in quoted(row[0])}
    assert named == set(data.names())


def test_the_table_of_exports_has_every_family():
    found = rows(section("docs/export.md", "Agreement"))
    assert [row[0].strip("`") for row in found] == sorted(FAMILIES)
    assert all(float(row[3]) < 1e-4 for row in found)


def test_the_table_of_the_training_page_is_complete():
    named = {name for row in rows(TEXT["docs/training.md"].split("\n## ")[0]) for cell in row for name in quoted(cell)}
    public = {name for name in jc.training.__all__ if not inspect.ismodule(getattr(jc.training, name))}
    assert public <= named
    table = TEXT["docs/training.md"].split("\n\n| module |")[1].split("\n\n")[0]
    modules = {row[0]: quoted(row[1]) for row in rows(f"| module |{table}")}
    for name in ("losses", "metrics"):
        module = getattr(jc, name)
        functions = {word for word in module.__all__ if not inspect.isclass(getattr(module, word))}
        assert modules[f"`jc.{name}`"] == functions
    assert all(hasattr(jc.optim, name) for name in modules["`jc.optim`"])


def test_the_table_of_the_layers_page_names_everything_public():
    named = quoted(section("docs/layers.md", "Overview"))
    public = {
        name
        for name in jc.__all__
        if name not in ("ConfigError", "DataError", "ShapeError", "Layer") and not inspect.ismodule(getattr(jc, name))
    }
    assert public <= named, f"missing in the table: {public - named}"
    unknown = {name for name in named - public if not hasattr(jc, name) and not hasattr(jax, name)}
    assert unknown <= {"transform", "impl"}, unknown
    [formulations] = [row for row in rows(section("docs/layers.md", "Overview")) if row[0] == "Formulation"]
    assert set(engine.FORMULATIONS) <= set(re.findall(r"\w+", formulations[1]))


def test_the_page_on_explanations_names_everything_public():
    named = set(re.findall(r"\b\w+\b", TEXT["docs/explaining.md"]))
    assert set(jc.explain.__all__) <= named


def test_the_numbers_of_shared_parameters():
    def size(layer, shape):
        return sum(leaf.size for leaf in jax.tree.leaves(layer.init(jax.random.key(0), shape)[0]))

    image = (1, 6, 6, 1)
    assert size(jc.Conv(3, 3), image) == 30
    assert size(jc.LocalConv(3, 3), image) == 480
    assert size(jc.Dense(5, bias=False), (1, 36)) == 180


def levels():
    """LEVELS of the import test, read from its text."""
    tree = ast.parse((ROOT / "tests/test_imports.py").read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "LEVELS":
            return [level.split() or ["__init__"] for level in ast.literal_eval(node.value)]
    raise AssertionError("tests/test_imports.py has no LEVELS")


def test_contributing_has_the_levels_that_are_tested():
    table = rows(section("CONTRIBUTING.md", "Layout"))
    assert [int(row[0]) for row in table] == list(range(len(table)))
    named = [re.findall(r"`jaxconv/(\w+)(?:/|\.py)`", row[1]) for row in table]
    assert [sorted(row) for row in named] == [sorted(level) for level in levels()]


RECIPES = ("a layer", "a model", "a formulation", "an augmentation", "a config key", "a plot")


@pytest.mark.parametrize("thing", RECIPES)
def test_a_recipe_has_at_most_ten_lines(thing):
    text = section("CONTRIBUTING.md", f"Add {thing}").strip()
    assert 3 <= len(text.splitlines()) <= 10
    assert len(re.findall(r"`(?:jaxconv|tests|docs|configs|experiments)/[\w./-]+`", text)) >= 3


@pytest.mark.parametrize("thing", RECIPES)
def test_the_names_of_a_recipe_are_in_the_files_it_names(thing):
    """A name said to be in a file is in it."""
    text = section("CONTRIBUTING.md", f"Add {thing}")
    found = re.findall(r"`(\w+)`\s+(?:in|of|from)\s+`((?:jaxconv|tests)/[\w/]+\.py)`", text)
    assert found
    for name, path in found:
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text("utf-8")), f"{path} has no {name}"
