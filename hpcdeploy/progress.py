"""Define the callbacks through which a long operation reports its progress."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from hpcdeploy.frozen import frozen

Progress = Callable[[int, int], None]
"""Function that receives the number of bytes transferred so far, and the total number of bytes."""


def ignore_progress(_done: int, _total: int) -> None:
    """Do nothing; a `Progress` for callers that show no progress."""


Carrying = Callable[[str], AbstractContextManager[Progress]]
"""Function that receives the name of a transfer, and returns a context manager for the duration of the transfer.

The context manager returns the callback that shows the progress of the transfer to the user.
"""


def silently(_what: str) -> AbstractContextManager[Progress]:
    """Return a context manager whose callback does nothing, for callers that show no progress (a `Carrying`)."""
    return nullcontext(ignore_progress)


def ignore_output(_piece: bytes) -> None:
    """Ignore a piece of output; it is kept nevertheless."""


@frozen
class Feedback:
    """The functions that show the progress of a submission to the user.

    Attributes:
        report: Function that receives messages of the login node, as bytes with line breaks.
        carrying: Function that shows the progress of one upload.
    """

    report: Callable[[bytes], None] = ignore_output
    carrying: Carrying = silently


NO_FEEDBACK = Feedback()
