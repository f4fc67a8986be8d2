"""The folder that COPY and ADD read, as a listing, and what of it one instruction takes."""

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hpcdeploy.definition.dockerfile.matching import has_wildcard, match_source
from hpcdeploy.definition.dockerfile.parsing import Instruction

_LINKS = 40
"""Links that are followed before they are taken for a circle, as Linux does (path_resolution(7))."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Something in the context: a ``file``, ``folder`` or ``link`` (to ``target``), and its permission bits."""

    kind: str
    mode: int = 0o644
    target: str = ""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the context holds by path, relative to it and without ``.``; ``is_archive`` looks into one of its files."""

    entries: Mapping[str, Entry]
    is_archive: Callable[[str], bool] = lambda path: False  # noqa: ARG005 - the shape of every such question

    def sources(self, instruction: Instruction, source: str) -> tuple[tuple[str, str], ...]:
        """Return the names and paths that a source means; the path is behind the links that the name may be.

        Raises `DefinitionError` where nothing is there: left out by ``.dockerignore``, or missing.
        """
        path = posixpath.normpath("/" + source).lstrip("/")
        names = [path]
        if has_wildcard(path):
            names = [name for name in sorted(self.entries) if match_source(path, name)]
        elif path and self.resolve(path) is None:
            names = []
        if not names:
            raise instruction.refused(
                f"names {source!r}, which is not in the build's context; it is missing, or .dockerignore leaves it out"
            )
        found = []
        for name in names:
            real = self.resolve(name)
            if real is None:
                raise instruction.refused(f"names {name!r}, a link that leads to nothing in the build's context")
            found.append((posixpath.basename(name), real))
        return tuple(found)

    def under(self, folder: str) -> dict[str, Entry]:
        """Return what lies in a folder, by path relative to it."""
        start = f"{folder}/" if folder else ""
        return {
            path[len(start) :]: entry for path, entry in self.entries.items() if path.startswith(start) and path != folder
        }

    def resolve(self, path: str) -> str | None:
        """Follow links, with the context as the root of all paths; None where nothing is."""
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
