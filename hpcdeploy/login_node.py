"""What all scripts for login nodes have in common: the shell that reads them, and the line that they answer with."""

from collections.abc import Mapping

from hpcdeploy.json_text import read_json

STREAM_SHELL = ("bash", "-l", "-s")
"""Reads a script from its standard input, and leaves what follows the script there: so it reads byte by byte.

A login shell: sites set up PATH and modules in the profile (bash(1)).
"""

SHELL = ("bash", "-l", "-c", 'eval "$(cat)"', "bash")
"""The same for a script that is all of its input: read at once, since a large one takes a tenth of a second byte by byte."""

SUBMITTING = (*SHELL, "bring")
"""The same for a script that submits a run: this caller brings what it misses."""

_MARK = b"HPCDEPLOY "


def read_answer(stdout: bytes) -> Mapping[str, object] | None:
    """Return the values of the marked line ``HPCDEPLOY {...}``, the last one if there are more; None where there is none.

    Whatever a login shell prints around it is for people. Bytes that are no UTF-8, as in a file's name, become surrogate
    escapes. Raises `ValueError` with the line where it is no JSON, as of a script that was cut on its way.
    """
    # Lines of bytes: as text, a name with U+2028 or U+0085 in it would end the line too.
    for line in reversed(stdout.splitlines()):
        if line.startswith(_MARK + b"{"):
            text = line.decode("utf-8", "surrogateescape")
            try:
                answer: dict[str, object] = read_json(text[len(_MARK) :])
            except ValueError as error:
                raise ValueError(f"the login node answered {text!r}, which is no JSON") from error
            return answer
    return None
