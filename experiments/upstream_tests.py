"""The test suites of JAX, Flax and Equinox with convolutions and pools under `accelerate`.

    python experiments/upstream_tests.py --jax DIR --flax DIR --equinox DIR [--junit DIR]

Each DIR is a checkout of that project at the tag of the installed version; only its tests are used. Each suite runs
twice, unchanged (control) and with `jax.lax.conv_general_dilated` and `jax.lax.reduce_window` replaced by their
accelerated versions before any other import; a table counts the outcomes and lists the tests that differ. Exits with 1
if any does. `JAX_NUM_GENERATED_CASES` sets the number of cases of JAX's generated tests.
"""

from __future__ import annotations

import argparse
import collections
import functools
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

PATCH = "JAXCONV_UPSTREAM_PATCH"
SUITES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "lax_test": ("jax", ("tests/lax_test.py",), "Conv or conv or ReduceWindow or reduce_window"),
    "lax_autodiff_test": (
        "jax", ("tests/lax_autodiff_test.py",), "Conv or ReduceWindow or SelectAndScatter or SelectAndGather",
    ),
    "lax_vmap_test": (
        "jax", ("tests/lax_vmap_test.py",), "Conv or ReduceWindow or SelectAndScatter or SelectAndGather",
    ),
    "flax.linen": ("flax", ("tests/linen/linen_linear_test.py", "tests/linen/linen_test.py"), "not Fp8Test"),
    "flax.nnx": ("flax", ("tests/nnx/nn/conv_test.py", "tests/nnx/nn/normalization_test.py"), ""),
    "equinox.nn": ("equinox", ("tests/test_nn.py",), ""),
}  # fmt: skip
"""Of each suite: the project, its files, and which tests by pytest's `-k`."""


def main() -> int:
    """Runs every suite whose checkout is given and prints the table; 1 if an outcome differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for project in ("jax", "flax", "equinox"):
        parser.add_argument(f"--{project}", type=Path, help=f"a checkout of {project}")
    parser.add_argument("--suites", nargs="*", choices=SUITES, default=list(SUITES))
    parser.add_argument("--junit", type=Path, help="keep pytest's reports here")
    given = parser.parse_args()
    junit = given.junit or Path(tempfile.mkdtemp())
    junit.mkdir(parents=True, exist_ok=True)
    print("| suite | control: passed / failed / skipped | patched: passed / failed / skipped | differ |")
    print("|---|---|---|---|")
    differ: list[str] = []
    for name in given.suites:
        project, files, chosen = SUITES[name]
        folder = getattr(given, project)
        if folder is None:
            continue
        control, patched = (
            _outcomes(folder, files, chosen, junit / f"{name}-{way}.xml", way == "patched")
            for way in ("control", "patched")
        )
        apart = sorted(t for t in control | patched if control.get(t) != patched.get(t))
        differ += [f"{name}: {t}: {control.get(t)} -> {patched.get(t)}" for t in apart]
        print(f"| {name} | {_counts(control)} | {_counts(patched)} | {len(apart)} |", flush=True)
    print("\n".join(["", *differ]) if differ else "\nNo outcome differs.")
    return bool(differ)


def _outcomes(folder: Path, files: tuple[str, ...], chosen: str, report: Path, patched: bool) -> dict[str, str]:
    """The outcome of every test of some files, from pytest in a process of its own."""
    here = str(Path(__file__).parent)
    path = os.pathsep.join([here, str(Path(here).parent), os.environ.get("PYTHONPATH", "")])
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "upstream_tests", "-p", "no:cacheprovider", "-c", os.devnull,
        f"--rootdir={folder}", f"--junitxml={report.resolve()}", "--tb=short", "-k", chosen, *files,
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": path, PATCH: str(int(patched)), "JAX_PLATFORMS": "cpu"}
    log = report.with_suffix(".log")
    with log.open("w") as out:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT)
    if done.returncode not in (0, 1):
        raise SystemExit(f"pytest ended with {done.returncode}: see {log}")
    outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        outcomes[f"{case.get('classname')}.{case.get('name')}"] = outcome
    return outcomes


def _counts(outcomes: dict[str, str]) -> str:
    count = collections.Counter(outcomes.values())
    return " / ".join(str(count[kind]) for kind in ("passed", "failed", "skipped"))


def _patch() -> None:
    """Replaces the two functions wherever JAX's own code and its users look them up."""
    import jax
    from jax._src.lax import convolution, windowed_reductions

    from jaxconv import accelerate

    def accelerated(fn: Any, arrays: int) -> Any:
        """`fn` with its first `arrays` arguments traced; the others, such as an init value, it receives as given."""

        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if sys._getframe(1).f_globals["__name__"].startswith("jaxconv"):
                return fn(*args, **kwargs)  # what the engine itself leaves to lax
            names = fn.__code__.co_varnames[:arrays]
            traced = {name: kwargs.pop(name) for name in names if name in kwargs}
            rest = args[arrays:]
            return accelerate(lambda head, named: fn(*head, *rest, **named, **kwargs))(args[:arrays], traced)

        return wrapper

    for module, name, arrays in (
        (convolution, "conv_general_dilated", 2), (windowed_reductions, "reduce_window", 1),
    ):  # fmt: skip
        replaced = accelerated(getattr(module, name), arrays)
        setattr(module, name, replaced)
        setattr(jax.lax, name, replaced)


if __name__ == "__main__":
    raise SystemExit(main())
if os.environ.get(PATCH) == "1":  # imported by pytest as a plugin, before the tests and what they import
    _patch()
