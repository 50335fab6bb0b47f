"""Safe reading of pickles that contain plain data."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from jaxconv._base.errors import DataError

__all__ = ["read_pickle"]


def read_pickle(content: bytes, name: str = "data") -> Any:
    """Read a pickle of dicts, lists, strings, bytes, numbers and NumPy arrays, without executing code.

    `pickle.load` calls any function that a pickle names. Here all but the few that reconstruct arrays are refused.

    Args:
      content: the pickle; strings of Python 2 become bytes.
      name: its name in messages.

    Returns:
      Its content.

    Raises:
      DataError: if it asks for anything else, or is not a complete pickle.

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
    # Damaged pickles raise nearly anything.
    except Exception as error:
        raise DataError(
            f"{name} is truncated or altered: not a complete pickle ({type(error).__name__}: {error})"
        ) from None


def _latin1(text: str, encoding: str) -> bytes:
    """Decoder of protocol 2's bytes; other codecs are refused, since they could expand without limit."""
    if encoding not in ("latin1", "latin-1"):
        raise DataError(
            f"asks for the codec {encoding!r}: only plain data is read from a pickle, nothing in it was run"
        )
    return text.encode("latin-1")


# Module names before and after NumPy 2; the function is taken from an array to be independent of both.
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
