"""What all scripts for login nodes have in common: the shell that reads them, and the line that they answer with."""

import re
from collections.abc import Mapping

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

_ANSWER = re.compile(rb"HPCDEPLOY (?=\{(?:[\"}]|$))")
"""Where an answer begins. A profile may have printed text before it without a line break: ``tput``, a terminal's title."""


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
    # Lines of bytes: as text, a name with U+2028 or U+0085 in it would end the line too.
    for line in reversed(stdout.splitlines()):
        found = [line[match.start() :].decode("utf-8", "surrogateescape") for match in _ANSWER.finditer(line)]
        for text in found:
            try:
                answer: dict[str, object] = read_json(text.partition(" ")[2])
            except ValueError as error:
                if text is found[-1]:
                    raise ValueError(f"the login node answered {text!r}, which is no JSON") from error
            else:
                return answer
    return None
