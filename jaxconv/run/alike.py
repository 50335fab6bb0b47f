"""Several processes of one run: the same config, code, versions and data in all of them, or an error by name."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

from jaxconv._base.errors import ConfigError
from jaxconv._base.processes import agreed, gathered
from jaxconv.run.code import code_checksum
from jaxconv.run.config import Config
from jaxconv.run.manifest import versions
from jaxconv.run.settings import flat

__all__ = ["check_alike", "check_same_data", "check_shared"]

SECONDS_TO_APPEAR = 60.0  # for a new file in another machine's view of a network file system


def check_alike(command: str, settings: Config, folder: Path) -> None:
    """Check that all processes were started alike.

    Args:
      command: "train" or "resume".
      settings: the config.
      folder: the run's.

    Raises:
      ConfigError: names the first difference.
    """
    values = {key: repr(value) for key, value in flat(settings).items()}
    others = {"command": command, "folder": str(folder.absolute()), "code": code_checksum(settings), **versions()}
    _check("config", others | values)


def check_same_data(data: dict[str, Any]) -> None:
    """Check that all processes read the same data.

    Args:
      data: fingerprint of the data.

    Raises:
      ConfigError: names the first difference.
    """
    _check("data", {f"data, {part}": str(found) for part, found in data.items()})


def check_shared(file: Path) -> None:
    """Check that all processes see a file that the first one has written.

    Raises:
      ConfigError: names a host that does not.
    """
    agreed(None, "written")
    deadline = time.monotonic() + SECONDS_TO_APPEAR
    while not file.is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    blind = [host for host in gathered("" if file.is_file() else socket.gethostname(), "shared") if host]
    if blind:
        raise ConfigError(
            f"a run's folder must be on a file system that all machines share; {blind[0]} does not see {file}, "
            "which process 0 has written"
        )


def _check(what: str, values: dict[str, str]) -> None:
    hosts, everywhere = gathered(socket.gethostname(), "host"), gathered(values, what)
    of_first = everywhere[0]
    for process, (host, found) in enumerate(zip(hosts, everywhere, strict=True)):
        for key in sorted({*of_first, *found}):
            if found.get(key) != of_first.get(key):
                raise ConfigError(
                    "every process of a run must have the same config, code, versions and data; "
                    f"process {process} on {host} has {key} {found.get(key)}, process 0 has {of_first.get(key)}"
                )
