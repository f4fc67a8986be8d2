"""Tell whether a work tree differs from its commit, without running programs that the repository names.

``git status`` converts files with filters. The configuration defines a filter, and attributes select it for files
(gitattributes(5), filter). A filter in the user's own configuration, such as git-lfs in ``~/.gitconfig``, is used. A filter
in the repository's configuration may come from another person, so it is never used. If the user's configuration has a filter
of the same name, that filter replaces it; otherwise the filter is disabled.

If a filter is disabled, its files are not converted, so git may report them as changed although they are not. Then the
result is unknown. git checks each submodule in another process, which reads the configuration of the submodule. So the
configurations of submodules are treated like that of the repository.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from hpcdeploy.errors import ConfigError
from hpcdeploy.git import MOST, run_git

MOST_REPOSITORIES = 1000
"""Maximum number of repositories to check: the project's and its submodules, including nested ones."""

MOST_FILTERS = 100
"""Maximum number of filters to replace or disable. Each needs up to four arguments of git of some 100 bytes."""

_NO_RENAMES = {"diff.renames": "false", "status.renames": "false"}
"""Settings that disable the detection of renamed files (git-config(1)).

A renamed file is a change in any case, and the detection would read files that a partial clone lacks.
"""

_MOST_PATHS = 100
"""Maximum number of changed files whose filters are queried, because the paths are arguments of git."""

_KEYS = r"^(filter\..*\.(clean|smudge|process|required)|lfs\.extension\..*\.(clean|smudge))$"
"""Keys of the configuration that name the programs of a filter.

git runs some of them (git-config(1), filter.<driver>.clean, smudge and process), and git-lfs runs the others
(git-lfs-config(5), lfs.extension.<name>.clean and smudge).
"""

_PROGRAMS = ("clean", "smudge", "process")
_OF_REPOSITORY = frozenset({"local", "worktree"})
"""The scopes of the repository's own configuration and of files that it includes (git-config(1), SCOPES)."""

_LFS = {
    "clean": frozenset({"git-lfs clean -- %f"}),
    "smudge": frozenset({"git-lfs smudge -- %f", "git-lfs smudge --skip -- %f"}),
    "process": frozenset({"git-lfs filter-process", "git-lfs filter-process --skip"}),
}
"""The values that ``git lfs install --local`` and GitHub's actions/checkout write to a repository (git-lfs-install(1)).

These values are accepted, because git then runs git-lfs from PATH, as for a filter in the user's configuration.
"""


@dataclass
class _Filters:
    """The filters in the configurations of the user, of a repository and of its submodules.

    Attributes:
        of_user: The values in the user's configuration, by filter and key.
        of_repositories: The keys that a repository's configuration defines, by filter.
        misled: The user's filters that would run a program that a repository names (git-lfs with an extension).
        submodules: The paths of the submodules of the outermost repository.
    """

    of_user: dict[str, dict[str, str]] = field(default_factory=dict)
    of_repositories: dict[str, set[str]] = field(default_factory=dict)
    misled: set[str] = field(default_factory=set)
    submodules: set[bytes] = field(default_factory=set)

    @property
    def replaced(self) -> set[str]:
        """The filters whose definitions git must not use, because a repository names a program for them."""
        return self.of_repositories.keys() | self.misled

    @property
    def off(self) -> frozenset[str]:
        """The replaced filters that are disabled, because the user's configuration has no suitable filter of this name."""
        return frozenset(name for name in self.replaced if not self._replacement(name))

    @property
    def settings(self) -> dict[str, str]:
        """The settings that override the repository's definitions.

        An empty program disables a filter (git, convert.c, apply_filter).
        """
        chosen: dict[str, str] = {}
        for name in sorted(self.replaced):
            values = self._replacement(name)
            # git prefers ``process`` to the other programs, even if ``process`` is empty. So ``process`` is only set if
            # necessary.
            keys = _PROGRAMS if "process" in values or not values else ("clean", "smudge")
            chosen |= {f"filter.{name}.{key}": values.get(key, "") for key in keys}
            chosen[f"filter.{name}.required"] = values.get("required", "false")
        return chosen

    def _replacement(self, name: str) -> dict[str, str]:
        """Return the user's definition of a filter; empty if it cannot replace the definition of the repository."""
        values = {} if name in self.misled else self.of_user.get(name, {})
        clean = values.get("clean") and "process" not in self.of_repositories.get(name, ())
        return values if values.get("process") or clean else {}


def has_changes(folder: Path, *arguments: str) -> bool | None:
    """Tell whether ``git status ARGUMENTS`` in `folder` reports a change.

    The result is None if the answer is unknown. The reason may be one of these:

    - git is not installed, or it rejects or cannot read the repository.
    - There are too many submodules or filters.
    - The answer depends on a filter that is disabled.

    Raises:
        ConfigError: git's output is too large, or git runs for too long.
    """
    filters = _Filters()
    top = _top(folder)
    if top is None or not _collect(folder, top, filters):
        return None
    done = run_git(folder, "status", "--porcelain", "-z", *arguments, settings=filters.settings | _NO_RENAMES)
    if done is None or done.returncode:
        return None
    changed = [line for line in done.stdout.split(b"\0") if line]
    # " M": only the content of the file differs (git-status(1), Short Format). git finds all other changes without filters.
    contents = {line[3:] for line in changed if line.startswith(b" M ")}
    if len(contents) < len(changed) or not (changed and filters.off):
        return bool(changed)
    return True if _without_filter(top, contents - filters.submodules, filters.off) else None


def _top(folder: Path) -> Path | None:
    done = run_git(folder, "rev-parse", "--show-toplevel")
    return None if done is None or done.returncode else Path(os.fsdecode(done.stdout).removesuffix("\n"))


def _collect(folder: Path, top: Path, filters: _Filters) -> bool:
    """Add the filters of the work tree `top`, which contains `folder`, and of its submodules to `filters`.

    Return False if they cannot be read, or if there are too many of them.
    """
    seen: set[Path] = set()
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        if place.resolve() in seen:
            continue
        seen.add(place.resolve())
        root = _top(place)
        found = None if root is None else _submodules(place)
        if root is None or found is None or len(seen) + len(waiting) + len(found) > MOST_REPOSITORIES:
            return False
        if not _read_configuration(place, filters):
            return False
        if root == top:
            filters.submodules.update(found)
        submodules = (root / os.fsdecode(name) for name in found)
        waiting += (path for path in submodules if os.path.lexists(path / ".git"))
    # A filter whose name contains "=" cannot be overridden, because "git -c" splits its argument at the first "=".
    return len(filters.replaced) <= MOST_FILTERS and not any("=" in name for name in filters.replaced)


def _submodules(place: Path) -> list[bytes] | None:
    """Return the paths of the submodules in the index, relative to the work tree; None if they cannot be read."""
    try:
        # Each record has some 50 bytes more than the path, such as the object's name. So twice the usual limit is used.
        done = run_git(place, "ls-files", "--stage", "--full-name", "-z", "--", ":/", most=2 * MOST)
    except ConfigError:
        return None
    if done is None or done.returncode:
        return None
    # A record consists of mode, object, stage, a tab and the path. The mode of a submodule is 160000 (git-ls-files(1)).
    return [record.partition(b"\t")[2] for record in done.stdout.split(b"\0") if record.startswith(b"160000 ")]


def _read_configuration(place: Path, filters: _Filters) -> bool:
    """Add the filters in git's configuration for the folder `place` to `filters`; return False if it cannot be read."""
    done = run_git(place, "config", "--show-scope", "-z", "--get-regexp", _KEYS)
    if done is not None and done.returncode == 129:  # unknown option: git before 2.26 does not report a value's scope
        done = run_git(place, "config", "-z", "--get-regexp", _KEYS)
        lines = _lines(done.stdout) if done is not None else []
        fields = [word for line in lines for word in ("local", line)]
    else:
        fields = _lines(done.stdout) if done is not None else []
    if done is None or done.returncode > 1 or len(fields) % 2:  # 1: no match (git-config(1))
        return False
    for scope, line in zip(fields[::2], fields[1::2], strict=True):
        key, _, value = line.partition("\n")
        section, _, rest = key.partition(".")
        name, _, word = rest.rpartition(".")
        if section == "lfs" and scope in _OF_REPOSITORY:
            filters.misled.add(section)
        elif section == "filter" and scope not in _OF_REPOSITORY:
            filters.of_user.setdefault(name, {})[word] = value
        elif section == "filter" and word in _PROGRAMS and not (name == "lfs" and value in _LFS[word]):
            filters.of_repositories.setdefault(name, set()).add(word)
    return True


def _lines(answer: bytes) -> list[str]:
    return os.fsdecode(answer).split("\0")[:-1]


def _without_filter(top: Path, paths: Collection[bytes], off: Collection[str]) -> bool:
    """Tell whether one of the files in `paths` (relative to `top`) uses no filter of `off` (git-check-attr(1)).

    Only the first `_MOST_PATHS` files are checked.
    """
    asked = [os.fsdecode(path) for path in sorted(paths)[:_MOST_PATHS]]
    done = run_git(top, "check-attr", "-z", "filter", "--", *asked) if asked else None
    if done is None or done.returncode:
        return False
    return any(value not in off for value in _lines(done.stdout)[2::3])
