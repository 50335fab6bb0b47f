"""Pickles of plain data: read without running anything that they hold."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from jaxconv._base.errors import DataError

__all__ = ["read_pickle"]


def read_pickle(content: bytes, name: str = "data") -> Any:
    """Read a pickle that holds dicts, lists, text, bytes, numbers and NumPy arrays, and nothing else.

    A pickle is a program: `pickle.load` calls whatever function it names. Here every name but the
    few that arrays are made of is refused before it is called.

    Args:
      content: the pickle; one of Python 2 has bytes for its text.
      name: what to call it in an error.

    Returns:
      What it holds.

    Raises:
      DataError: it asks for anything else, or is no whole pickle.

    >>> read_pickle(pickle.dumps({b"data": [1, 2]}))
    {b'data': [1, 2]}
    >>> read_pickle(pickle.dumps(print), "x")
    Traceback (most recent call last):
    jaxconv.DataError: x asks for builtins.print: only plain data is read from a pickle, nothing in it was run
    """
    try:
        return _Plain(io.BytesIO(content), encoding="bytes").load()
    except DataError as error:
        raise DataError(f"{name} {error}") from None
    # Damaged pickles raise nearly anything: a stack that is empty, an index, a codec, an array's state.
    except Exception as error:
        raise DataError(f"{name} is truncated or altered: no whole pickle ({type(error).__name__}: {error})") from None


def _latin1(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes; other codecs could unpack without end."""
    if encoding not in ("latin1", "latin-1"):
        raise DataError(
            f"asks for the codec {encoding!r}: only plain data is read from a pickle, nothing in it was run"
        )
    return text.encode("latin-1")


# The modules' names before and after NumPy 2; the functions are had from an array itself.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise DataError(f"asks for {module}.{name}: only plain data is read from a pickle, nothing in it was run")
        return _ADMITTED[module, name]
