"""Find the files that an SSH configuration includes, before ``ssh`` or our own parser reads the configuration.

A file that is missed here could start programs without a prompt. Releases of OpenSSH parse ``Include`` lines in different
ways, because support for quotes, comments, ``%`` and ``${}`` was added over the years (ssh_config(5), Include and TOKENS;
misc.c, strdelim, and argv_split since 8.7). Therefore a line is only accepted if all releases, and
`hpcdeploy.transport.ssh_config`, find the same names in it.
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
"""Characters that ssh accepts before, around and within a keyword: blanks, an equals sign, quotes."""

_KEYWORD = re.compile(r"[ \t]*([A-Za-z0-9]+)(?=[ \t=])")
_INCLUDE = re.compile(r'[ \t]*+(?:include[ \t]*+=|include[ \t]|"include"[ \t]*+=?)[ \t]*+(.*)', re.IGNORECASE)
_NAME = re.compile(r"""[ \t]*(?:"([^"]*)"|'([^' \t]*)'|([^"' \t]+))(?=[ \t]|$)""")
"""A file name with optional quotes. Blanks are only allowed in double quotes, because every release supports these."""

_DOUBTFUL = re.compile(r"[\\%\[#\0]|\$\{|^=")
"""Syntax that not every release supports: escapes, tokens, classes of characters, comments, variables."""

_LONGEST_SHOWN = 200
"""Maximum length in characters of a line in a message."""


def homes() -> tuple[Path, ...]:
    """Return the folders that ``~`` may mean for ssh: ``$HOME`` (glob(3)), and the home folder in the user database."""
    found = [Path(os.path.expanduser("~"))]  # noqa: PTH111 - must not raise where the user is unknown
    with suppress(KeyError):
        found.append(Path(pwd.getpwuid(os.getuid()).pw_dir))
    return tuple(dict.fromkeys(found))


def included(text: str, path: Path, most: int) -> Iterator[Path]:
    """Yield the files that the ``Include`` lines of an SSH configuration name; relative names are in ``~/.ssh``.

    Args:
        text: The text of the configuration.
        path: The path of the configuration's file, for messages.
        most: Maximum number of files that are yielded for one pattern.

    Raises:
        ConfigError: Releases of OpenSSH may read a line differently, or a pattern has ``*`` or ``?`` in a folder's name, so
            that the search could read the whole disk.
    """
    for line in text.split("\n"):
        for name in _names(line, path):
            expanded = os.path.expanduser(name)  # noqa: PTH111 - must not raise where the user is unknown
            for pattern in dict.fromkeys(home / ".ssh" / expanded for home in homes()):
                yield from _found(pattern, name, path, most)


def _names(line: str, path: Path) -> list[str]:
    line = line.rstrip(" \t\r\f")
    if len(line.splitlines()) > 1 and any(map(_may_include, line.splitlines())):
        raise _unclear(line, path)  # ssh reads one line where Python reads several lines
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
        f"{path}: found {line.strip()[:_LONGEST_SHOWN]!r}; expected Include and paths without \\ % ${{ [ and #, because"
        " hpcdeploy checks the included files before ssh reads them; write complete paths"
    )


def _found(pattern: Path, name: str, path: Path, most: int) -> Iterator[Path]:
    if any(letter in str(pattern.parent) for letter in "*?"):
        raise ConfigError(f"{path}: found Include {name}; expected * and ? in the last part of a path only")
    if not any(letter in pattern.name for letter in "*?"):
        yield pattern
    else:
        yield from sorted(itertools.islice(matching(pattern.parent, pattern.name), most), key=os.fsencode)
