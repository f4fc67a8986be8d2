"""Whether somebody can be asked, and what is said where nobody can."""

import sys
import threading

ASKING = threading.Lock()
"""Held while a person is asked: several clusters may ask at once, and are heard one after the other."""


def somebody_is_there() -> bool:
    """Say whether a person sits at the terminal of this process."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def answer_once(master: str) -> str:
    """Say how a person opens a connection with the command `master`, so that nobody asks again."""
    return f"answer once in a terminal, with `{master}`: hpcdeploy rides on the connection that this opens"
