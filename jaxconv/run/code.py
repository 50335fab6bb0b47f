"""Checksum of the code that a run executes."""

from __future__ import annotations

import functools
import hashlib
import sys
from pathlib import Path

from jaxconv.run import config

__all__ = ["code_checksum"]


def code_checksum(settings: config.Config) -> str:
    """SHA-256 of jaxconv's source files, and of the modules that a config names as "module:function".

    Imports of those modules are not included.

    Args:
      settings: the config, as `jaxconv.run.config.read` returns it.
    """
    digest = _own().copy()
    for name in (settings.data.name, settings.net.name):
        module, colon, _ = name.partition(":")
        source = getattr(sys.modules.get(module), "__file__", None)
        if colon and source:
            digest.update(Path(source).read_bytes())
    return digest.hexdigest()


@functools.cache
def _own() -> hashlib._Hash:
    digest = hashlib.sha256()
    root = Path(__file__).parent.parent
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(path.read_bytes())
    return digest
