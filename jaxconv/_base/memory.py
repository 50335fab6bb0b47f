"""Settings of glibc's allocator that make the memory of a step cheaper: huge pages, and a heap that is kept.

XLA allocates the temporary arrays of a step anew for every call. By default glibc returns them to the system each time,
and each call finds them again in pages of 4 kB.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Mapping, Sequence

__all__ = ["TUNABLES", "described", "keep_heap", "restart", "restarted", "return_large_blocks"]

TUNABLES = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in (("hugetlb", 1), ("mmap_max", 0), ("trim_threshold", 2**36), ("arena_max", 1))
)
"""The value of GLIBC_TUNABLES that the command line sets; glibc reads it before a process starts."""
SWITCH = "JAXCONV_MALLOC"
"""Environment variable that leaves the allocator alone if it is "0"; processes that were restarted have it."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8  # of malloc.h
_LARGE_BLOCK = 2**25  # glibc accepts no larger one
_LARGEST = 2**31 - 1


def restarted(environment: Mapping[str, str], argv: Sequence[str], executable: str | None) -> dict[str, str] | None:
    """The environment in which to restart this process with huge pages; None if it should go on as it is.

    Args:
      environment: the present one.
      argv: the command line, with the interpreter and its options.
      executable: the interpreter.
    """
    given = environment.get("GLIBC_TUNABLES", "")
    if environment.get(SWITCH) == "0" or "glibc.malloc." in given or not executable or not _glibc():
        return None
    if not _is_command(argv):
        return None
    return {**environment, SWITCH: "0", "GLIBC_TUNABLES": ":".join(filter(None, [given, TUNABLES]))}


def restart() -> None:
    """Replace this process by the same command with huge pages, once, before it has done anything.

    The process ID and the open files stay the same. If the restart fails, this process continues without huge pages.
    """
    argv = getattr(sys, "orig_argv", [])
    environment = restarted(os.environ, argv, sys.executable)
    if environment is None or "jax" in sys.modules or threading.active_count() > 1:
        return
    try:
        os.execve(sys.executable, [sys.executable, *argv[1:]], environment)
    except OSError:
        return


def _is_command(argv: Sequence[str]) -> bool:
    """Whether a command line is `python [options] path/jaxconv ...` or `python [options] -m jaxconv ...`."""
    for word, following in zip(argv[1:], [*argv[2:], ""], strict=False):
        if word == "-m":
            return following == "jaxconv"
        if not word.startswith("-"):
            return os.path.basename(word) == "jaxconv"
    return False


def described() -> str:
    """The pages of this process's heap, in a line for `jaxconv doctor`."""
    if not _glibc():
        return "not set: the allocator is not glibc's"
    if "glibc.malloc.hugetlb=" in os.environ.get("GLIBC_TUNABLES", ""):
        return "huge pages; docs/engine.md says how programs other than jaxconv's commands get them"
    return "small pages; docs/engine.md says how to get huge ones"


def keep_heap() -> bool:
    """Keep freed memory for the next step; huge pages are possible only before a process starts (`TUNABLES`).

    Returns:
      Whether this process has glibc's allocator, and it was set.
    """
    if not _glibc():
        return False
    libc = ctypes.CDLL(None)
    settings = (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _LARGEST), (_M_ARENA_MAX, 1)
    return all(libc.mallopt(option, value) for option, value in settings)


def return_large_blocks() -> bool:
    """Return freed blocks of 32 MB and more to the system again, if the command line has set the heap to keep them.

    A kept heap grows to several times the temporary arrays of a step: before 2.38, glibc does not find an aligned block
    again that it has freed, if it is as large as the one that is asked for. Steps that need a good part of the memory
    must do without; they take so long that clearing their pages again costs them little.

    Returns:
      Whether the heap was kept.
    """
    if TUNABLES not in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    libc = ctypes.CDLL(None)
    settings = (_M_MMAP_MAX, 2**16), (_M_MMAP_THRESHOLD, _LARGE_BLOCK), (_M_TRIM_THRESHOLD, 4 * _LARGE_BLOCK)
    return all(libc.mallopt(option, value) for option, value in settings)


def _glibc() -> bool:
    try:
        return sys.platform == "linux" and (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):  # musl
        return False


restart()
