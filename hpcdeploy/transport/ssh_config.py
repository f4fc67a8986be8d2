"""OpenSSH's configuration files read without OpenSSH: the words of ssh_config(5) that a transport needs.

Used where no ``ssh`` program can be asked. A file is obeyed line by line, as ssh itself does, because ``Match host`` and
``Match user`` depend on what was set before; the first value of a keyword wins.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpcdeploy.errors import ConfigError
from hpcdeploy.transport.globs import expanded
from hpcdeploy.transport.patterns import matches

Options = dict[str, list[str]]
"""Keyword in lower case to its values as written, in the order met: the shape of what ``ssh -G`` prints."""

DEEPEST_INCLUDE = 16
"""Files within files that ssh follows (readconf.c, READCONF_MAX_DEPTH)."""

_COLLECTED = frozenset({"identityfile", "certificatefile"})
_RAW = frozenset({"proxycommand", "knownhostscommand", "remotecommand", "localcommand"})
_LINE = re.compile(r"\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+)(.*)")
_PIECE = re.compile(
    r"""\\(?P<escaped>['"\\])|(?P<escaped_blank>\\[ ])|(?P<quote>['"])|(?P<blanks>[ \t]+)|(?P<plain>.)""", re.DOTALL
)
_QUOTES = {'"': "double", "'": "single"}


@dataclass(frozen=True, kw_only=True)
class ConfigFiles:
    """What is read, in order, each with the folder that its relative Includes start from."""

    files: tuple[tuple[Path, Path], ...]
    home: Path


@dataclass
class _Reader:
    host: str
    user: str
    home: Path
    options: Options = field(default_factory=dict)

    def read(self, path: Path, base: Path, *, depth: int = 0) -> None:
        """Obey one file; a file that is not there says nothing."""
        if depth > DEEPEST_INCLUDE:
            raise ConfigError(f"{path}: Include goes deeper than {DEEPEST_INCLUDE} files; does a file include itself?")
        try:
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
            return
        active = True
        for number, line in enumerate(text.splitlines(), start=1):
            place = f"{path}:{number}"
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            parsed = _LINE.fullmatch(line)
            if not parsed:
                raise ConfigError(f"{place}: expected a keyword and its value, found {line.strip()!r}")
            keyword, value = parsed[1].lower(), parsed[2].rstrip()
            if keyword == "host":
                active = matches(self.host, words(value, place), ignore_case=False)
            elif keyword == "match":
                active = self._match(words(value, place), place)
            elif active and keyword == "include":
                for included in self._included(words(value, place), base):
                    self.read(included, base, depth=depth + 1)
            elif active:
                self._take(keyword, value, place)

    def _take(self, keyword: str, value: str, place: str) -> None:
        values = [value] if keyword in _RAW else words(value, place)
        if not values:
            raise ConfigError(f"{place}: {keyword} has no value")
        if keyword == "proxyjump" and "proxycommand" in self.options:
            return  # whichever of the two comes first disables the other (ssh_config(5), ProxyJump)
        if keyword == "proxycommand" and "proxyjump" in self.options:
            return
        if keyword in _COLLECTED:
            kept = self.options.setdefault(keyword, [])
            kept.extend(value for value in values if value not in kept)
        else:
            self.options.setdefault(keyword, values)

    def _included(self, names: Sequence[str], base: Path) -> Iterator[Path]:
        for name in names:
            place = self.home / name[2:] if name.startswith("~/") else base / name
            yield from expanded(place.absolute())

    def _match(self, criteria: list[str], place: str) -> bool:
        result = True
        left = list(criteria)
        while left:
            criterion = left.pop(0)
            name = criterion.removeprefix("!").lower()
            if name == "all":
                fits = True
            elif name == "canonical":
                fits = False  # host names are never made canonical here
            elif not left:
                raise ConfigError(f"{place}: Match {criterion} needs a pattern")
            else:
                fits = self._fits(name, left.pop(0), place)
            result = result and fits != criterion.startswith("!")
        return result

    def _fits(self, name: str, patterns: str, place: str) -> bool:
        given = self.options
        subjects: dict[str, Callable[[], str]] = {
            "host": lambda: given.get("hostname", [self.host])[0].replace("%h", self.host),
            "originalhost": lambda: self.host,
            "user": lambda: given.get("user", [self.user])[0],
            "localuser": lambda: self.user,
        }
        if name not in subjects:
            allowed = ", ".join((*subjects, "all"))
            message = (
                f"{place}: 'Match {name}' can only be judged by OpenSSH's own ssh, which is not installed here; "
                f"install it, or use one of {allowed}"
            )
            raise ConfigError(message)
        return matches(subjects[name](), patterns.split(","), ignore_case=name.endswith("host"))


def words(value: str, place: str) -> list[str]:
    """Split a value at blanks as OpenSSH does since 8.7 (misc.c, ``argv_split``).

    Double and single quotes hold a word together and may begin and end within it; a backslash takes a quote or a backslash
    as it is, and a blank outside of quotes; ``#`` at the beginning of a word starts a comment. In ``Match`` lines, which
    OpenSSH 9.2 splits otherwise, single quotes mean nothing to it: here all lines are split alike. Raises `ConfigError` for
    a quote that is not closed; `place` is for the message.
    """
    found: list[str] = []
    word: str | None = None
    quote = ""
    for piece in _PIECE.finditer(value):
        kind, text = piece.lastgroup, piece[0]
        if kind == "quote" and not quote:
            word, quote = word or "", text
        elif kind == "quote" and text == quote:
            quote = ""
        elif kind == "blanks" and not quote:
            found += [] if word is None else [word]
            word = None
        elif word is None and text == "#":
            break
        elif kind == "escaped" or (kind == "escaped_blank" and not quote):
            word = (word or "") + text[1]
        else:
            word = (word or "") + text
    if quote:
        raise ConfigError(f"{place}: a {_QUOTES[quote]} quote is not closed in {value!r}")
    return found if word is None else [*found, word]


def read_options(host: str, files: ConfigFiles, *, local_user: str, given: Options | None = None) -> Options:
    """Return what the configuration files say of `host`; `given` (from a command line, say) comes before all of them.

    Raises `ConfigError`, with file and line, for what cannot be read or judged.
    """
    reader = _Reader(
        host=host, user=local_user, home=files.home, options={key: list(value) for key, value in (given or {}).items()}
    )
    for path, base in files.files:
        reader.read(path, base)
    return reader.options


def config_files(chosen: str | None, home: Path) -> ConfigFiles:
    """Return the files that ssh reads: only `chosen` where ``-F`` names one, else the person's, then the machine's."""
    own = home / ".ssh"
    if chosen is not None:
        path = Path(os.path.expanduser(chosen))  # noqa: PTH111 - Path.expanduser raises where the user is unknown
        return ConfigFiles(files=((path, own),), home=home)
    system = Path("/etc/ssh")
    return ConfigFiles(files=((own / "config", own), (system / "ssh_config", system)), home=home)
