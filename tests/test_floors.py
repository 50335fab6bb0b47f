"""Imports only go down, and `import jaxconv` brings in nothing heavy."""

import ast
import pathlib
import subprocess
import sys

import pytest

import jaxconv

ROOT = pathlib.Path(jaxconv.__file__).parent
FLOORS = {
    0: "arguments checksums deadline dtypes errors files geometry interrupt limits unpack",
    1: "ops",
    2: "rewrite found staging paths finite layer initializers",
    3: "layers",
    4: "models",
    5: "data augment losses metrics optim",
    6: "train feed means fit ensemble evaluate checkpoint rolling",
    7: "analysis port",
    8: "config events nets run display failing plots cli __main__",
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names.split()}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def imports(path):
    """Modules of this package that a file imports, anywhere in it: (line, name below jaxconv)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == "jaxconv":
                    yield node.lineno, name.name.split(".")[1:2]
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "jaxconv":
            below = node.module.split(".")[1:2]
            yield from ((node.lineno, below or [name.name]) for name in node.names)


def floor(path):
    return FLOOR[path.relative_to(ROOT).parts[0].removesuffix(".py")]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_only_go_down(path):
    own = floor(path)
    for line, below in imports(path):
        assert below, f"{path}:{line} imports the whole package"
        if below[0] in ("__version__",):
            continue
        assert FLOOR[below[0]] <= own, f"{path.name}:{line} (floor {own}) imports {below[0]}"


def test_import_needs_jax_numpy_optax_and_chex_alone():
    code = "import sys, jax; before = set(sys.modules); import jaxconv; print(*sorted(set(sys.modules) - before))"
    added = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    strangers = {name.split(".")[0] for name in added} - {"jaxconv", "jax"} - set(sys.stdlib_module_names)
    assert not strangers, f"import jaxconv brings in {strangers}: import them where they are used"
