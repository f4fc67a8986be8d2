"""Limit which files a project may use: those in its folder, and above it those in the same git work tree."""

import os
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from hpcdeploy.errors import EnvironmentFileError, HpcdeployError
from hpcdeploy.folders import home_folder
from hpcdeploy.ownership import objection, on_the_way, trusted_users

_GIT_S_OWN = "which is {}: git's own folder is not copied into images; use another path"


class Boundary:
    """The area of a project's files: its own folder, and above it the git work tree.

    The project may have been written by another user. A file that it names, or reaches by a link, may be printed, quoted in
    a message, or copied into an image. Therefore a file outside this area, such as a private key, is not read. A user who
    can write a file decides what the image contains. Therefore a file of another user is only accepted in the project's own
    folder, which the caller chose. git is queried when the first file lies above the project.
    """

    def __init__(self, project: Path, *, named: Path | None = None) -> None:
        """Set the area.

        Args:
            project: The project's folder, which need not be in a work tree.
            named: A file that the user named in the command; it may be anywhere.
        """
        self.project = project.resolve()
        self._named = named and named.resolve()

    @property
    def top(self) -> Path:
        """The root of the project's work tree; the project's own folder if there is no suitable work tree.

        A work tree that contains the home folder does not count: some users keep their settings in git, and then it
        contains all their files.
        """
        return self._tree if self._tree and not self._holds_home else self.project

    @cached_property
    def _tree(self) -> Path | None:
        """The root of the work tree that contains the project, or None.

        git reports none if it belongs to another user (git-config(1), safe.directory). A repository can set its work tree
        to any folder (git-config(1), core.worktree), so it only counts if it contains ``.git``.
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
        """Check that the project may use a file or folder.

        Args:
            path: The file or folder. Above the project, a missing one is accepted.
            key: The subject of the message; empty for the path.
            error: The class of the error.
            of_git: Accept files in git's own folder. By default they are rejected, because its configuration may contain a
                token in a URL.

        Raises:
            HpcdeployError: It may not; the class is `error`.
        """
        if reason := self._objection(path, of_git=of_git):
            raise error(f"{key or path}, {reason}")

    def holds(self, path: Path) -> bool:
        """Tell whether `check` accepts `path`."""
        return not self._objection(path, of_git=False)

    def _objection(self, path: Path, *, of_git: bool) -> str:
        """Return why the project may not use the file `path`, as the end of a sentence; empty if it may."""
        real = followed(path)
        if real == self._named:
            return ""
        if real.is_relative_to(self.project):
            return _GIT_S_OWN.format(real) if in_git(real, self.project) and not of_git else ""
        if not real.is_relative_to(self.top):
            where = "above it only files in the same git work tree can be used, and git finds none here"
            if self.top != self.project:
                where = f"above it only files in the git work tree {self.top} can be used"
            elif self._holds_home:
                where = f"nothing above it can be used, because the git work tree {self._tree} contains your home folder"
            return f"which is {real}, outside of the project {self.project}: {where}; copy the file into the project"
        if not of_git and in_git(real, self.top):
            return _GIT_S_OWN.format(real)
        if not real.exists():
            return ""
        users = trusted_users(os.environ)
        for part in (*self._up_to_top(real), *self._links_to(path)):
            if reason := objection(part, users):
                written = f"run 'chmod go-w {part}', or " if "written" in reason else ""
                return (
                    f"but {part} {reason}: files that others own or may change cannot be used from above the project's "
                    f"folder; {written}copy it into the project"
                )
        return ""

    def _up_to_top(self, real: Path) -> Iterator[Path]:
        """Yield the file and each folder above it up to the work tree: a user who can write one of them can replace the
        file."""
        yield real
        yield from (folder for folder in real.parents if folder.is_relative_to(self.top))

    def _links_to(self, path: Path) -> Iterator[Path]:
        """Yield the links above the project that `path` follows within the work tree, and the folders of these links."""
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
    """Return the absolute target of `path` without links; for links in a loop, the first of them.

    Path.resolve raises RuntimeError for a loop before Python 3.13.
    """
    return Path(os.path.realpath(path))
