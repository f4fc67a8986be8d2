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
"""Maximum length in bytes of an output line. A longer line could contain half a secret, so a note replaces it."""

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # control sequences: ECMA-48, 5.4
_IDLE = re.compile(
    r"gocryptfs not found|Instance stats will not be available|/run/secrets': destination is already in the mount point list"
    r"|Non-gzip squashfs compression might not work"
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
"""Prefixes of Apptainer 1.4's messages (``internal/pkg/build``), and the name of the step that each message starts."""

_WAITS = "another build of the same inputs runs; waiting for it"
"""Message of ``login/build.sh`` while it waits for the lock of the build."""

_BUILT_BEFORE = "these inputs were built before"
"""Message of ``login/build.sh`` if the cluster already has the image."""

UNCHANGED = "unchanged: an image of these inputs exists (--force builds it again)"
"""The only step of a build whose image already exists."""

FROM_CACHE = "unchanged: the cache has an image of these inputs (--force builds it again)"
"""The only step of a build whose image is copied from the cache."""

_STEPS_OF_SCRIPT = ("building the environment without the code", "appending the code", "running %test")
"""Messages of ``login/append.sh`` that start a step."""

_ERROR = "error: "
"""Prefix of the error messages of ``login/build.sh``. A script that fails prints one as its last line."""

_NOTE = "hpcdeploy: note: "
"""Prefix of notes that a definition prints for the user (``defs/parts/activation.def``)."""


def plain(line: str) -> str:
    """Return a line as a terminal would finally show it.

    Control sequences are removed, and so is all text before the last carriage return, such as ``10 %`` in ``10 %``,
    carriage return, ``20 %``.
    """
    return _ANSI.sub("", line).rstrip().rpartition("\r")[2]


def step_of(line: str) -> str | None:
    """Return the step that an output line (after `plain`) starts; None if it starts none.

    A note of a definition (`_NOTE`) is also returned as a step. All lines about copied files are the same step.
    """
    if line == _WAITS:
        return "waiting for another build of the same inputs"
    if line == _BUILT_BEFORE:
        return UNCHANGED
    if line in _STEPS_OF_SCRIPT:
        return line
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
    """A new step of a build, or a line of its output.

    Attributes:
        elapsed: The time since the start of the build, in seconds.
        text: The name of the step, or the line.
        is_step: Whether the event is a new step.
    """

    elapsed: float
    text: str
    is_step: bool = False


Report = Callable[[BuildEvent], None]


def ignore_event(_event: BuildEvent) -> None:
    """Ignore an event."""


class Show:
    """Convert the output of a build to events.

    Args:
        report: Receives the events.
        mask: Replaces secrets in each line, before the line is reported or stored.

    Attributes:
        tail: The last `KEPT_LINES` lines of output, with masked secrets.
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
        """Report a step, unless it is the current step."""
        if text != self._step:
            self._step = text
            self._report(BuildEvent(elapsed=time.monotonic() - self._start, text=text, is_step=True))

    def line(self, line: str) -> None:
        """Report a line of output, or the step that the line starts.

        A line with an error message is only reported when another line follows. If it is the last line, the error of the
        build contains it (see `end`).
        """
        # Removing control sequences can destroy a secret, or join the parts of one. So mask before and after `plain`.
        text = self.mask(plain(self.mask(line)))[:LONGEST_LINE]
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
        """Report the lines that end in the next `piece` of output. A piece may have any size."""
        for line in self._lines.take(piece):
            self.line(line.decode(errors="replace"))

    def end(self, *, failed: bool = False) -> None:
        """Report the rest of the output: a last line without a line break, and an error line that was not reported yet.

        After a build that `failed`, the error line is not reported, because the error of the build contains it.
        """
        if rest := self._lines.rest():
            self.line(rest.decode(errors="replace"))
        if not failed:
            self._report_held()

    def _report_held(self) -> None:
        if self._held:
            self._report(BuildEvent(elapsed=time.monotonic() - self._start, text=self._held))
            self._held = ""
