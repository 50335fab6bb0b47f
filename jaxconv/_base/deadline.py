"""Time limit for calls that may block on the network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["within"]

Result = TypeVar("Result")


def within(seconds: float, function: Callable[[], Result]) -> Result:
    """Call a function in a separate thread and wait for it up to a limit.

    Unlike socket timeouts, the limit does not restart with each byte. A call that takes longer continues in a daemon
    thread, which does not keep the process alive.

    Args:
      seconds: time limit.
      function: the function to call.

    Raises:
      TimeoutError: if it takes longer.
      BaseException: any exception of the function.

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
