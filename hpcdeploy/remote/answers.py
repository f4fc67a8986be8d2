"""Read what a script on a login node prints: its start, its result line, its exit code, its error output."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import IntEnum
from itertools import islice
from typing import TypeGuard

from hpcdeploy.checked_values import LARGEST, read_json, whole_number
from hpcdeploy.frozen import frozen
from hpcdeploy.limits import Lines
from hpcdeploy.progress import ignore_output
from hpcdeploy.run import Run
from hpcdeploy.transport.contract import Completed, Output

STREAM_SHELL = ("bash", "-l", "-s")
"""Start a login shell that runs the script on its standard input and leaves later input unread. Therefore it reads byte by
byte.

A login shell, because sites set up PATH and modules in the profile (bash(1)).
"""

SHELL = ("bash", "-l", "-c", r'{ \set +x; \trap - DEBUG; } 2>/dev/null; \eval "$(\command cat)"', "bash")
"""Start a login shell whose whole input is the script. It is read at once: reading a large script byte by byte takes 0.1
s.

The command undoes settings of a profile that would change the script: an alias named cat, a trap that prints, ``set -x``.
"""

SUBMITTING = (*SHELL, "bring")
"""The same for a script that submits a run; the argument tells it that the caller uploads missing files."""


class ExitCode(IntEnum):
    """Exit codes of the scripts for a login node, apart from those that receive an upload (`UploadExitCode`)."""

    DONE = 0
    UNUSABLE = 10
    """The login node is not usable: a command is missing, or the root is not private."""
    NO_IMAGE = 11
    """The image cannot be pulled, or is damaged."""
    REJECTED = 12
    """The scheduler rejected the job."""
    UNKNOWN = 13
    """It is unknown whether the scheduler has the job, or its output exceeds the limit."""
    FILES_NEEDED = 14
    """Files must be uploaded first; the answer lists them."""
    CANCELLED = 15
    """The run was cancelled before it was submitted."""


class UploadExitCode(IntEnum):
    """Exit codes of the scripts that receive an upload (`login/receive.sh`, `login/records.sh`)."""

    DONE = 0
    UNUSABLE = 10
    """The login node is not usable: a command is missing, or the disk is full."""
    DAMAGED = 11
    """The checksum is wrong; the received bytes were removed, or the record was not written."""
    INCOMPLETE = 15
    """Not all bytes were received; they are kept, and the next call resumes."""


MARK = b"HPCDEPLOY "
"""Marker that each script prints first (`login/begin.sh`), and before its answers."""

_BEGINNINGS = (b'{"', b"{}", b"{")
"""The start of an answer after the mark; the last one if the line ends with it. A profile may have printed text before the
mark without a line break: ``tput``, a terminal's title."""

_SHOWN = 500
"""Maximum number of characters of an answer that a message quotes."""

_MOSTMARKS = 16
"""Maximum number of marks to try in one line: a value of an answer may contain the text of a mark."""


def read_answer(stdout: bytes) -> Mapping[str, object] | None:
    """Return the values of the last mark ``HPCDEPLOY {...}``; None if there is none.

    A mark ends with its line, but may start anywhere in it: a login shell may print other text around it. Bytes that are
    not UTF-8, as in a file's name, become surrogate escapes.

    Raises:
        ValueError: The line is not JSON, as from a script that was interrupted; the message quotes it.
    """
    # Bytes: as text, a name with U+2028 or U+0085 in it would end the line too.
    last = len(stdout)
    while (last := stdout.rfind(MARK, 0, last)) >= 0:
        if _begins_answer(stdout, last):
            break
    else:
        return None
    start = max(stdout.rfind(b"\n", 0, last), stdout.rfind(b"\r", 0, last)) + 1
    line = stdout[start : _line_end(stdout, last)]
    texts = [line[place:].decode("utf-8", "surrogateescape") for place in islice(_answers(line), _MOSTMARKS)]
    for text in texts:
        try:
            answer: dict[str, object] = read_json(text.partition(" ")[2])
        except ValueError as error:
            if text is texts[-1]:
                raise ValueError(f"the login node answered {text[:_SHOWN]!r}, which is not JSON") from error
        else:
            return answer
    return None


def _answers(line: bytes) -> Iterator[int]:
    """Yield the positions in a line where an answer may start."""
    place = -1
    while (place := line.find(MARK, place + 1)) >= 0:
        if _begins_answer(line, place):
            yield place


def _begins_answer(stdout: bytes, place: int) -> bool:
    """Tell whether an answer follows the mark at `place`."""
    start = place + len(MARK)
    if stdout.startswith(_BEGINNINGS[:2], start):
        return True
    return stdout.startswith(_BEGINNINGS[2], start) and stdout[start + 1 : start + 2] in (b"", b"\n", b"\r")


def _line_end(stdout: bytes, start: int) -> int:
    ends = [end for end in (stdout.find(b"\n", start), stdout.find(b"\r", start)) if end >= 0]
    return min(ends, default=len(stdout))


Answer = Mapping[str, object]

_JOBS = re.compile(r"[0-9]{1,20}(?:,[0-9]{1,20})*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST = 200
_PATH_MAX = 4096
"""Maximum length of a path in bytes (limits.h, PATH_MAX)."""


@frozen
class Submission:
    """The answer of a submission script."""

    run: Run
    already: bool = False
    needs: Sequence[Mapping[str, object]] | None = None
    cancelled: str = ""


def read_submission(answer: Answer, run: Run, *, may_lack_job: bool = False) -> Submission:
    """Parse the answer of a submission script: the job of `run`, or the files that it needs first.

    Args:
        answer: The answer.
        run: The run.
        may_lack_job: It is the answer of a cancelling script, which may not find a job, and needs no files.

    Raises:
        ValueError: The answer is malformed; the message describes the error.
    """
    if answer.get("run", run.id) != run.id:
        raise _wrong("run", answer, run.id)
    if "needs" in answer:
        needs = answer["needs"]
        if may_lack_job or not isinstance(needs, list) or not all(map(_is_need, needs)):
            raise _wrong("needs", answer, "a list of files, each with sha256, path and have")
        return Submission(run=run, needs=needs)
    job_id = answer.get("job_id")
    if not isinstance(job_id, str) or not (_JOBS.fullmatch(job_id) or (may_lack_job and not job_id)):
        raise _wrong("job_id", answer, "a job id")
    jobs, part = job_id.split(","), whole_number(answer.get("part", 0), run.tasks)
    if part is None or len(jobs) > (-(-run.tasks // part) if part else 1):
        raise _wrong("part", answer, f"the number of tasks, of {run.tasks}, in each of {len(jobs)} jobs")
    already, folder = answer.get("already"), answer.get("folder")
    if not isinstance(already, bool):
        raise _wrong("already", answer, "true or false")
    if not is_path(folder):
        raise _wrong("folder", answer, "a path")
    return Submission(run=replace(run, job_id=job_id, part=part, folder=folder), already=already)


def is_path(value: object) -> TypeGuard[str]:
    """Tell whether `value` can be a path, which has no line break in an answer (``login/answer.sh``)."""
    return isinstance(value, str) and 0 < len(value) <= _PATH_MAX and not set(value) & set("\0\n\r")


def number_of(answer: Answer, key: str) -> int:
    """Return the whole number under `key`.

    Raises:
        ValueError: There is none.
    """
    number = whole_number(answer.get(key), LARGEST)
    if number is None:
        raise _wrong(key, answer, "a whole number")
    return number


def ranges_of(answer: Answer, size: int) -> list[range]:
    """Return the ranges of a file of `size` bytes under ``have``, which are pairs of offset and length.

    Raises:
        ValueError: There are none, or one is beyond the end.
    """
    found = []
    have = answer.get("have")
    for pair in have if isinstance(have, list) else [None]:
        numbers = [whole_number(number, size) for number in pair] if isinstance(pair, list) else []
        match numbers:
            case [int(start), int(length)] if start + length <= size:
                found.append(range(start, start + length))
            case _:
                raise _wrong("have", answer, "ranges of the file")
    return found


def _is_need(need: object) -> bool:
    return (
        isinstance(need, dict)
        and isinstance(need.get("sha256"), str)
        and _SHA256.fullmatch(need["sha256"]) is not None
        and isinstance(need.get("path"), str)
        and whole_number(need.get("have", 0)) is not None
    )


def _wrong(key: str, answer: Answer, expected: str) -> ValueError:
    return ValueError(f"the login node answered {key} {str(answer.get(key))[:_LONGEST]!r}; expected {expected}")


_ERROR = "error: "


class ErrorOutput:
    """Forward a script's standard error line by line, except for a final error line, which becomes the error message."""

    def __init__(self, report: Output) -> None:
        self._report = report
        self._open = Lines()
        self._error = b""

    def take(self, piece: bytes) -> None:
        """Process received bytes."""
        for line in self._open.take(piece):
            self._line(line + b"\n")

    def message(self, completed: Completed) -> str:
        """Return the error message of a script that `completed`: only its error line if the other lines were forwarded."""
        self._line(self._open.rest())
        if completed.exit_code and self._error and self._report is not ignore_output:
            return self._error.decode("utf-8", "replace").strip().removeprefix(_ERROR)
        self._pass(self._error)
        return last_lines(completed.stderr)

    def _line(self, line: bytes) -> None:
        if not line:
            return
        self._pass(self._error)  # it was not the last line
        self._error = line if line.startswith(_ERROR.encode()) else b""
        self._pass(b"" if self._error else line)

    def _pass(self, line: bytes) -> None:
        if line:
            self._report(line)


def last_lines(stderr: bytes) -> str:
    """Return the last lines of standard error: the script's own error line, and the scheduler's output before it."""
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return "\n".join(line.removeprefix(_ERROR) for line in lines[-4:]) or "the login node's script failed without a message"
