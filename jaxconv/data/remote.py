"""Datasets elsewhere: files at a URL, copied into the user's cache by fsspec, and datasets of Hugging Face's hub."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.files import read_text, user_path, write_atomically, writing
from jaxconv._base.locks import file_lock
from jaxconv.data.decode import in_threads
from jaxconv.data.download import cache_folder
from jaxconv.data.encoded import some_of
from jaxconv.data.formats.reading import package
from jaxconv.data.formats.tree import train_and_test

__all__ = ["hub_name", "hub_parts", "local"]

HUB = "hf://"
Result = TypeVar("Result")
_FILES_OF_HUB = ("hf://datasets/", "hf://models/", "hf://spaces/", "hf://buckets/")  # fsspec's URLs of files
_LISTED = "files.json"
_THREADS = 8
_MARKS = (
    *("size", "etag", "content-md5", "content_md5", "digest", "md5hash", "crc", "crc32c", "generation", "blob_id"),
    *("mtime", "last-modified", "lastmodified", "last_modified", "updated", "created", "date_time"),
)
"""Entries of fsspec's description of a file, in lower case, that change with it."""


def local(root: str | Path) -> Path:
    """A folder or file on this machine; one at a URL is copied into the user's cache.

    A file is copied again if its size, checksum or time at the URL has changed.

    Args:
      root: the folder or file, or its URL: `gs://…`, `s3://…`, `https://…`, and fsspec's others.

    Raises:
      ConfigError: if fsspec or the package of the URL's protocol is missing, or there is no such protocol.
      DataError: if there is no such folder or file, it cannot be read, or is larger than the free disk space.
      WriteError: if the cache cannot be written.
    """
    url = os.path.expandvars(str(root))
    if "://" not in url:
        return user_path(root)
    system, path = _file_system(url)
    if "file" in _protocols(system):
        return Path(path)
    folder = cache_folder("remote") / hashlib.sha256(url.encode()).hexdigest()[:16]
    target = folder / _name(path)
    try:
        files = _guarded(url, lambda: _found(system, path))
    except DataError as error:
        copy = f"; an earlier copy is {target}" if target.exists() else ""
        raise DataError(f"{error}{copy}") from None
    if not files:
        raise DataError(f"data.root = {url} holds no files")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with file_lock(folder / ".lock", None):
        _update(url, system, files, folder, target)
    return target


def hub_name(root: str | Path) -> str | None:
    """The name of a dataset of Hugging Face's hub, `owner/name` of `hf://owner/name`; None for anything else."""
    text = str(root)
    return text.removeprefix(HUB) if text.startswith(HUB) and not text.startswith(_FILES_OF_HUB) else None


def hub_parts(name: str) -> list[list[Path]]:
    """The Arrow files of a dataset that Hugging Face's `datasets` downloads or has in its cache.

    Args:
      name: `owner/name`, `owner/name/config`, or a folder on this machine that `load_dataset` reads.

    Returns:
      Files of each part, as `jaxconv.data.formats.shards.part_files`.

    Raises:
      ConfigError: if `datasets` is missing.
      DataError: if it cannot be loaded.
    """
    datasets = package("datasets", f"data.root = {HUB}… and others of the hub", "datasets")
    is_folder = name.startswith((".", "/", "~"))
    path, config = (str(user_path(name)), None) if is_folder else _with_config(name)
    try:
        found = datasets.load_dataset(path, config)
    except Exception as error:  # of the network, of the hub, or of the dataset's files
        fix = "save_to_disk(FOLDER) there, a copy of FOLDER here, and data.root = FOLDER"
        raise DataError(
            f"datasets cannot load {name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}\n"
            f"  without a network: datasets.load_dataset({path!r}) on another machine, {fix}"
        ) from None
    parts = train_and_test(found)
    if not parts:
        raise DataError(f"{name} must have a part train, found {some_of(list(found))}")
    return [[Path(file["filename"]) for file in found[part].cache_files] for part in parts]


def _with_config(name: str) -> tuple[str, str | None]:
    """`owner/name` and the config in `owner/name/config`."""
    owner, _, rest = name.partition("/")
    own, _, config = rest.partition("/")
    return f"{owner}/{own}" if own else owner, config or None


def _file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path there."""
    core = package("fsspec.core", f"data.root = {url} and other URLs")
    try:
        return core.url_to_fs(url)
    except ImportError as error:
        raise ConfigError(f"data.root = {url} needs a package that is not installed: {error}") from None
    except ValueError as error:
        raise ConfigError(f"data.root = {url}: {error}") from None
    except Exception as error:  # of a file system that connects
        raise DataError(f"cannot read data.root = {url}: {_reason(error)}") from None


def _protocols(system: Any) -> tuple[str, ...]:
    found = system.protocol
    return (found,) if isinstance(found, str) else tuple(found)


def _found(system: Any, path: str) -> dict[str, tuple[str, str, int]]:
    """Path, mark and bytes of each file at or below a path, by its path relative to it; empty for a file itself."""
    about = system.info(path)
    if about["type"] != "directory":
        return {"": (path, _mark(about), int(about.get("size") or 0))}
    base = str(about["name"]).strip("/")
    found = system.find(path, detail=True)
    files = (name for name in found if not name.endswith("/"))  # object stores may mark folders by such names
    below = {name.strip("/").removeprefix(base).lstrip("/"): name for name in files}
    if outside := [name for name in below if ".." in PurePosixPath(name).parts]:
        raise ValueError(f"a file must be below its folder, found {outside[0]}")
    return {name: (whole, _mark(found[whole]), int(found[whole].get("size") or 0)) for name, whole in below.items()}


def _name(path: str) -> str:
    """The last part of a path, whose ending is the format; without a query if it has an ending before.

    >>> _name("https://host/x.zip?token=1"), _name("bucket/photos/"), _name("")
    ('x.zip', 'photos', 'root')
    """
    name = PurePosixPath(path).name
    plain = name.partition("?")[0]
    return (plain if PurePosixPath(plain).suffix else name) or "root"


def _mark(about: dict[str, Any]) -> str:
    return " ".join(f"{key}={about[key]}" for key in sorted(about) if key.lower() in _MARKS)


def _update(url: str, system: Any, files: dict[str, tuple[str, str, int]], folder: Path, target: Path) -> None:
    """Copy the files that are not in the cache as they are at the URL, and remove those that are no longer there."""
    known = _known(folder)
    new = [
        name
        for name, (_, mark, _) in files.items()
        if not mark or known.get(name) != mark or not (target / name).is_file()
    ]
    needed, free = sum(files[name][2] for name in new), shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{url} has {needed / 1e9:,.1f} GB of files to copy, but {folder} has {free / 1e9:,.1f} GB free; "
            "XDG_CACHE_HOME can name another disk"
        )
    done = {name: mark for name, (_, mark, _) in files.items() if name not in new}

    def copy(name: str) -> None:
        place = target / name
        partial = folder / f".{hashlib.sha256(name.encode()).hexdigest()[:16]}.partial"
        system.get_file(files[name][0], str(partial))
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial, place)
        done[name] = files[name][1]

    threads = _THREADS if getattr(system, "async_impl", False) else 1
    try:
        _guarded(url, lambda: list(in_threads(copy, new, threads)), f"cannot copy {url} to {folder}")
        for name in known.keys() - files.keys():
            (target / name).unlink(missing_ok=True)
    finally:  # what is copied need not be copied again
        write_atomically(folder / _LISTED, json.dumps(done).encode())


def _known(folder: Path) -> dict[str, str]:
    """The marks of the files in the cache."""
    try:
        return dict(json.loads(read_text(folder / _LISTED)))
    except (OSError, ValueError):
        return {}


def _guarded(url: str, read: Callable[[], Result], problem: str = "") -> Result:
    """Call a function that reads a URL; file systems raise errors of many types."""
    try:
        return read()
    except FileNotFoundError as error:
        reason = f": {error.__cause__}" if error.__cause__ else ""  # of a server that does not answer, too
        raise DataError(f"data.root = {url}: there is no such file or folder{reason}") from None
    except Exception as error:
        raise DataError(f"{problem or f'cannot read data.root = {url}'}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).split("\n")[0] or type(error).__name__
