"""Whether a work tree differs from its commit, asked of git without a program that the repository itself names.

``git status`` converts files by the filters that the configuration defines and the attributes choose (gitattributes(5),
filter). The person's own definitions, such as git-lfs in ``~/.gitconfig``, count. Those of the repository's configuration,
which others may have written, are replaced by the person's own of that name, or else switched off; where a file differs
only without its filter, it is unknown whether it differs. Submodules are looked into by git itself, in processes of their
own, so their configuration counts as the repository's.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from hpcdeploy.errors import ConfigError
from hpcdeploy.git import MOST, ask_git

MOST_REPOSITORIES = 1000
"""Submodules, with those inside of them, that are looked into."""

MOST_FILTERS = 100
"""Filters that a repository's own configuration may define: each is switched off by four arguments of 100 bytes or so."""

_NO_RENAMES = {"diff.renames": "false", "status.renames": "false"}
"""A renamed file is a change in any case; looking for one would read files that a partial clone lacks (git-config(1))."""

_MOST_PATHS = 100
"""Changed files that are asked about."""

_KEYS = r"^(filter\..*\.(clean|smudge|process|required)|lfs\.extension\..*\.(clean|smudge))$"
"""What names the programs of filters: git's own keys (git-config(1), filter.<driver>.clean and the next ones), and the
programs that git-lfs starts in turn (git-lfs-config(5), lfs.extension.<name>.clean)."""

_PROGRAMS = ("clean", "smudge", "process")
_OF_REPOSITORY = frozenset({"local", "worktree"})
"""The scopes of what lies with the repository (git-config(1), SCOPES), with the files that it includes."""

_LFS = {
    "clean": frozenset({"git-lfs clean -- %f"}),
    "smudge": frozenset({"git-lfs smudge -- %f", "git-lfs smudge --skip -- %f"}),
    "process": frozenset({"git-lfs filter-process", "git-lfs filter-process --skip"}),
}
"""What ``git lfs install --local`` writes (git-lfs-install(1)), as GitHub's actions/checkout does: the program is looked for
in PATH, and so is the person's."""


@dataclass
class _Filters:
    """The filters of a repository and its submodules.

    ``own`` has the person's definitions, by filter and key, ``named`` the keys that a repository defines of each filter,
    ``misled`` those of the person that would start a program of a repository's, ``submodules`` the paths of the submodules
    of the repository itself.
    """

    own: dict[str, dict[str, str]] = field(default_factory=dict)
    named: dict[str, set[str]] = field(default_factory=dict)
    misled: set[str] = field(default_factory=set)
    submodules: set[bytes] = field(default_factory=set)

    @property
    def replaced(self) -> set[str]:
        """The filters that git must not take as they are defined."""
        return self.named.keys() | self.misled

    @property
    def off(self) -> frozenset[str]:
        """The filters that are switched off."""
        return frozenset(name for name in self.replaced if not self._persons(name))

    @property
    def settings(self) -> dict[str, str]:
        """What has precedence over the repository's definitions; an empty program is none (convert.c, apply_filter)."""
        chosen: dict[str, str] = {}
        for name in sorted(self.replaced):
            given = self._persons(name)
            # A process has precedence over the other programs, also an empty one.
            keys = _PROGRAMS if "process" in given or not given else ("clean", "smudge")
            chosen |= {f"filter.{name}.{key}": given.get(key, "") for key in keys}
            chosen[f"filter.{name}.required"] = given.get("required", "false")
        return chosen

    def _persons(self, name: str) -> dict[str, str]:
        """Return the person's definition of a filter; nothing where there is none that can be put back."""
        given = {} if name in self.misled else self.own.get(name, {})
        clean = given.get("clean") and "process" not in self.named.get(name, ())
        return given if given.get("process") or clean else {}


def has_changes(folder: Path, *words: str) -> bool | None:
    """Tell whether ``git status WORDS`` in `folder` has anything to report; None where that is not known.

    It is unknown where git is not there, or refuses or cannot read the repository, and where it depends on a filter that is
    switched off.
    """
    filters = _Filters()
    top = _top(folder)
    if top is None or not _collect(folder, top, filters):
        return None
    done = ask_git(folder, "status", "--porcelain", "-z", *words, settings=filters.settings | _NO_RENAMES)
    if done is None or done.returncode:
        return None
    changed = [line for line in done.stdout.split(b"\0") if line]
    # " M": the content of a file differs from the index's (git-status(1), Short Format). Nothing else needs a filter.
    contents = {line[3:] for line in changed if line.startswith(b" M ")}
    if len(contents) < len(changed) or not (changed and filters.off):
        return bool(changed)
    return True if _without_filter(top, contents - filters.submodules, filters.off) else None


def _top(folder: Path) -> Path | None:
    done = ask_git(folder, "rev-parse", "--show-toplevel")
    return None if done is None or done.returncode else Path(os.fsdecode(done.stdout).removesuffix("\n"))


def _collect(folder: Path, top: Path, filters: _Filters) -> bool:
    """Collect the filters of the work tree `top`, which `folder` is in, and of its submodules; False: they are not known."""
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
    # "git -c" takes what follows the first "=" as the value.
    return len(filters.replaced) <= MOST_FILTERS and not any("=" in name for name in filters.replaced)


def _submodules(place: Path) -> list[bytes] | None:
    """Return the paths of the submodules in the index, relative to the work tree; None where they are not known."""
    try:
        # A line has the object's name too: some 50 bytes besides the path.
        done = ask_git(place, "ls-files", "--stage", "--full-name", "-z", "--", ":/", most=2 * MOST)
    except ConfigError:
        return None
    if done is None or done.returncode:
        return None
    # A record is mode, object, stage, a tab, the path; a submodule's mode is 160000 (git-ls-files(1)).
    return [record.partition(b"\t")[2] for record in done.stdout.split(b"\0") if record.startswith(b"160000 ")]


def _read_configuration(place: Path, filters: _Filters) -> bool:
    """Add the filters that the configuration defines in `place`; False: it cannot be read."""
    done = ask_git(place, "config", "--show-scope", "-z", "--get-regexp", _KEYS)
    if done is not None and done.returncode == 129:  # unknown option: git before 2.26 does not say where a value is from
        done = ask_git(place, "config", "-z", "--get-regexp", _KEYS)
        lines = _lines(done.stdout) if done is not None else []
        fields = [word for line in lines for word in ("local", line)]
    else:
        fields = _lines(done.stdout) if done is not None else []
    if done is None or done.returncode > 1 or len(fields) % 2:  # 1: there is none (git-config(1))
        return False
    for scope, line in zip(fields[::2], fields[1::2], strict=True):
        key, _, value = line.partition("\n")
        section, _, rest = key.partition(".")
        name, _, word = rest.rpartition(".")
        if section == "lfs" and scope in _OF_REPOSITORY:
            filters.misled.add(section)
        elif section == "filter" and scope not in _OF_REPOSITORY:
            filters.own.setdefault(name, {})[word] = value
        elif section == "filter" and word in _PROGRAMS and not (name == "lfs" and value in _LFS[word]):
            filters.named.setdefault(name, set()).add(word)
    return True


def _lines(answer: bytes) -> list[str]:
    return os.fsdecode(answer).split("\0")[:-1]


def _without_filter(top: Path, paths: Collection[bytes], off: Collection[str]) -> bool:
    """Tell whether one of the files, relative to `top`, is converted by none of the filters `off` (git-check-attr(1))."""
    asked = [os.fsdecode(path) for path in sorted(paths)[:_MOST_PATHS]]
    done = ask_git(top, "check-attr", "-z", "filter", "--", *asked) if asked else None
    if done is None or done.returncode:
        return False
    return any(value not in off for value in _lines(done.stdout)[2::3])
