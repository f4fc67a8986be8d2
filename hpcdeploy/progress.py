"""Callbacks that tell the user what a long operation does."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from hpcdeploy.frozen import frozen

Progress = Callable[[int, int], None]
"""Receives the bytes transferred so far, and the total bytes."""


def ignore_progress(_done: int, _total: int) -> None:
    """Ignore progress."""


Carrying = Callable[[str], AbstractContextManager[Progress]]
"""Shows the transfer with the given name to the user, and returns the callback for its progress."""


def silently(_what: str) -> AbstractContextManager[Progress]:
    """Return a callback that shows nothing."""
    return nullcontext(ignore_progress)


def ignore_output(_piece: bytes) -> None:
    """Ignore a piece of output; it is kept nevertheless."""


@frozen
class Feedback:
    """What the user sees of a submission.

    Attributes:
        report: Receives messages, as bytes with line breaks.
        carrying: Shows the progress of an upload.
    """

    report: Callable[[bytes], None] = ignore_output
    carrying: Carrying = silently


NO_FEEDBACK = Feedback()
