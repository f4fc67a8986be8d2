"""Read what a script on a login node prints: its start, its result line, its exit code."""

import re
from collections.abc import Iterator, Mapping
from itertools import islice

from hpcdeploy.json_text import read_json
from hpcdeploy.run import Run
from hpcdeploy.whole_number import LARGEST, whole_number

STREAM_SHELL = ("bash", "-l", "-s")
"""Reads a script from its standard input, and leaves what follows the script there: so it reads byte by byte.

A login shell: sites set up PATH and modules in the profile (bash(1)).
"""

SHELL = ("bash", "-l", "-c", r'{ \set +x; \trap - DEBUG; } 2>/dev/null; \eval "$(\command cat)"', "bash")
"""The same for a script that is all of its input: read at once, since a large one takes a tenth of a second byte by byte.

A profile may have set what would change the script on its way: an alias named cat, a trap that prints, ``set -x``.
"""

SUBMITTING = (*SHELL, "bring")
"""The same for a script that submits a run: this caller brings what it misses."""

_MARK = b"HPCDEPLOY "
"""Marker that each script prints first (`login/begin.sh`), and before its answers."""

_NOT_BASH = b"error: this script is for bash"
"""Error that a script prints if a shell other than bash reads it (`login/state.sh`)."""

_BEGINNINGS = (b'{"', b"{}", b"{")
"""How an answer begins behind the mark; the last one where the line ends with it. A profile may have printed text before the
mark without a line break: ``tput``, a terminal's title."""

_SHOWN = 500
"""Characters of an answer that a message quotes."""

_MOST_MARKS = 16
"""Marks of one line that are tried: an answer may hold the text of a mark in one of its values."""


def began(stdout: bytes, stderr: bytes) -> bool:
    """Tell whether a script began that printed this; if not, nothing of it was done.

    One that another shell than bash read has printed an error, which says that (`login/state.sh`).
    """
    return _MARK in stdout or _NOT_BASH in stderr


def never_began(where: str, stderr: bytes) -> str:
    """Return the message for a login shell on `where` that ended, with `stderr`, before it read the script."""
    said = stderr.decode("utf-8", "replace").strip()[-500:]
    return (
        f"the login shell on {where} ended before it read hpcdeploy's script, and nothing was done. The likely cause is a "
        "login profile there (/etc/profile, ~/.bash_profile, ~/.profile, ~/.bashrc) that calls exit, execs zsh, or "
        "reads standard input; do that in interactive shells only: case $- in *i*) ... ;; esac. "
        f"Its standard error: {said or '(nothing)'}"
    )


def read_answer(stdout: bytes) -> Mapping[str, object] | None:
    """Return the values of the mark ``HPCDEPLOY {...}``, the last one if there are more; None where there is none.

    It ends with its line, and begins anywhere in it: whatever a login shell prints around it is for people.

    Bytes that are no UTF-8, as in a file's name, become surrogate escapes. Raises `ValueError` with the line where it is no
    JSON, as of a script that was cut on its way.
    """
    # Bytes: as text, a name with U+2028 or U+0085 in it would end the line too.
    last = len(stdout)
    while (last := stdout.rfind(_MARK, 0, last)) >= 0:
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
                raise ValueError(f"the login node answered {text[:_SHOWN]!r}, which is no JSON") from error
        else:
            return answer
    return None


def _answers(line: bytes) -> Iterator[int]:
    """Give the places in a line where an answer may begin."""
    place = -1
    while (place := line.find(_MARK, place + 1)) >= 0:
        if _begins_answer(line, place):
            yield place


def _begins_answer(stdout: bytes, place: int) -> bool:
    """Tell whether an answer stands behind the mark at `place`."""
    start = place + len(_MARK)
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


def check_submission(answer: Answer, run: Run, *, may_lack_job: bool = False) -> Answer:
    """Validate the answer of a submission script: the job of `run`, or the files that it needs first.

    Args:
        answer: The answer.
        run: The run.
        may_lack_job: Accept an empty job id; a cancelling script may not find a job.

    Returns:
        The answer.

    Raises:
        ValueError: The answer is malformed; the message says how.
    """
    if answer.get("run", run.id) != run.id:
        raise _wrong("run", answer, run.id)
    if "needs" in answer:
        needs = answer["needs"]
        if not isinstance(needs, list) or not all(map(_is_need, needs)):
            raise _wrong("needs", answer, "a list of files, each with sha256, path and have")
        return answer
    job_id = answer.get("job_id")
    if not isinstance(job_id, str) or not (_JOBS.fullmatch(job_id) or (may_lack_job and not job_id)):
        raise _wrong("job_id", answer, "a job id")
    jobs, part = job_id.split(","), whole_number(answer.get("part", 0), run.tasks)
    if part is None or len(jobs) > (-(-run.tasks // part) if part else 1):
        raise _wrong("part", answer, f"the number of tasks, of {run.tasks}, in each of {len(jobs)} jobs")
    if not isinstance(answer.get("already"), bool):
        raise _wrong("already", answer, "true or false")
    if not is_path(answer.get("folder")):
        raise _wrong("folder", answer, "a path")
    return answer


def is_path(value: object) -> bool:
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
