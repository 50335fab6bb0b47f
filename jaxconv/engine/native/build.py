"""Compilation of the native kernels: at installation (hatch_build.py), and by `python -m jaxconv.engine.native`.

Imports the standard library alone: at installation neither this package nor jax is there.
"""

import concurrent.futures
import ctypes
import hashlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent / "src"
HEADERS = Path(__file__).parent / "headers"
"""XLA's FFI headers of the oldest jaxlib that the package supports; later ones understand what they compile."""
LIBRARY = Path(__file__).parent / "lib/kernels.so"  # a folder of its own: Python would import one in the package
FLAGS = ("-O3", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-ffp-contract=fast")
MACOS = "11.0"
"""The oldest macOS that a library made there is for, as jaxlib's."""
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


def installed_headers() -> Path | None:
    """The folder of XLA's FFI headers in the installed jaxlib, if any."""
    spec = importlib.util.find_spec("jaxlib")
    folder = Path(spec.origin).parent / "include" if spec and spec.origin else None
    return folder if folder and (folder / "xla/ffi/api/ffi.h").exists() else None


def ffi_version(headers: Path) -> int | None:
    """The version of XLA's FFI in a folder of its headers, major * 1000 + minor; None if unknown."""
    try:
        text = (headers / "xla/ffi/api/c_api.h").read_text()
    except OSError:
        return None
    found = [re.search(rf"#define XLA_FFI_API_{part}\s+(\d+)", text) for part in ("MAJOR", "MINOR")]
    major, minor = (int(match[1]) if match else None for match in found)
    return None if major is None or minor is None else major * 1000 + minor


def load(library: Path) -> ctypes.CDLL:
    """A compiled library. Raises OSError if it is none for this machine."""
    loaded = ctypes.CDLL(str(library))
    loaded.jaxconv_sources.restype = ctypes.c_char_p
    return loaded


def is_current(library: Path = LIBRARY, headers: Path = HEADERS) -> bool:
    """Whether `build` would write the same library: it loads here, and was compiled from these sources and headers."""
    try:
        made = load(library)
        return made.jaxconv_sources().decode() == digest() and made.jaxconv_ffi_version() == ffi_version(headers)
    except (OSError, AttributeError):
        return False


def digest() -> str:
    """A hash of the sources and flags, which a library carries: it is used with these alone."""
    hashed = hashlib.sha256(repr((FLAGS, KERNEL_FLAGS)).encode())
    for path in sorted(path for path in SOURCES.iterdir() if path.suffix in (".h", ".cc") and path.stem != "driver"):
        hashed.update(path.name.encode() + b"\0" + path.read_bytes())
    return hashed.hexdigest()[:16]


def build(library: Path = LIBRARY, headers: Path = HEADERS) -> Path:
    """Compiles the kernels for every instruction set into one library, and puts it in place in one step.

    Args:
      library: the file to write.
      headers: folder of XLA's FFI headers.

    Raises:
      BuildError: if there is no compiler, or it fails, or its platform is not Linux or macOS.
    """
    command = compiler()
    if sys.platform not in ("linux", "darwin"):
        raise BuildError(f"the native kernels are for Linux and macOS; got {sys.platform}")
    if command is None:
        raise BuildError("a C++ compiler must be on the PATH, or named by CXX: apt install g++")
    flags = [*FLAGS, *([f"-mmacosx-version-min={MACOS}"] if sys.platform == "darwin" else [])]
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    isas = [name for name in KERNEL_FLAGS if x86 or name == "baseline"]
    with tempfile.TemporaryDirectory() as folder:
        objects = {name: f"{folder}/{name}.o" for name in (*isas, "ffi")}
        jobs = [
            [*command, *flags, *KERNEL_FLAGS[name], f"-DTABLE=kernels_{name}", "-c", "kernels.cc", "-o", objects[name]]
            for name in isas
        ]
        has = [f"-DHAS_{name.upper()}" for name in isas if name != "baseline"]
        has.append(f'-DSOURCES="{digest()}"')
        jobs.append([*command, *flags, "-w", "-isystem", str(headers), *has, "-c", "ffi.cc", "-o", objects["ffi"]])
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(_run, jobs))
        made = f"{folder}/kernels.so"
        link = [*command, *flags, "-shared", *objects.values(), "-o", made]
        try:  # no C++ library of this machine: a process may have loaded an older one
            _run([*link, "-static-libstdc++", "-static-libgcc", "-Wl,--exclude-libs,ALL", "-Wl,--gc-sections"])
        except BuildError:  # there is no static one
            _run(link)
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
