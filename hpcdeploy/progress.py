"""How far a transfer is, told to whoever wants to know."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Takes bytes done and bytes in all."""


def ignore_progress(_done: int, _total: int) -> None:
    """Take progress and do nothing."""
