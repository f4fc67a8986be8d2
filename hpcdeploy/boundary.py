"""Limit which files a project may use: the files in its own folder, and the other files in the same git work tree."""

import os
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from hpcdeploy.errors import EnvironmentFileError, HpcdeployError
from hpcdeploy.folders import home_folder
from hpcdeploy.ownership import objection, on_the_way, trusted_users

_GIT_S_OWN = "which is {}, in git's own folder: a project cannot use files there; expected another path"


class Boundary:
    """The files that a project may use: those in its own folder, and those in the git work tree that contains it.

    A project may come from another user. The settings and links of such a project may name any file on this machine, for
    example a private key. hpcdeploy could print the named file, quote it in a message, or copy it into an image. Therefore
    hpcdeploy reads no other files for a project.

    The owner of a file decides what the image contains. The caller chose the project's own folder, so all files in it are
    accepted. A file above this folder is only accepted if no other user can write it.

    git is queried when the first file above the project's folder is checked.
    """

    def __init__(self, project: Path, *, named: Path | None = None) -> None:
        """Store the folders that limit the project.

        Args:
            project: The project's folder, which need not be in a work tree.
            named: A file that the user named in the command. It is accepted in any folder.
        """
        self.project = project.resolve()
        self._named = named and named.resolve()

    @property
    def top(self) -> Path:
        """The root of the git work tree that contains the project; the project's own folder if there is no suitable one.

        A work tree that contains the home folder is not suitable. Some users store their settings in git, and then all
        their files are in the work tree.
        """
        return self._tree if self._tree and not self._holds_home else self.project

    @cached_property
    def _tree(self) -> Path | None:
        """The root of the git work tree that contains the project; None if there is none.

        git reports no work tree that belongs to another user (git-config(1), safe.directory). A repository can set any
        folder as its work tree (git-config(1), core.worktree), so a folder without ``.git`` is not accepted.
        """
        from hpcdeploy.git import run_git

        answer = run_git(self.project, "rev-parse", "--show-toplevel")
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
            path: The file or folder. A path in the permitted folders is accepted even if it does not exist.
            key: The subject of the message, such as a settings key; empty for the path.
            error: The class of the error.
            of_git: Accept files in git's own folder (``.git``). By default they are rejected, because git's configuration
                may contain a URL with a token, and the folder may contain programs that git runs.

        Raises:
            HpcdeployError: The project may not use `path`; the class is `error`.
        """
        if reason := self._objection(path, of_git=of_git):
            raise error(f"{key or path}, {reason}")

    def holds(self, path: Path) -> bool:
        """Tell whether `check` accepts `path`."""
        return not self._objection(path, of_git=False)

    def _objection(self, path: Path, *, of_git: bool) -> str:
        """Return why the project may not use `path`, as the end of a sentence; empty if the project may use it."""
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
                    f"but {part} {reason}: above the project's folder, files that others own or may change cannot be used; "
                    f"{written}copy the file into the project"
                )
        return ""

    def _up_to_top(self, real: Path) -> Iterator[Path]:
        """Yield the file and each folder above it up to the root of the work tree.

        A user who can write one of these can replace the file.
        """
        yield real
        yield from (folder for folder in real.parents if folder.is_relative_to(self.top))

    def _links_to(self, path: Path) -> Iterator[Path]:
        """Yield the links that are followed from `path`, and the folders that contain them.

        Only links and folders in the work tree but outside the project's folder are included.
        """
        steps = on_the_way(path.absolute(), self.project)
        yield from (step for step in steps if step.is_relative_to(self.top) and not step.is_relative_to(self.project))


def in_git(real: Path, folder: Path) -> bool:
    """Tell whether the path from `folder` to `real` contains a component ``.git``; `real` has no links and is in `folder`.

    Some file systems ignore case, and HFS+ also ignores invisible characters, so other spellings may name the same folder.
    git tracks no file with one of these names (read-cache.c, verify_dotfile; utf8.c, is_hfs_dotgit). So all spellings are
    treated like ``.git``.
    """
    return any(_is_git_s_own(part) for part in real.relative_to(folder).parts)


def _is_git_s_own(name: str) -> bool:
    visible = name if name.isascii() else "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    return visible.casefold() == ".git"


def followed(path: Path) -> Path:
    """Return the absolute target of `path` without links. If links form a loop, return the first link of the loop.

    `Path.resolve` is not used, because it raises RuntimeError for a loop before Python 3.13.
    """
    return Path(os.path.realpath(path))
