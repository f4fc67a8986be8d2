"""Match the files of a Dockerfile's build context.

The patterns of COPY follow Go's ``filepath.Match``, those of ``.dockerignore`` follow moby/patternmatcher.
"""

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence

from hpcdeploy.definition.dockerfile.parsing import Instruction
from hpcdeploy.errors import DefinitionError
from hpcdeploy.frozen import frozen
from hpcdeploy.wildcards import FOLDERS, STAR, joined

_WITHIN = "(?:.*/)?"
"""The regular expression for ``**`` next to a character that is not a slash (``a**b``). Matching may need backtracking."""

_PLAIN = {STAR: "[^/]*", FOLDERS: "(?:.*/)?", _WITHIN: _WITHIN}
_MOST_WITHIN = 4
"""Maximum number of wildcards in a pattern with `_WITHIN`. Each may multiply the time of a match by the path's length."""

WILDCARDS = frozenset("*?[\\")


def has_wildcard(path: str) -> bool:
    """Tell whether the source of a COPY is a pattern."""
    return any(character in WILDCARDS for character in path)


def match_source(pattern: str, path: str) -> bool:
    """Tell whether `pattern` matches all of `path`, as Go's ``filepath.Match`` (a wildcard never matches a slash).

    Raises:
        DefinitionError: The pattern is malformed.
    """
    return re.fullmatch(_regex(pattern, doublestar=False), path, re.DOTALL) is not None


@frozen
class Ignore:
    """The patterns of a ``.dockerignore``.

    Attributes:
        patterns: The patterns in the order of the file, as pairs: True for an exception (``!``), and a regular expression.
    """

    patterns: tuple[tuple[bool, str], ...] = ()

    @property
    def has_exceptions(self) -> bool:
        """Tell whether a pattern is an exception (``!``). Then an ignored folder may contain files that are not ignored."""
        return any(back for back, _ in self.patterns)

    def ignores(self, path: str) -> bool:
        """Tell whether a path, relative to the context, is excluded. A pattern for a folder also excludes its content."""
        parents = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 2)]
        ignored = False
        for back, expression in self.patterns:
            if ignored == back and any(re.fullmatch(expression, parent, re.DOTALL) for parent in parents):
                ignored = not back
        return ignored


def read_ignore(text: str) -> Ignore:
    """Read a ``.dockerignore``, which has one pattern per line; ``#`` in column 0 starts a comment.

    Raises:
        DefinitionError: A pattern is malformed.
    """
    patterns: list[tuple[bool, str]] = []
    for raw in text.removeprefix("\ufeff").split("\n"):
        if raw.startswith("#"):
            continue
        line = raw.strip()
        back = line.startswith("!")
        line = line[1:].strip() if back else line
        if not line:
            if back:
                raise DefinitionError(".dockerignore contains a '!' without a pattern; remove that line")
            continue
        cleaned = posixpath.normpath(line).lstrip("/") if line != "/" else ""
        if cleaned and cleaned != ".":
            patterns.append((back, _regex(cleaned, doublestar=True)))
    return Ignore(patterns=tuple(patterns))


def _regex(pattern: str, *, doublestar: bool) -> str:
    pieces: list[str] = []
    position = within = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*" and doublestar and pattern.startswith("*", position):
            at_folder = position == 1 or pattern[position - 2] == "/"
            position += 1
            if pattern.startswith("/", position):
                position += 1
            elif position < len(pattern):
                at_folder = False
            pieces.append(".*" if position == len(pattern) else FOLDERS if at_folder else _WITHIN)
            within += pieces[-1] == _WITHIN
        elif character == "*":
            pieces.append(STAR)
        elif character == "?":
            pieces.append("[^/]")
        elif character == "[":
            text, position = _range(pattern, position)
            pieces.append(text)
        elif character == "\\":
            if position == len(pattern):
                raise DefinitionError(f"the pattern {pattern!r} ends with a backslash that escapes nothing")
            pieces.append(re.escape(pattern[position]))
            position += 1
        else:
            pieces.append(re.escape(character))
    if not within:
        return joined(pieces)
    if sum(piece in _PLAIN for piece in pieces) > _MOST_WITHIN:
        raise DefinitionError(
            f"the pattern {pattern!r} has ** inside a name and more than {_MOST_WITHIN} wildcards; use ** as a complete "
            "component: a/**/b"
        )
    return "".join(_PLAIN.get(piece, piece) for piece in pieces)


def _range(pattern: str, position: int) -> tuple[str, int]:
    """Translate ``[a-z]`` or ``[^a-z]``, whose bracket is before `position`; also return the position after the range."""
    negated = pattern.startswith("^", position)
    position += negated
    parts = ""
    while position < len(pattern):
        if pattern[position] == "]" and parts:
            return f"[{'^/' if negated else ''}{parts}]", position + 1
        if pattern[position] in "]-":
            break
        low, position = _one(pattern, position)
        parts += re.escape(low)
        if pattern.startswith("-", position):
            high, position = _one(pattern, position + 1)
            if high < low or high == "]":
                break
            parts += f"-{re.escape(high)}"
    raise DefinitionError(f"the pattern {pattern!r} contains a '[' that does not start a range such as [a-z]")


def _one(pattern: str, position: int) -> tuple[str, int]:
    if pattern.startswith("\\", position):
        position += 1
    if position >= len(pattern):
        raise DefinitionError(f"the pattern {pattern!r} ends inside a range")
    return pattern[position], position + 1


def under(patterns: Sequence[str], path: str) -> bool:
    """Tell whether `path` is one of the folders `patterns`, or is inside one of them."""
    return any(path == folder or path.startswith(f"{folder}/") for folder in patterns)


_LINKS = 40
"""Maximum number of links to follow before a cycle is assumed, as in Linux (path_resolution(7))."""


@frozen
class Entry:
    """An entry of the context.

    Attributes:
        kind: ``file``, ``folder`` or ``link``.
        mode: The permissions of a file or folder.
        target: The target of a link.
    """

    kind: str
    mode: int = 0o644
    target: str = ""


@frozen
class Context:
    """A build context.

    Attributes:
        entries: The entries by path, relative to the context; the context's own folder has no entry.
        is_archive: Tells whether the file with this path is an archive that ADD unpacks.
    """

    entries: Mapping[str, Entry]
    is_archive: Callable[[str], bool] = lambda path: False  # noqa: ARG005 - the default must have the same signature

    def sources(self, instruction: Instruction, source: str) -> tuple[tuple[str, str], ...]:
        """Return the name of each entry that `source` matches, and its path with links resolved.

        Raises:
            DefinitionError: Nothing matches, because the file is missing or excluded by ``.dockerignore``. Or the pattern
                is malformed, or a link is broken.
        """
        path = posixpath.normpath("/" + source).lstrip("/")
        names = [path]
        if has_wildcard(path):
            names = [name for name in sorted(self.entries) if match_source(path, name)]
        elif path and self.resolve(path) is None:
            names = []
        if not names:
            raise instruction.refused(
                f"names {source!r}, which is not in the build context: the file is missing, or .dockerignore excludes it"
            )
        found = []
        for name in names:
            real = self.resolve(name)
            if real is None:
                raise instruction.refused(f"names {name!r}, a broken link in the build context")
            found.append((posixpath.basename(name), real))
        return tuple(found)

    def under(self, folder: str) -> dict[str, Entry]:
        """Return the entries below a folder, by path relative to that folder."""
        start = f"{folder}/" if folder else ""
        return {
            path[len(start) :]: entry for path, entry in self.entries.items() if path.startswith(start) and path != folder
        }

    def resolve(self, path: str) -> str | None:
        """Resolve the links in a path, with the context as the root of absolute links.

        Return None if the path does not exist, or if its links form a cycle.
        """
        done: list[str] = []
        pending = path.split("/") if path else []
        for _ in range(_LINKS * (1 + len(pending))):
            if not pending:
                return "/".join(done)
            part = pending.pop(0)
            if part == "..":
                done = done[:-1]
                continue
            if part in ("", "."):
                continue
            entry = self.entries.get("/".join([*done, part]))
            if entry is None:
                return None
            if entry.kind == "link":
                pending = [*entry.target.split("/"), *pending]
                done = [] if entry.target.startswith("/") else done
                continue
            done.append(part)
        return None
