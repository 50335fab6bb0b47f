"""JAX's persistent compilation cache in the user's cache folder, which commands share from one start to the next."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path
from typing import Any

import jax
import typer

from jaxconv._base.compat import compilation_cache_enabled
from jaxconv._base.files import read_text, writing

__all__ = ["keep_programs"]

FOLDER = "JAX_COMPILATION_CACHE_DIR"
"""Environment variable of JAX that names another folder."""
MAX_BYTES = 2**30
_MIN_SECONDS = 0.3  # looking up what compiles in less saves nothing measurable
_LOCK, _PROGRAM, _USED = ".lockfile", "-cache", "-atime"  # names that JAX gives to files of a bounded cache
_CPU = ("model name", "flags", "CPU part", "Features")  # lines of /proc/cpuinfo on x86 and ARM


def keep_programs() -> None:
    """Let JAX keep what it compiles in the user's cache folder, and take it from there at the next start.

    A setting of the environment is left as it is: `JAX_COMPILATION_CACHE_DIR`, `JAX_ENABLE_COMPILATION_CACHE=0` and
    others of JAX's cache. If the folder cannot be written, a line says so, and nothing is kept.
    """
    if FOLDER in os.environ or not compilation_cache_enabled():
        return
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("jaxconv")) / "programs" / _machine()
    try:
        _prepare(folder)
    except OSError as error:
        typer.echo(f"warning: compiled programs are not kept: {error}; {FOLDER} may name another folder", err=True)
        return
    settings: dict[str, Any] = {
        "jax_compilation_cache_dir": str(folder),
        "jax_compilation_cache_max_size": MAX_BYTES,
        "jax_persistent_cache_min_compile_time_secs": _MIN_SECONDS,
        "jax_remove_custom_partitioning_ptr_from_cache_key": True,  # an address, which differs at every start
    }
    for name, value in settings.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)


def _prepare(folder: Path) -> None:
    """Make the folder, and drop the entry of a process that was killed as it wrote.

    Raises:
      OSError: if the folder cannot be written.
    """
    import filelock

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with filelock.FileLock(folder / _LOCK, timeout=0):
                for path in folder.glob(f"*{_PROGRAM}"):
                    if not path.with_name(path.name.removesuffix(_PROGRAM) + _USED).exists():  # written after it
                        path.unlink()
        except filelock.Timeout:  # another command writes
            pass


def _machine() -> str:
    """Name of this machine's CPU: its programs may crash on one of other instructions."""
    try:
        first = read_text("/proc/cpuinfo").split("\n\n")[0].splitlines()
        about = "\n".join(line for line in first if line.startswith(_CPU))
    except OSError:  # not Linux
        about = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(about.encode()).hexdigest()[:12]}"
