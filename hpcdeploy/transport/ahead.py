"""A connection that is made while its user does something else, and whose questions to the person its user puts."""

import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from hpcdeploy.transport.asking import Ask

Made = TypeVar("Made")


@dataclass(frozen=True)
class _Question:
    text: str
    visible: bool


@dataclass(frozen=True)
class _Done(Generic[Made]):
    made: Made


class Ahead(Generic[Made]):
    """What `make` makes, in a thread of its own from now on.

    What `make` asks the person (it is handed a way to ask, or None where `ask` is None) waits for `result`, which puts the
    question in the thread of its caller: nobody is asked before there is a need, and Ctrl-C ends a question as it does
    elsewhere. What nobody takes is let go of by `let_go`.
    """

    def __init__(self, make: Callable[[Ask | None], Made], ask: Ask | None, let_go: Callable[[Made], None]) -> None:
        self._ask = ask
        self._let_go = let_go
        self._events: queue.SimpleQueue[_Question | _Done[Made] | BaseException] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, args=(make,), daemon=True).start()

    def result(self) -> Made:
        """Wait for it; raises what `make` raised, and what asking raises. To be called once."""
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
        """Say that nobody will take it: whatever comes is let go of, and no question is answered any more."""
        self._answers.put(None)
        threading.Thread(target=self._clear, daemon=True).start()

    def _work(self, make: Callable[[Ask | None], Made]) -> None:
        try:
            self._events.put(_Done(make(self._forward if self._ask else None)))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
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
