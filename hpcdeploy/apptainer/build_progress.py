"""Detect a build's steps in Apptainer's output."""

import re
import time
from collections import deque
from collections.abc import Callable

from hpcdeploy.frozen import frozen
from hpcdeploy.limits import LONGEST_LINE, Lines

KEPT_LINES = 400
"""Number of lines of output that are kept to explain a failed build."""

SEARCHED = 4 * LONGEST_LINE
"""Length in bytes of a line in which secrets are masked; a longer line is replaced by its length."""

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
"""Prefixes of Apptainer 1.4's messages (``internal/pkg/build``), and their steps."""

_WAITS = "another build of the same inputs runs; waiting for it"
"""A message of ``login/build.sh``."""

_BUILT_BEFORE = "these inputs were built before"
"""A message of ``login/build.sh``."""

UNCHANGED = "unchanged: an image of these inputs exists (--force builds it again)"
"""The step of a build that has nothing to do."""

_ERROR = "error: "
"""Prefix of the last message of ``login/build.sh``."""

_NOTE = "hpcdeploy: note: "
"""Prefix of notes that a definition prints for the user (``defs/parts/activation.def``)."""


def plain(line: str) -> str:
    """Remove colours from a line, and text that it overwrote (``10 %``, carriage return, ``20 %``)."""
    return _ANSI.sub("", line).rstrip().rpartition("\r")[2]


def step_of(line: str) -> str | None:
    """Return the step that a plain line starts, or its note, or None.

    Copying is one step for any number of files.
    """
    if line == _WAITS:
        return "waiting for another build of the same inputs"
    if line == _BUILT_BEFORE:
        return UNCHANGED
    if line.startswith(_NOTE):
        return line.removeprefix(_NOTE.removesuffix("note: "))
    match = _INFO.match(line)
    if match is None:
        return None
    text = match["text"]
    if re.match(r"Copying .+ to ", text):
        return "copying files"
    return next((step for beginning, step in _STEPS if text.startswith(beginning)), None)


@frozen
class BuildEvent:
    """A build's progress: a new step if ``is_step``, else a line of output. ``elapsed`` is in seconds since the start."""

    elapsed: float
    text: str
    is_step: bool = False


Report = Callable[[BuildEvent], None]


def ignore_event(_event: BuildEvent) -> None:
    """Ignore an event."""


class Show:
    """Convert lines to events with the time since the start; `mask` is applied to each line first.

    Attributes:
        tail: The last lines.
    """

    def __init__(self, report: Report, mask: Callable[[str], str] = str) -> None:
        self._report = report
        self.mask = mask
        self._start = time.monotonic()
        self._step = ""
        self._lines = Lines(SEARCHED, whole=True)
        self._held = ""
        self.tail: deque[str] = deque(maxlen=KEPT_LINES)

    def step(self, text: str) -> None:
        """Report a step, without repetitions."""
        if text != self._step:
            self._step = text
            self._report(BuildEvent(elapsed=time.monotonic() - self._start, text=text, is_step=True))

    def line(self, line: str) -> None:
        """Report a line of output, or the step that it starts.

        An error line is reported with the next line, because the last one becomes the message of the error (`end`).
        """
        text = self.mask(plain(self.mask(line)))[:LONGEST_LINE]  # before and after colours and overwritten text are removed
        if _IDLE.search(text):
            return
        self.tail.append(text)
        self._report_held()
        step = step_of(text)
        if step and step != self._step:
            self.step(step)
        elif text.startswith(_ERROR):
            self._held = text
        else:
            self._report(BuildEvent(elapsed=time.monotonic() - self._start, text=text))

    def piece(self, piece: bytes) -> None:
        """Process output in pieces of any size."""
        for line in self._lines.take(piece):
            self.line(line.decode(errors="replace"))

    def end(self, *, failed: bool = False) -> None:
        """Report a last line without a line break; after a build that `failed` no error line, which its error contains."""
        if rest := self._lines.rest():
            self.line(rest.decode(errors="replace"))
        if not failed:
            self._report_held()

    def _report_held(self) -> None:
        if self._held:
            self._report(BuildEvent(elapsed=time.monotonic() - self._start, text=self._held))
            self._held = ""
