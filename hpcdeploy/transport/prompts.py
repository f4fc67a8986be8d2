"""Prompt the user, also for a connection that is opened in a background thread."""

import contextlib
import getpass
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from hpcdeploy.plain_text import plain

Ask = Callable[[str, bool], str]
"""A function that prompts the user. Its arguments are the text of the prompt, and whether the input is visible."""

ASKING = threading.Lock()
"""Lock for prompts, so that the user sees one prompt at a time if several clusters need input at once."""


def somebody_is_there() -> bool:
    """Tell whether the user can be prompted: standard input and standard error are a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def terminal_ask() -> Ask | None:
    """Return a function that prompts the user; None without a terminal."""
    if not somebody_is_there():
        return None

    def ask(question: str, visible: bool) -> str:  # noqa: FBT001 - a positional argument of the server's request
        question = plain(question)  # most of the text comes from the server, so terminal commands in it are escaped
        with ASKING:
            if not visible:
                return getpass.getpass(question)
            sys.stderr.write(question)
            sys.stderr.flush()
            return sys.stdin.readline().rstrip("\n")

    return ask


def answer_once(master: str) -> str:
    """Return advice to open a connection with the command `master`, so that later commands do not prompt."""
    return f"log in once in a terminal with `{master}`: hpcdeploy then uses this connection"


Made = TypeVar("Made")


@dataclass(frozen=True)
class _Question:
    text: str
    visible: bool


@dataclass(frozen=True)
class _Done(Generic[Made]):
    made: Made


class Ahead(Generic[Made]):
    """Call `make` in a background thread, which starts at once.

    A prompt of `make` is shown when `result` is called, in the thread of that call. So the user is prompted only if the
    result is needed, and Ctrl-C works as usual.

    Args:
        make: Returns the result. Its argument is a function that prompts the user, or None if `ask` is None.
        ask: Prompts the user; None if that is not possible.
        let_go: Releases a result that is not needed any more.
    """

    def __init__(self, make: Callable[[Ask | None], Made], ask: Ask | None, let_go: Callable[[Made], None]) -> None:
        self._ask = ask
        self._let_go = let_go
        self._events: queue.SimpleQueue[_Question | _Done[Made] | BaseException] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, args=(make,), daemon=True).start()

    def result(self) -> Made:
        """Return the result of `make`; may be called only once.

        Raises:
            BaseException: `make` or a prompt raised an exception; it is raised again.
        """
        try:
            while isinstance(event := self._events.get(), _Question):
                assert self._ask is not None
                self._answers.put(self._ask(event.text, event.visible))
        except BaseException:
            self.abandon()
            raise
        if isinstance(event, BaseException):
            raise event
        return event.made

    def abandon(self) -> None:
        """Release the result as soon as there is one. Prompts of `make` fail with EOFError from now on."""
        self._answers.put(None)
        threading.Thread(target=self._clear, daemon=True).start()

    def _work(self, make: Callable[[Ask | None], Made]) -> None:
        try:
            self._events.put(_Done(make(self._forward if self._ask else None)))
        except BaseException as error:  # noqa: BLE001 - `result` raises it
            self._events.put(error)

    def _forward(self, question: str, visible: bool) -> str:  # noqa: FBT001 - by position, as Ask says
        self._events.put(_Question(question, visible))
        answer = self._answers.get()
        if answer is None:
            raise EOFError
        return answer

    def _clear(self) -> None:
        while isinstance(event := self._events.get(), _Question):
            pass
        if isinstance(event, _Done):
            with contextlib.suppress(Exception):
                self._let_go(event.made)
