"""Callbacks that report the progress of a transfer."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Progress = Callable[[int, int], None]
"""Receives the bytes transferred so far, and the total bytes."""


def ignore_progress(_done: int, _total: int) -> None:
    """Ignore progress."""


Carrying = Callable[[str], AbstractContextManager[Progress]]
"""Shows the transfer with the given name to the user, and returns the callback for its progress."""


def silently(_what: str) -> AbstractContextManager[Progress]:
    """Return a callback that shows nothing."""
    return nullcontext(ignore_progress)
