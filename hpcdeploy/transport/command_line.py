"""One command line from many words: what a login shell turns back into exactly those words."""

import os
import re
from collections.abc import Sequence

from hpcdeploy.errors import TransportError

# Without '=': it makes an assignment of a first word, and zsh replaces "=word" by a program's path.
_PLAIN = re.compile(r"[A-Za-z0-9_@%+:,./-]+")

LONGEST = 128 * 1024 - 1
"""Bytes that Linux takes as one argument (MAX_ARG_STRLEN, execve(2)): sshd hands the whole line to the shell as one."""


def check_words(argv: Sequence[str]) -> None:
    """Raise `TransportError` where no machine could run `argv`: no program named, or a NUL character in a word."""
    if not argv or not argv[0]:
        raise TransportError("the command is empty: its first argument is missing; name a program")
    for word in argv:
        if "\0" in word:
            raise TransportError(
                f"an argument of the command contains a NUL character, which cannot be passed to a program: {word!r}"
            )


def quoted(word: str) -> str:
    """Quote one word for sh, bash, dash, ksh and zsh."""
    if _PLAIN.fullmatch(word):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"


def command_line(argv: Sequence[str]) -> bytes:
    """Return the line that makes the login shell run `argv`, each word as it stands.

    ``exec`` replaces the shell by the program, so that a built-in of the same name is not taken and a signal shows as one.
    Right for Bourne shells and zsh; csh and fish quote by other rules and are not supported. Raises `TransportError` for
    what cannot be carried.
    """
    check_words(argv)
    line = os.fsencode("exec " + " ".join(map(quoted, argv)))
    if len(line) > LONGEST:
        message = f"the command is {len(line)} bytes long and SSH carries {LONGEST}: give its data on standard input"
        raise TransportError(message)
    return line


def shown(argv: Sequence[str], *, longest: int = 120) -> str:
    """Return `argv` as one line for a message, cut where it is long."""
    line = " ".join(map(quoted, argv)).replace("\n", "\\n")
    return line if len(line) <= longest else line[: longest - 1] + "…"
