"""Time limit of a call that may block in the network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["within"]

Result = TypeVar("Result")


def within(seconds: float, function: Callable[[], Result]) -> Result:
    """Call a function in a thread of its own, and wait for it no longer than a limit.

    Timeouts of sockets restart with each byte; this one does not. What takes longer is left behind in a thread that
    does not keep the process alive.

    Args:
      seconds: the limit.
      function: what to call.

    Raises:
      TimeoutError: if it takes longer.
      BaseException: whatever the function raises.

    >>> within(60, lambda: 1 + 1)
    2
    """
    results: list[Any] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call, daemon=True, name="within")
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"took longer than {seconds:,.1f} s")
    return results[0]
