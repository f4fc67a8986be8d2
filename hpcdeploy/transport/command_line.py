"""Quote arguments as one command line, which a login shell splits into the same arguments."""

import os
import re
from collections.abc import Sequence

from hpcdeploy.errors import TransportError

# Without '=': it would make a first word an assignment, and zsh replaces "=word" by a program's path.
_PLAIN = re.compile(r"[A-Za-z0-9_@%+:,./-]+")

LONGEST = 128 * 1024 - 1
"""Maximum length in bytes of one argument on Linux (MAX_ARG_STRLEN, execve(2)); sshd passes the line to the shell as one."""


def check_words(argv: Sequence[str]) -> None:
    """Check that `argv` can be run.

    Raises:
        TransportError: `argv` has no program, or an argument contains NUL.
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

    ``exec`` replaces the shell by the program, so that a builtin of the same name is not used, and a signal is visible as
    such. This is correct for Bourne shells and zsh; csh and fish have other quoting rules and are not supported.

    Raises:
        TransportError: `argv` cannot be run, or is too long.
    """
    check_words(argv)
    line = os.fsencode("exec " + " ".join(map(quoted, argv)))
    if len(line) > LONGEST:
        message = f"the command is {len(line)} bytes long and SSH carries {LONGEST}: give its data on standard input"
        raise TransportError(message)
    return line


def shown(argv: Sequence[str], *, longest: int = 120) -> str:
    """Return `argv` as one line for a message, shortened to `longest` characters."""
    line = " ".join(map(quoted, argv)).replace("\n", "\\n")
    return line if len(line) <= longest else line[: longest - 1] + "…"
