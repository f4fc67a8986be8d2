"""What all scripts for login nodes have in common: the shell that reads them, and the line that they answer with."""

from collections.abc import Iterator, Mapping
from itertools import islice

from hpcdeploy.json_text import read_json

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
"""Marker that each script prints first (`login_templates/begin.sh`), and before its answers."""

_NOT_BASH = b"error: this script is for bash"
"""Error that a script prints if a shell other than bash reads it (`login_templates/state.sh`)."""

_BEGINNINGS = (b'{"', b"{}", b"{")
"""How an answer begins behind the mark; the last one where the line ends with it. A profile may have printed text before the
mark without a line break: ``tput``, a terminal's title."""

_SHOWN = 500
"""Characters of an answer that a message quotes."""

_MOST_MARKS = 16
"""Marks of one line that are tried: an answer may hold the text of a mark in one of its values."""


def began(stdout: bytes, stderr: bytes) -> bool:
    """Tell whether a script began that printed this; if not, nothing of it was done.

    One that another shell than bash read has printed an error, which says that (`login_templates/state.sh`).
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
