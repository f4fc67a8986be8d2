"""Quote arguments as one command line, which a login shell splits into the same arguments."""

import os
import re
from collections.abc import Sequence

from hpcdeploy.errors import TransportError

# The characters of a word that needs no quotes. "=" is excluded, because a first word with "=" would be an assignment, and
# zsh replaces "=word" by a program's path.
_PLAIN = re.compile(r"[A-Za-z0-9_@%+:,./-]+")

LONGEST = 128 * 1024 - 1
"""Maximum length in bytes of a command line. sshd passes it to the shell as one argument, which Linux limits to this length
(MAX_ARG_STRLEN, execve(2))."""


def check_words(argv: Sequence[str]) -> None:
    """Check that `argv` can be run.

    Raises:
        TransportError: `argv` is empty, the program's name is empty, or an argument contains NUL.
    """
    if not argv or not argv[0]:
        raise TransportError("the command is empty: its first argument is missing; name a program")
    for word in argv:
        if "\0" in word:
            raise TransportError(
                f"an argument of the command contains a NUL character, which cannot be passed to a program: {word!r}"
            )


def quoted(word: str) -> str:
    """Quote one argument for sh, bash, dash, ksh and zsh."""
    if _PLAIN.fullmatch(word):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"


def command_line(argv: Sequence[str]) -> bytes:
    """Return the line with which the login shell runs `argv`, without changing its arguments.

    The line begins with ``exec``, which replaces the shell by the program, for two reasons. The shell then does not use a
    builtin of the same name. And if a signal kills the program, the server reports the signal instead of an exit code.

    The line is correct for Bourne shells and zsh. csh and fish have other quoting rules and are not supported.

    Raises:
        TransportError: `argv` cannot be run (`check_words`), or the line is longer than `LONGEST`.
    """
    check_words(argv)
    line = os.fsencode("exec " + " ".join(map(quoted, argv)))
    if len(line) > LONGEST:
        message = f"the command is {len(line)} bytes long; the maximum is {LONGEST}: pass its data on standard input"
        raise TransportError(message)
    return line


def shown(argv: Sequence[str], *, longest: int = 120) -> str:
    """Return `argv` as one line for a message, shortened to `longest` characters."""
    line = " ".join(map(quoted, argv)).replace("\n", "\\n")
    return line if len(line) <= longest else line[: longest - 1] + "…"
