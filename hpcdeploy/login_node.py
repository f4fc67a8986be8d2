"""Define the common parts of scripts for login nodes: the shell that reads them, and their answer."""

from collections.abc import Iterator, Mapping
from itertools import islice

from hpcdeploy.json_text import read_json

STREAM_SHELL = ("bash", "-l", "-s")
"""Reads a script from its standard input byte by byte, so that input after the script remains available.

It is a login shell, because sites set PATH and modules in the profile (bash(1)).
"""

SHELL = ("bash", "-l", "-c", r'{ \set +x; \trap - DEBUG; } 2>/dev/null; \eval "$(\command cat)"', "bash")
"""The same for a script that is the whole input. It is read at once, because a large one takes a tenth of a second byte by
byte.

A profile may have set things that would change the script: an alias named cat, a trap that prints, ``set -x``.
"""

SUBMITTING = (*SHELL, "bring")
"""The same for a script that submits a run, for a caller that uploads missing files."""

_MARK = b"HPCDEPLOY "
"""Marker that each script prints first (`login_templates/begin.sh`), and before its answers."""

_NOT_BASH = b"error: this script is for bash"
"""Error that a script prints if a shell other than bash reads it (`login_templates/state.sh`)."""

_BEGINNINGS = (b'{"', b"{}", b"{")
"""Prefixes of an answer after the marker; the last one only at the end of the line.

A profile may have printed text before the marker without a line break: ``tput``, a terminal's title.
"""

_SHOWN = 500
"""Maximum number of characters of an answer in a message."""

_MOST_MARKS = 16
"""Maximum number of markers to try in one line: a value of an answer may contain the marker's text."""


def began(stdout: bytes, stderr: bytes) -> bool:
    """Tell whether the script with this output has started; if not, nothing of it was done.

    If another shell than bash read it, it has printed an error (`login_templates/state.sh`).
    """
    return _MARK in stdout or _NOT_BASH in stderr


def never_began(where: str, stderr: bytes) -> str:
    """Return the message for a login shell on `where` that ended, with `stderr`, before it read the script."""
    message = stderr.decode("utf-8", "replace").strip()[-500:]
    return (
        f"the login shell on {where} ended before it read hpcdeploy's script, and nothing was done. The likely cause is a "
        "login profile there (/etc/profile, ~/.bash_profile, ~/.profile, ~/.bashrc) that calls exit, execs zsh, or "
        "reads standard input. Do that only in interactive shells: case $- in *i*) ... ;; esac. "
        f"Its standard error: {message or '(nothing)'}"
    )


def read_answer(stdout: bytes) -> Mapping[str, object] | None:
    """Return the values after the marker ``HPCDEPLOY {...}``, the last one if there are several; None if there is none.

    It may start anywhere in its line, because login shells may print text around it. Bytes that are not UTF-8, such as in a
    file's name, become surrogate escapes.

    Raises:
        ValueError: It is not JSON, such as that of an interrupted script; the message has the line.
    """
    # As bytes, because in text U+2028 or U+0085 in a name would also end the line.
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
                raise ValueError(f"the login node answered {text[:_SHOWN]!r}, which is not JSON") from error
        else:
            return answer
    return None


def _answers(line: bytes) -> Iterator[int]:
    """Yield the positions in a line where an answer may start."""
    place = -1
    while (place := line.find(_MARK, place + 1)) >= 0:
        if _begins_answer(line, place):
            yield place


def _begins_answer(stdout: bytes, place: int) -> bool:
    """Tell whether an answer follows the marker at `place`."""
    start = place + len(_MARK)
    if stdout.startswith(_BEGINNINGS[:2], start):
        return True
    return stdout.startswith(_BEGINNINGS[2], start) and stdout[start + 1 : start + 2] in (b"", b"\n", b"\r")


def _line_end(stdout: bytes, start: int) -> int:
    ends = [end for end in (stdout.find(b"\n", start), stdout.find(b"\r", start)) if end >= 0]
    return min(ends, default=len(stdout))
