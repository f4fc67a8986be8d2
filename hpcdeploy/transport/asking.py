"""Prompt the user, or explain what to do if there is no terminal."""

import getpass
import sys
import threading
from collections.abc import Callable

from hpcdeploy.plain_text import plain

Ask = Callable[[str, bool], str]
"""Prompt the user; the flag tells whether the answer is shown while typing."""

ASKING = threading.Lock()
"""Lock for prompts: several clusters may need an answer at once, and each waits for the others."""


def somebody_is_there() -> bool:
    """Tell whether this process has a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def terminal_ask() -> Ask | None:
    """Return a function that prompts the user; None without a terminal."""
    if not somebody_is_there():
        return None

    def ask(question: str, visible: bool) -> str:  # noqa: FBT001 - a positional argument of the server's request
        question = plain(question)  # most of the text comes from the server
        with ASKING:
            if not visible:
                return getpass.getpass(question)
            sys.stderr.write(question)
            sys.stderr.flush()
            return sys.stdin.readline().rstrip("\n")

    return ask


def answer_once(master: str) -> str:
    """Return advice to open a connection with the command `master`, so that later commands do not prompt."""
    return f"log in once in a terminal with `{master}`: hpcdeploy uses the connection that this opens"
