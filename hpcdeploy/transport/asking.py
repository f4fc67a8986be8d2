"""Whether somebody can be asked, and what is said where nobody can."""

import getpass
import sys
import threading
from collections.abc import Callable

from hpcdeploy.plain_text import plain

Ask = Callable[[str, bool], str]
"""Puts a question to the person; the flag says whether the answer may be seen while it is typed."""

ASKING = threading.Lock()
"""Held while a person is asked: several clusters may ask at once, and are heard one after the other."""


def somebody_is_there() -> bool:
    """Say whether a person sits at the terminal of this process."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def terminal_ask() -> Ask | None:
    """Return a way to ask the person, or None where nobody sits at a terminal."""
    if not somebody_is_there():
        return None

    def ask(question: str, visible: bool) -> str:  # noqa: FBT001 - the server's own word comes by position
        question = plain(question)  # most of it is the server's
        with ASKING:
            if not visible:
                return getpass.getpass(question)
            sys.stderr.write(question)
            sys.stderr.flush()
            return sys.stdin.readline().rstrip("\n")

    return ask


def answer_once(master: str) -> str:
    """Say how a person opens a connection with the command `master`, so that nobody asks again."""
    return f"answer once in a terminal, with `{master}`: hpcdeploy rides on the connection that this opens"
