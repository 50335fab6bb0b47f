"""Compilation of the native kernels: `python -m jaxconv.engine.native`."""

import concurrent.futures
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent / "src"
LIBRARY = Path(__file__).parent / "kernels.so"
FLAGS = ("-O3", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-ffp-contract=fast")
KERNEL_FLAGS = {
    "baseline": ("-DVL=4",),
    "x86_64_v3": ("-DVL=8", "-march=x86-64-v3"),
    "x86_64_v4": ("-DVL=16", "-march=x86-64-v4"),
}
"""The instruction sets, and how the kernels are compiled for each; those of x86 on x86 alone."""
SECONDS = 300


class BuildError(Exception):
    """No library could be made, and why."""


def compiler() -> list[str] | None:
    """The command of a C++ compiler: `$CXX`, or the first of c++, g++ and clang++; None if there is none."""
    named = shlex.split(os.environ.get("CXX", ""))
    if named:
        return named if shutil.which(named[0]) else None
    return next(([name] for name in ("c++", "g++", "clang++") if shutil.which(name)), None)


def include_dir() -> str:
    """The folder of XLA's FFI headers, in the installed jaxlib.

    Raises:
      BuildError: if there is no jaxlib, or one without headers.
    """
    spec = importlib.util.find_spec("jaxlib")
    folder = Path(spec.origin).parent / "include" if spec and spec.origin else None
    if folder is None or not (folder / "xla/ffi/api/ffi.h").exists():
        raise BuildError("the headers of jaxlib must be installed: pip install jaxlib")
    return str(folder)


def build(library: Path = LIBRARY) -> Path:
    """Compiles the kernels for every instruction set into one library, and puts it in place in one step.

    Raises:
      BuildError: if there is no compiler, or it fails, or its platform is not Linux or macOS.
    """
    command = compiler()
    if sys.platform not in ("linux", "darwin"):
        raise BuildError(f"the native kernels are for Linux and macOS; got {sys.platform}")
    if command is None:
        raise BuildError("a C++ compiler must be on the PATH, or named by CXX: apt install g++")
    include = include_dir()
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    isas = [name for name in KERNEL_FLAGS if x86 or name == "baseline"]
    with tempfile.TemporaryDirectory() as folder:
        objects = {name: f"{folder}/{name}.o" for name in (*isas, "ffi")}
        jobs = [
            [*command, *FLAGS, *KERNEL_FLAGS[name], f"-DTABLE=kernels_{name}", "-c", "kernels.cc", "-o", objects[name]]
            for name in isas
        ]
        has = [f"-DHAS_{name.upper()}" for name in isas if name != "baseline"]
        jobs.append([*command, *FLAGS, "-w", "-isystem", include, *has, "-c", "ffi.cc", "-o", objects["ffi"]])
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(_run, jobs))
        made = f"{folder}/kernels.so"
        _run([*command, "-shared", *objects.values(), "-o", made])
        beside = library.with_suffix(f".{os.getpid()}.tmp")
        try:
            library.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made, beside)
            os.replace(beside, library)
        except OSError as error:
            raise BuildError(f"{library.parent} must be writable; got {error.strerror or error}") from None
        finally:
            beside.unlink(missing_ok=True)
    return library


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{shlex.join(command)}: {error}") from None
    if done.returncode:
        raise BuildError(f"{shlex.join(command)} failed:\n{done.stderr[-2000:]}")
