"""A reader of outside text, as the fuzz test calls it."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from hpcdeploy.errors import HpcdeployError

CPU_LIMIT = 5.0
"""Seconds of CPU time that one input may cost."""


@dataclass(frozen=True, kw_only=True)
class Parser:
    """What reads text of the outside: ``read`` gets what ``inputs`` give, and raises ``errors`` and nothing else.

    ``read`` goes on to where the values are used: tables, JSON, the record.
    """

    name: str
    inputs: st.SearchStrategy[Any]
    read: Callable[[Any], object]
    errors: tuple[type[Exception], ...] = (HpcdeployError,)


class TooSlowError(Exception):
    """One input cost more than `CPU_LIMIT`."""


@contextmanager
def limited() -> Iterator[None]:
    """End what costs more than `CPU_LIMIT` seconds of this process's CPU time (setitimer(2), ITIMER_PROF)."""

    def stop(_number: int, _frame: object) -> None:
        raise TooSlowError(f"more than {CPU_LIMIT:.0f} s of CPU time")

    began = time.process_time()
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU_LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    if time.process_time() - began > CPU_LIMIT:  # a library in C lets no signal in between
        stop(0, None)
