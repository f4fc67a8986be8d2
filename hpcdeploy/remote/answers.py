"""Parse what a script on a login node prints: its first line, its answer, its exit code and its error output."""

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
"""The command of a login shell that runs a script from standard input, whose later bytes are data.

bash reads a script from a pipe byte by byte, so the data remains unread. It is a login shell, because sites set PATH and
modules in the profile (bash(1)).
"""

SHELL = ("bash", "-l", "-c", r'{ \set +x; \trap - DEBUG; } 2>/dev/null; \eval "$(\command cat)"', "bash")
"""The command of a login shell that runs its whole standard input as a script.

``cat`` reads the script at once, because bash takes 0.1 s to read a large script byte by byte. The rest of the command
undoes settings of a profile that would affect the script: an alias named cat, a trap that prints, ``set -x``.
"""

SUBMITTING = (*SHELL, "bring")
"""`SHELL` for a script that submits a run; the argument means that the caller uploads missing files."""


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
    """It is unknown whether the scheduler has the job, or the scheduler's output exceeds the limit."""
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
    """The checksum is wrong. The received bytes of the file were removed, or the record was not written."""
    INCOMPLETE = 15
    """Not all bytes were received. The received ones are kept, and the next call receives the rest."""


MARK = b"HPCDEPLOY "
"""Marker that each script prints when it starts (`login/begin.sh`), and before each answer."""

_BEGINNINGS = (b'{"', b"{}", b"{")
"""The possible beginnings of an answer after the marker. If other text follows a marker, it is not the marker of an answer.

A single ``{`` is accepted only at the end of a line, where it is the beginning of an answer that was cut.
"""

_SHOWN = 500
"""Maximum number of characters of an answer that a message quotes."""

_MOST_MARKS = 16
"""Maximum number of markers in one line that are tried as the start of the answer.

A line may have several, because a value of the answer, such as a path, may contain the text of a marker.
"""


def read_answer(stdout: bytes) -> Mapping[str, object] | None:
    """Return the values of the last answer ``HPCDEPLOY {...}``; None if there is no answer.

    An answer ends with its line. It may start anywhere in the line, because a login profile may print text without a line
    break before it (``tput``, a terminal's title). Bytes that are not UTF-8, as in a file's name, become surrogate escapes.

    Raises:
        ValueError: The answer is not JSON, for example because the script was interrupted. The message quotes it.
    """
    # The line is searched in bytes: str.splitlines() would also break it at U+2028 and U+0085 in a file's name.
    last = len(stdout)
    while (last := stdout.rfind(MARK, 0, last)) >= 0:
        if _begins_answer(stdout, last):
            break
    else:
        return None
    start = max(stdout.rfind(b"\n", 0, last), stdout.rfind(b"\r", 0, last)) + 1
    line = stdout[start : _line_end(stdout, last)]
    texts = [line[place:].decode("utf-8", "surrogateescape") for place in islice(_answers(line), _MOST_MARKS)]
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
    """Tell whether an answer follows the marker at `place`."""
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
"""Maximum number of characters of a wrong value in a message."""

_PATH_MAX = 4096
"""Maximum length of a path in bytes (limits.h, PATH_MAX)."""


@frozen
class Submission:
    """The answer of a submission script.

    Attributes:
        run: The run, with its job id and folder if the script submitted it.
        already: An earlier call of the script had submitted the run.
        needs: The files that must be uploaded first, each with ``sha256``, ``path`` and ``have`` (bytes present); None if
            the run was submitted or cancelled.
        cancelled: The script's message if the run was cancelled; otherwise empty.
    """

    run: Run
    already: bool = False
    needs: Sequence[Mapping[str, object]] | None = None
    cancelled: str = ""


def read_submission(answer: Answer, run: Run, *, may_lack_job: bool = False) -> Submission:
    """Parse the answer of a submission script: the job of `run`, or the files that it needs first.

    Args:
        answer: The values that the script printed.
        run: The run that the script was to submit.
        may_lack_job: The answer is from the script that finds a job or prevents its submission. Such an answer may have an
            empty job id, but may not request files.

    Raises:
        ValueError: The answer is malformed; the message names the wrong value and what was expected.
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
        raise _wrong("part", answer, f"the number of tasks in each of {len(jobs)} jobs, for {run.tasks} tasks in total")
    already, folder = answer.get("already"), answer.get("folder")
    if not isinstance(already, bool):
        raise _wrong("already", answer, "true or false")
    if not is_path(folder):
        raise _wrong("folder", answer, "a path")
    return Submission(run=replace(run, job_id=job_id, part=part, folder=folder), already=already)


def is_path(value: object) -> TypeGuard[str]:
    """Tell whether `value` can be a path; a script never prints a path with a line break (``login/answer.sh``)."""
    return isinstance(value, str) and 0 < len(value) <= _PATH_MAX and not set(value) & set("\0\n\r")


def number_of(answer: Answer, key: str) -> int:
    """Return the whole number under `key`.

    Raises:
        ValueError: The value is missing, or not a whole number.
    """
    number = whole_number(answer.get(key), LARGEST)
    if number is None:
        raise _wrong(key, answer, "a whole number")
    return number


def ranges_of(answer: Answer, size: int) -> list[range]:
    """Return the ranges of a file that the login node has: the pairs of offset and length under ``have``, in bytes.

    Raises:
        ValueError: ``have`` is not a list of such pairs, or a range ends after `size` bytes.
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
    """Forward a script's standard error line by line, but hold back a last line that begins with ``error: ``.

    `message` returns this line as the error message, so that the user does not see it twice.
    """

    def __init__(self, report: Output) -> None:
        self._report = report
        self._open = Lines()
        self._error = b""

    def take(self, piece: bytes) -> None:
        """Process received bytes."""
        for line in self._open.take(piece):
            self._line(line + b"\n")

    def message(self, completed: Completed) -> str:
        """Return the error message of a finished script.

        If the script failed, and standard error ended with an error line, the message is this line. In all other cases, and
        if no lines are forwarded (`ignore_output`), the message is the last lines of standard error.
        """
        self._line(self._open.rest())
        if completed.exit_code and self._error and self._report is not ignore_output:
            return self._error.decode("utf-8", "replace").strip().removeprefix(_ERROR)
        self._pass(self._error)
        return last_lines(completed.stderr)

    def _line(self, line: bytes) -> None:
        if not line:
            return
        self._pass(self._error)  # `line` follows the held-back error line, so that line is not the last one
        self._error = line if line.startswith(_ERROR.encode()) else b""
        self._pass(b"" if self._error else line)

    def _pass(self, line: bytes) -> None:
        if line:
            self._report(line)


def last_lines(stderr: bytes) -> str:
    """Return the last four lines of standard error: the script's error line, and the scheduler's output before it."""
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return "\n".join(line.removeprefix(_ERROR) for line in lines[-4:]) or "the login node's script failed without a message"
