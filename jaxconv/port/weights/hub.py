"""Download weights from the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jaxconv._base.deadline import within
from jaxconv._base.errors import ConfigError, DataError

__all__ = ["download"]

LIMIT_SECONDS = 3600.0
"""Limit on one download; the library's own timeouts restart with each byte."""


def download(
    repo: str, file: str = "model.safetensors", *, revision: str | None = None, folder: str | Path | None = None
) -> Path:
    """Download a file from the hub; later calls use the cache.

    Args:
      repo: "timm/resnet50.a1_in1k", "microsoft/resnet-50", ….
      file: path in the repository.
      revision: a branch, tag or commit; None for the newest.
      folder: where to put it; None for the hub's own cache (the variable HF_HOME moves it).

    Returns:
      The path of the file, for `load`.

    Raises:
      DataError: if it is not in the cache and cannot be downloaded: no network, no such repository or file.
      ConfigError: if huggingface_hub is not installed.

    The variable HF_ENDPOINT names a mirror; HF_HUB_OFFLINE=1 uses the cache alone.
    """
    try:
        from huggingface_hub import errors as hub
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise ConfigError(
            "download needs huggingface_hub, which is not installed\n  fix: pip install 'jaxconv[port]'"
        ) from None
    endpoint = os.environ.get("HF_ENDPOINT")  # the library itself reads it once, at import
    try:
        found = within(
            LIMIT_SECONDS,
            lambda: hf_hub_download(repo, file, revision=revision, local_dir=folder, endpoint=endpoint),
        )
    except hub.HFValidationError as error:
        raise ConfigError(f"repo must be 'owner/name'; got {repo!r}: {_line(error)}") from None
    except hub.RepositoryNotFoundError:
        raise DataError(
            f"the hub has no readable repository {repo!r}\n"
            "  fix: its name, as on huggingface.co; a private one needs the variable HF_TOKEN"
        ) from None
    except hub.RevisionNotFoundError:
        raise DataError(f"{repo} has no revision {revision!r}\n  fix: revision=None for the newest") from None
    except hub.RemoteEntryNotFoundError:
        raise DataError(f"{repo} has no file {file!r}\n  fix: see https://huggingface.co/{repo}/tree/main") from None
    # All other errors are forms of a missing network: the library's own, and its HTTP client's.
    except Exception as error:
        raise DataError(_offline(repo, file, revision, folder, error)) from error
    return Path(found)


def _offline(repo: str, file: str, revision: str | None, folder: Any, error: Exception) -> str:
    from huggingface_hub import constants

    address = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}/{repo}/resolve/{revision or 'main'}/{file}"
    off = ["  HF_HUB_OFFLINE is set: unset it to ask the network"] if constants.HF_HUB_OFFLINE else []
    return "\n".join(
        [
            f"{file} of {repo} is not on this machine and could not be downloaded: {_line(error)}",
            *off,
            "  fix: on a machine that is online, get",
            f"    {address}",
            f"  and give its path to port.load; or copy that machine's cache to {folder or constants.HF_HUB_CACHE}",
            "  A mirror: HF_ENDPOINT=https://…",
        ]
    )


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
