"""How far a transfer is, told to whoever wants to know."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Progress = Callable[[int, int], None]
"""Takes bytes done and bytes in all."""


def ignore_progress(_done: int, _total: int) -> None:
    """Take progress and do nothing."""


Carrying = Callable[[str], AbstractContextManager[Progress]]
"""Tells a person of the transfer of what it is given the name of, and gives the function that takes its progress."""


def silently(_what: str) -> AbstractContextManager[Progress]:
    """Carry without a word."""
    return nullcontext(ignore_progress)
