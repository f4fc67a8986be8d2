"""How far above its own folder a project's files may lie: up to the root of the git work tree."""

import os
import stat
from functools import cached_property
from pathlib import Path

from hpcdeploy.errors import EnvironmentFileError, HpcdeployError
from hpcdeploy.folders import home_folder


class Boundary:
    """The folder that a project's files lie in: its own, and above it the git work tree.

    A project may be somebody else's. A file that it names, or leads to by a link, may be printed, quoted in a message, and
    go into an image; so a file that lies elsewhere, such as a private key, is not read. Whoever can write a file decides
    what the image holds, so one of another user is taken from the project only, which the caller chose. git is asked when
    the first file lies above the project.
    """

    def __init__(self, project: Path, *, user: int | None = None, named: Path | None = None) -> None:
        """Take the project's folder, which need not be in a work tree.

        Args:
            project: The project's folder.
            user: A user's id; by default the caller's.
            named: A file that the person named in the command: it may lie anywhere.
        """
        self.project = project.resolve()
        self._user = os.geteuid() if user is None else user
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

        Above the project git's own folder is refused too, unless `of_git`; what is not there is not. Raises an `error` with
        the reason.
        """
        real = path.resolve()
        if real.is_relative_to(self.project) or real == self._named:
            return
        key = key or str(path)
        if not real.is_relative_to(self.top):
            where = "above that only what lies in the same git work tree is taken, and git names none here"
            if self.top != self.project:
                where = f"above that only what lies in the git work tree {self.top} is taken"
            elif self._holds_home:
                where = f"nothing above that is taken, since the git work tree {self._tree} holds your home folder"
            raise error(f"{key}, which is {real}, outside of the project {self.project}: {where}; copy it there")
        if not of_git and ".git" in real.relative_to(self.top).parts:
            raise error(f"{key}, which is {real}: git's own folder does not go into images; name another")
        if not real.exists():
            return
        for part in (real, *(folder for folder in real.parents if folder != self.top and folder.is_relative_to(self.top))):
            status = part.stat()
            owner = status.st_uid
            if owner not in (self._user, 0):
                raise error(
                    f"{key}, but {part} belongs to the user id {owner}, neither to you nor to root: files of others are not "
                    "taken from above the project's folder; copy it into the project"
                )
            if reason := writable_by_others(part, status):
                raise error(
                    f"{key}, but {reason}: files that others may change are not taken from above the project's folder; "
                    f"run 'chmod go-w {part}', or copy it into the project"
                )


def writable_by_others(path: Path, status: os.stat_result) -> str:
    """Say who else than its owner may write what is at `path`, by its `status`; empty: nobody.

    A group with the owner's own number, which many systems give each user, holds nobody else. A folder with the sticky bit
    lets everybody replace only his own.
    """
    private = status.st_uid == status.st_gid
    others = status.st_mode & (stat.S_IWOTH | (0 if private else stat.S_IWGRP))
    if not others or (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX):
        return ""
    who = "everybody" if others & stat.S_IWOTH else f"the group id {status.st_gid}"
    return f"{who} may write {path}, which belongs to the user id {status.st_uid}"
