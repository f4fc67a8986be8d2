"""List the build context of a Dockerfile and find the files that COPY or ADD means."""

import posixpath
from collections.abc import Callable, Mapping

from hpcdeploy.definition.dockerfile.matching import has_wildcard, match_source
from hpcdeploy.definition.dockerfile.parsing import Instruction
from hpcdeploy.frozen import frozen

_LINKS = 40
"""Maximum number of links to follow before a cycle is assumed, as in Linux (path_resolution(7))."""


@frozen
class Entry:
    """An entry of the context: ``kind`` is ``file``, ``folder`` or ``link`` (to ``target``); ``mode`` its permissions."""

    kind: str
    mode: int = 0o644
    target: str = ""


@frozen
class Context:
    """The entries of the context by relative path, without ``.``; ``is_archive`` inspects the content of one file."""

    entries: Mapping[str, Entry]
    is_archive: Callable[[str], bool] = lambda path: False  # noqa: ARG005 - the default must have the same signature

    def sources(self, instruction: Instruction, source: str) -> tuple[tuple[str, str], ...]:
        """Return the names and paths that `source` matches, with links in the paths resolved.

        Raises:
            DefinitionError: Nothing matches, because the file is missing or excluded by ``.dockerignore``, or a link is
                broken.
        """
        path = posixpath.normpath("/" + source).lstrip("/")
        names = [path]
        if has_wildcard(path):
            names = [name for name in sorted(self.entries) if match_source(path, name)]
        elif path and self.resolve(path) is None:
            names = []
        if not names:
            raise instruction.refused(
                f"names {source!r}, which is not in the build context; it is missing, or .dockerignore excludes it"
            )
        found = []
        for name in names:
            real = self.resolve(name)
            if real is None:
                raise instruction.refused(f"names {name!r}, a broken link in the build context")
            found.append((posixpath.basename(name), real))
        return tuple(found)

    def under(self, folder: str) -> dict[str, Entry]:
        """Return the entries below a folder, by path relative to it."""
        start = f"{folder}/" if folder else ""
        return {
            path[len(start) :]: entry for path, entry in self.entries.items() if path.startswith(start) and path != folder
        }

    def resolve(self, path: str) -> str | None:
        """Resolve links, with the context as the root of all paths; return None if nothing is there."""
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
