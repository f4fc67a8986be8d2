"""How far above its own folder a project's files may lie: up to the root of the git work tree."""

import os
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from hpcdeploy.errors import EnvironmentFileError, HpcdeployError
from hpcdeploy.folders import home_folder
from hpcdeploy.ownership import objection, on_the_way, trusted_users

_GIT_S_OWN = "which is {}: git's own folder does not go into images; name another"


class Boundary:
    """The folder that a project's files lie in: its own, and above it the git work tree.

    A project may be somebody else's. A file that it names, or leads to by a link, may be printed, quoted in a message, and
    go into an image; so a file that lies elsewhere, such as a private key, is not read. Whoever can write a file decides
    what the image holds, so one of another user is taken from the project only, which the caller chose. git is asked when
    the first file lies above the project.
    """

    def __init__(self, project: Path, *, named: Path | None = None) -> None:
        """Take the project's folder, which need not be in a work tree.

        Args:
            project: The project's folder.
            named: A file that the person named in the command: it may lie anywhere.
        """
        self.project = project.resolve()
        self._named = named and named.resolve()

    @property
    def top(self) -> Path:
        """The root of the work tree that holds the project; the project's own folder where there is none that counts.

        One that holds the home folder does not count, as people have who keep their settings in git: everything of theirs
        lies in it.
        """
        return self._tree if self._tree and not self._holds_home else self.project

    @cached_property
    def _tree(self) -> Path | None:
        """The root of the work tree that holds the project.

        git itself names none where it belongs to somebody else (git-config(1), safe.directory). A repository's own settings
        may name any folder (core.worktree there), so that one counts only which holds ``.git``.
        """
        from hpcdeploy.git import ask_git

        answer = ask_git(self.project, "rev-parse", "--show-toplevel")
        named = os.fsdecode(answer.stdout).removesuffix("\n") if answer is not None and answer.returncode == 0 else ""
        top = Path(named).resolve() if named else None
        return top if top and (top / ".git").exists() and self.project.is_relative_to(top) else None

    @cached_property
    def _holds_home(self) -> bool:
        return self._tree is not None and home_folder(os.environ).resolve().is_relative_to(self._tree)

    def check(
        self, path: Path, key: str = "", error: type[HpcdeployError] = EnvironmentFileError, *, of_git: bool = False
    ) -> None:
        """Refuse a file or folder that a project may not use; `key` says in messages what names it (empty: its path).

        Git's own folder is refused too, unless `of_git`: its configuration may hold a token in an address. Above the project
        what is not there is not. Raises an `error` with the reason.
        """
        if reason := self._objection(path, of_git=of_git):
            raise error(f"{key or path}, {reason}")

    def holds(self, path: Path) -> bool:
        """Tell whether a project may use `path` without a question, by the same rule as `check`."""
        return not self._objection(path, of_git=False)

    def _objection(self, path: Path, *, of_git: bool) -> str:
        """Return why the project may not use the file `path`, as the end of a sentence; empty: it may."""
        real = followed(path)
        if real == self._named:
            return ""
        if real.is_relative_to(self.project):
            return _GIT_S_OWN.format(real) if in_git(real, self.project) and not of_git else ""
        if not real.is_relative_to(self.top):
            where = "above that only what lies in the same git work tree is taken, and git names none here"
            if self.top != self.project:
                where = f"above that only what lies in the git work tree {self.top} is taken"
            elif self._holds_home:
                where = f"nothing above that is taken, since the git work tree {self._tree} holds your home folder"
            return f"which is {real}, outside of the project {self.project}: {where}; copy it there"
        if not of_git and in_git(real, self.top):
            return _GIT_S_OWN.format(real)
        if not real.exists():
            return ""
        users = trusted_users(os.environ)
        for part in (*self._up_to_top(real), *self._links_to(path)):
            if reason := objection(part, users):
                written = f"run 'chmod go-w {part}', or " if "written" in reason else ""
                return (
                    f"but {part} {reason}: files that others own or may change are not taken from above the project's "
                    f"folder; {written}copy it into the project"
                )
        return ""

    def _up_to_top(self, real: Path) -> Iterator[Path]:
        """Yield the file and each folder above it up to the work tree's own: who may write one decides what lies in it."""
        yield real
        yield from (folder for folder in real.parents if folder.is_relative_to(self.top))

    def _links_to(self, path: Path) -> Iterator[Path]:
        """Yield the links above the project, in the work tree, by which `path` leads to its file, and their folders."""
        steps = on_the_way(path.absolute(), self.project)
        yield from (step for step in steps if step.is_relative_to(self.top) and not step.is_relative_to(self.project))


def in_git(real: Path, folder: Path) -> bool:
    """Tell whether `real`, which lies below `folder` and is no link, is git's own or lies in git's own folder there.

    A file system may find ``.git`` by other names too: those of another case, and on HFS+ those with invisible characters.
    git never tracks a file with such a name (read-cache.c, verify_dotfile; utf8.c, is_hfs_dotgit), so all of them count.
    """
    return any(_is_git_s_own(part) for part in real.relative_to(folder).parts)


def _is_git_s_own(name: str) -> bool:
    visible = name if name.isascii() else "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    return visible.casefold() == ".git"


def followed(path: Path) -> Path:
    """Return where `path` leads, absolute and without links; of links that lead to each other the first.

    Path.resolve raises RuntimeError for those before Python 3.13.
    """
    return Path(os.path.realpath(path))
