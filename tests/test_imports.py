"""The levels of the package, measured from its imports: nothing imports upward, nothing in a circle."""

import ast
import functools
import graphlib
import os
import pathlib
import subprocess
import sys

import pytest

import jaxconv

ROOT = pathlib.Path(jaxconv.__file__).parent
FILES = {
    ".".join((*path.parent.relative_to(ROOT).parts, *([path.stem] if path.stem != "__init__" else []))): path
    for path in ROOT.rglob("*.py")
}
"""Every module by its name below jaxconv; the package itself is ""."""
LEVELS = (
    "_base",
    "geometry data",
    "engine",
    "ops",
    "layers augment _accelerate doctor typing",
    "models training explain analysis export",
    "port viz",
    "",
    "run",
    "cli",
    "__main__",
)
"""From the lowest to the highest, as CONTRIBUTING has them; the packages of one level may import each other."""


@functools.cache
def imported(name):
    """[(line, module below jaxconv)] of every import of this package in a file, wherever it is in it."""
    modules = []
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [full if full.removeprefix("jaxconv.") in FILES else node.module for full in names]
        else:
            continue
        for full in found:
            package, _, below = full.partition(".")
            if package == "jaxconv":
                modules.append((node.lineno, below))
    return modules


@functools.cache
def imports():
    """The modules that each module imports."""
    return {name: {module for _, module in imported(name)} - {name} for name in FILES}


LEVEL = {package: level for level, packages in enumerate(LEVELS) for package in packages.split() or [""]}


def package(module):
    return module.split(".")[0]


def without_cycles(graph):
    """The nodes of a graph, lowest first; fails with the cycle where there is one."""
    try:
        return list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_no_module_imports_in_a_circle():
    graph = {name: found for name, found in imports().items() if name}
    assert set(without_cycles(graph)) >= set(graph)


def test_no_package_imports_in_a_circle():
    graph = {}
    for name, found in imports().items():
        if name:  # `jaxconv` itself names every package: lazily, for those above it
            graph.setdefault(package(name), set()).update({package(m) for m in found} - {package(name)})
    assert set(graph) | {""} == set(LEVEL), "a package without a level"
    assert set(without_cycles(graph)) >= set(graph)


@pytest.mark.parametrize("name", sorted(set(FILES) - {""}))
def test_imports_only_go_down(name):
    own = LEVEL[package(name)]
    for line, module in imported(name):
        assert module, f"{FILES[name]}:{line} imports the whole package"
        assert LEVEL[package(module)] <= own, f"{FILES[name]}:{line} imports {module}, of a higher level"


def test_import_needs_jax_numpy_optax_and_chex_alone():
    code = "import sys, jax; before = set(sys.modules); import jaxconv; print(*sorted(set(sys.modules) - before))"
    added = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    strangers = {name.split(".")[0] for name in added} - {"jaxconv", "jax"} - set(sys.stdlib_module_names)
    assert not strangers, f"import jaxconv brings in {strangers}: import them where they are used"


def test_no_import_computes():
    """A backend that is there already would keep XLA's flags and the processes' rendezvous from being set."""
    modules = [f"jaxconv.{name}" for name in FILES if name not in ("", "__main__")]
    code = f"import importlib; [importlib.import_module(name) for name in {modules}]"
    env = os.environ | {"JAX_PLATFORMS": "none"}  # with which every computation fails
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
