"""Which files an SSH configuration includes, found before ``ssh`` or anything of ours reads it.

What is missed here is a file with programs that nobody was asked about. OpenSSH's releases read such a line in different
ways: quotes, comments, ``%`` and ``${}`` came over the years (ssh_config(5), Include and TOKENS; misc.c, strdelim and
argv_split, the latter since 8.7). So a line is taken only if all of them, and `hpcdeploy.transport.ssh_config`, see the same
names in it, and refused otherwise.
"""

import itertools
import os
import pwd
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hpcdeploy.errors import ConfigError
from hpcdeploy.transport.globs import matching

_FILLING = re.compile(r'[\s="]')
"""What may stand before, around and in a keyword that ssh still knows: blanks, one equals sign, quotes."""

_KEYWORD = re.compile(r"[ \t]*([A-Za-z0-9]+)(?=[ \t=])")
_INCLUDE = re.compile(r'[ \t]*+(?:include[ \t]*+=|include[ \t]|"include"[ \t]*+=?)[ \t]*+(.*)', re.IGNORECASE)
_NAME = re.compile(r"""[ \t]*(?:"([^"]*)"|'([^' \t]*)'|([^"' \t]+))(?=[ \t]|$)""")
"""A name, perhaps in quotes; blanks only in double ones, which every release takes."""

_DOUBTFUL = re.compile(r"[\\%\[#\0]|\$\{|^=")
"""What not every release takes as it stands: escapes, tokens, classes of characters, comments, variables."""

_LONGEST_SHOWN = 200
"""Characters of a line that a message quotes."""


def homes() -> tuple[Path, ...]:
    """Return the folders that ``~`` may mean: ``$HOME`` for glob(3), by which ssh looks for files, and the user's own."""
    found = [Path(os.path.expanduser("~"))]  # noqa: PTH111 - must not raise where the user is unknown
    with suppress(KeyError):
        found.append(Path(pwd.getpwuid(os.getuid()).pw_dir))
    return tuple(dict.fromkeys(found))


def included(text: str, path: Path, most: int) -> Iterator[Path]:
    """Yield the files that the ``Include`` lines of an SSH configuration name, relative ones in ``~/.ssh``.

    At most `most` are yielded for one pattern. Raises `ConfigError` for a line of which it is not certain what it names, and
    for a pattern that may search the whole disk; `path` is for the message.
    """
    for line in text.split("\n"):
        for name in _names(line, path):
            expanded = os.path.expanduser(name)  # noqa: PTH111 - must not raise where the user is unknown
            for pattern in dict.fromkeys(home / ".ssh" / expanded for home in homes()):
                yield from _found(pattern, name, path, most)


def _names(line: str, path: Path) -> list[str]:
    line = line.rstrip(" \t\r\f")
    if len(line.splitlines()) > 1 and any(map(_may_include, line.splitlines())):
        raise _unclear(line, path)  # one line for ssh, several for Python
    if not _may_include(line):
        return []
    keyword = _KEYWORD.match(line)
    if keyword and keyword[1].lower() != "include":
        return []
    match = _INCLUDE.fullmatch(line)
    if match is None or _DOUBTFUL.search(match[1]):
        raise _unclear(line, path)
    names, place = [], 0
    while place < len(match[1]):
        found = _NAME.match(match[1], place)
        if found is None:
            raise _unclear(line, path)
        names.append(found[1] or found[2] or found[3] or "")
        place = found.end()
    if not names:
        raise _unclear(line, path)
    return names


def _may_include(line: str) -> bool:
    return _FILLING.sub("", line).lower().startswith("include")


def _unclear(line: str, path: Path) -> ConfigError:
    return ConfigError(
        f"{path}: found {line.strip()[:_LONGEST_SHOWN]!r}; expected Include and paths without \\ % ${{ [ and #, because what"
        " the line names must be known before ssh reads it; write the paths out"
    )


def _found(pattern: Path, name: str, path: Path, most: int) -> Iterator[Path]:
    if any(letter in str(pattern.parent) for letter in "*?"):
        raise ConfigError(f"{path}: found Include {name}; expected * and ? in the last part of a path only")
    if not any(letter in pattern.name for letter in "*?"):
        yield pattern
    else:
        yield from sorted(itertools.islice(matching(pattern.parent, pattern.name), most), key=os.fsencode)
