"""Parse OpenSSH's configuration files, and match names against its pattern lists (ssh_config(5), PATTERNS)."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpcdeploy.errors import ConfigError
from hpcdeploy.frozen import frozen
from hpcdeploy.transport.globs import expanded
from hpcdeploy.wildcards import STAR, joined


def matches(name: str, patterns: Iterable[str], *, ignore_case: bool) -> bool:
    """Tell whether `name` matches a pattern, and no pattern that begins with ``!``.

    As in OpenSSH, ``Host`` lines and user names are case-sensitive (match.c, ``match_pattern``). Host names in ``Match``
    lines are not (``match_hostname``).
    """
    found = False
    for pattern in patterns:
        if not _pattern(pattern.removeprefix("!"), ignore_case=ignore_case).fullmatch(name):
            continue
        if pattern.startswith("!"):
            return False
        found = True
    return found


def _pattern(pattern: str, *, ignore_case: bool) -> re.Pattern[str]:
    # fnmatch would read the brackets of "[host]:2222" as a set of letters.
    text = joined([{"*": STAR, "?": "."}.get(letter, re.escape(letter)) for letter in pattern], any_character=".")
    return re.compile(text, re.DOTALL | (re.IGNORECASE if ignore_case else 0))


Options = dict[str, list[str]]
"""The values of each keyword. The keywords are in lower case, as in the output of ``ssh -G``."""

DEEPEST_INCLUDE = 16
"""Maximum depth of nested Includes, as in OpenSSH (readconf.c, READCONF_MAX_DEPTH)."""

_COLLECTED = frozenset({"identityfile", "certificatefile"})
_RAW = frozenset({"proxycommand", "knownhostscommand", "remotecommand", "localcommand"})
_LINE = re.compile(r"\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+)(.*)")
_PIECE = re.compile(
    r"""\\(?P<escaped>['"\\])|(?P<escaped_blank>\\[ ])|(?P<quote>['"])|(?P<blanks>[ \t]+)|(?P<plain>.)""", re.DOTALL
)
_QUOTES = {'"': "double", "'": "single"}


@frozen
class ConfigFiles:
    """The configuration files.

    Attributes:
        files: Pairs in the order of reading: a file, and the folder to which its relative Includes refer.
        home: The home folder, for ``~`` in Includes.
    """

    files: tuple[tuple[Path, Path], ...]
    home: Path


@dataclass
class _Reader:
    host: str
    user: str
    home: Path
    options: Options = field(default_factory=dict)

    def read(self, path: Path, base: Path, *, depth: int = 0) -> None:
        """Add the options of one file that apply to the host; a file that does not exist or cannot be read is ignored."""
        if depth > DEEPEST_INCLUDE:
            raise ConfigError(
                f"{path}: Include is nested deeper than {DEEPEST_INCLUDE} files; check whether a file includes itself"
            )
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
            return  # of ProxyJump and ProxyCommand, the one that is read first disables the other (ssh_config(5), ProxyJump)
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
                fits = False  # host names are never canonicalized here
            elif not left:
                raise ConfigError(f"{place}: Match {criterion} needs a pattern")
            else:
                fits = self._fits(name, left.pop(0), place)
            result = result and fits != criterion.startswith("!")
        return result

    def _fits(self, name: str, patterns: str, place: str) -> bool:
        options = self.options
        subjects: dict[str, Callable[[], str]] = {
            "host": lambda: options.get("hostname", [self.host])[0].replace("%h", self.host),
            "originalhost": lambda: self.host,
            "user": lambda: options.get("user", [self.user])[0],
            "localuser": lambda: self.user,
        }
        if name not in subjects:
            allowed = ", ".join((*subjects, "all"))
            message = (
                f"{place}: 'Match {name}' can only be evaluated by OpenSSH's own ssh, which is not installed here; "
                f"install it, or use one of {allowed}"
            )
            raise ConfigError(message)
        return matches(subjects[name](), patterns.split(","), ignore_case=name.endswith("host"))


def words(value: str, place: str) -> list[str]:
    """Split a value at blanks, by the rules of OpenSSH since 8.7 (misc.c, ``argv_split``).

    - Blanks between double or single quotes do not separate words. Quotes may start and end inside a word.
    - A backslash escapes a quote, a backslash and, outside of quotes, a space.
    - ``#`` at the start of a word begins a comment.

    These rules are used for all lines. In OpenSSH 9.2, ``Match`` lines have other rules, without single quotes.

    Args:
        value: The text after the keyword.
        place: The file and line, for messages.

    Raises:
        ConfigError: A quote is not closed.
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


def read_options(host: str, files: ConfigFiles, *, local_user: str, overriding: Options | None = None) -> Options:
    """Return the options of `host` in the configuration files.

    Args:
        host: The host's name as the user writes it.
        files: The configuration files.
        local_user: The name of the local user.
        overriding: Options that have precedence over the files, such as those of a command line.

    Raises:
        ConfigError: A line is malformed or cannot be evaluated; the message has file and line.
    """
    reader = _Reader(
        host=host, user=local_user, home=files.home, options={key: list(value) for key, value in (overriding or {}).items()}
    )
    for path, base in files.files:
        reader.read(path, base)
    return reader.options


def config_files(chosen: str | None, home: Path) -> ConfigFiles:
    """Return the files that ssh reads: only `chosen` (option ``-F``) if it is not None, else the user's and the system's."""
    user_folder = home / ".ssh"
    if chosen is not None:
        path = Path(os.path.expanduser(chosen))  # noqa: PTH111 - Path.expanduser raises where the user is unknown
        return ConfigFiles(files=((path, user_folder),), home=home)
    system = Path("/etc/ssh")
    return ConfigFiles(files=((user_folder / "config", user_folder), (system / "ssh_config", system)), home=home)
