"""What a build is doing, told from Apptainer's own lines."""

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hpcdeploy.limits import LONGEST_LINE, Lines

KEPT_LINES = 400
"""Lines of output kept for telling why a build failed."""

SEARCHED = 4 * LONGEST_LINE
"""Bytes of the longest line in which secrets are masked; of a longer one only its length is shown."""

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # control sequences: ECMA-48, 5.4
_IDLE = re.compile(
    r"gocryptfs not found|Instance stats will not be available|/run/secrets': destination is already in the mount point list"
)
_INFO = re.compile(r"INFO:\s+(?P<text>.+)")

_STEPS = (
    ("Starting build", "starting"),
    ("Extracting local image", "unpacking the base image"),
    ("Fetching OCI image", "fetching the base image"),
    ("Extracting OCI image", "unpacking the base image"),
    ("Running post scriptlet", "running %post"),
    ("Running setup scriptlet", "running %setup"),
    ("Running pre scriptlet", "running %pre"),
    ("Adding labels", "writing labels, environment and scripts"),
    ("Running testscript", "running %test"),
    ("Creating SIF file", "packing the image"),
    ("Build complete", "built"),
)
"""Beginnings of Apptainer 1.4's messages (``internal/pkg/build``), and what they mean."""

_WAITS = "another build of the same inputs runs; waiting for it"
"""What ``login/build.sh`` says."""

_NOTE = "hpcdeploy: note: "
"""How lines begin by which a definition tells the person something (``defs/parts/activation.def``)."""


def plain(line: str) -> str:
    """Take the colours out of a line, and what it wrote over itself (``10 %``, carriage return, ``20 %``)."""
    return _ANSI.sub("", line).rstrip().rpartition("\r")[2]


def step_of(line: str) -> str | None:
    """Tell which step a plain line begins, or the note that it holds, or None.

    Copying is one step, whatever the number of files.
    """
    if line == _WAITS:
        return "waiting for another build of the same inputs"
    if line.startswith(_NOTE):
        return line.removeprefix(_NOTE.removesuffix("note: "))
    match = _INFO.match(line)
    if match is None:
        return None
    text = match["text"]
    if re.match(r"Copying .+ to ", text):
        return "copying files"
    return next((step for beginning, step in _STEPS if text.startswith(beginning)), None)


@dataclass(frozen=True, kw_only=True)
class BuildEvent:
    """Something to show: a new step where ``is_step``, else a line of output. ``elapsed`` is in seconds since the start."""

    elapsed: float
    text: str
    is_step: bool = False


Report = Callable[[BuildEvent], None]


def ignore_event(_event: BuildEvent) -> None:
    """Take an event and do nothing."""


class Show:
    """Turns lines into events, with the time since the start; `tail` are the last lines. Each passes `mask` first."""

    def __init__(self, report: Report, mask: Callable[[str], str] = str) -> None:
        self._report = report
        self.mask = mask
        self._start = time.monotonic()
        self._step = ""
        self._lines = Lines(SEARCHED, whole=True)
        self.tail: deque[str] = deque(maxlen=KEPT_LINES)

    def step(self, text: str) -> None:
        """Report a step, once."""
        if text != self._step:
            self._step = text
            self._report(BuildEvent(elapsed=time.monotonic() - self._start, text=text, is_step=True))

    def line(self, line: str) -> None:
        """Report a line of output, and the step that it begins."""
        text = self.mask(plain(self.mask(line)))[:LONGEST_LINE]  # before and after colours and what was overwritten go
        if _IDLE.search(text):
            return
        self.tail.append(text)
        step = step_of(text)
        if step:
            self.step(step)
        self._report(BuildEvent(elapsed=time.monotonic() - self._start, text=text))

    def piece(self, piece: bytes) -> None:
        """Take output in pieces of any size."""
        for line in self._lines.take(piece):
            self.line(line.decode(errors="replace"))

    def end(self) -> None:
        """Report what came last without a line's end."""
        if rest := self._lines.rest():
            self.line(rest.decode(errors="replace"))
