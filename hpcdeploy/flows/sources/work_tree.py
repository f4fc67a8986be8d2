"""How far above its own folder a project's files may lie: up to the root of the git work tree."""

import os
import stat
from functools import cached_property
from pathlib import Path

from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.git import ask_git


class Boundary:
    """The folder that a project's files lie in: its own, and above it the git work tree.

    Whoever can write a file decides what the image holds, so one of another user is taken from the project only, which the
    caller chose. git is asked when the first file lies above the project.
    """

    def __init__(self, project: Path, *, user: int | None = None) -> None:
        """Take the project's folder, which need not be in a work tree, and the user's id; by default the caller's."""
        self.project = project.resolve()
        self._user = os.geteuid() if user is None else user

    @cached_property
    def top(self) -> Path:
        """The root of the work tree that holds the project; the project's own folder where git names none.

        git itself names none where it belongs to somebody else (git-config(1), safe.directory). A repository's own settings
        may name any folder (core.worktree there), so that one counts only which holds ``.git``.
        """
        answer = ask_git(self.project, "rev-parse", "--show-toplevel")
        named = os.fsdecode(answer.stdout).removesuffix("\n") if answer is not None and answer.returncode == 0 else ""
        top = Path(named).resolve() if named else self.project
        return top if (top / ".git").exists() and self.project.is_relative_to(top) else self.project

    def check(self, path: Path, key: str) -> None:
        """Refuse a file or folder that is not to go into an image; `key` says in messages what names it.

        Raises `EnvironmentFileError` with the reason.
        """
        real = path.resolve()
        if real.is_relative_to(self.project):
            return
        if not real.is_relative_to(self.top):
            where = "above that only what lies in the same git work tree is taken, and git names none here"
            if self.top != self.project:
                where = f"above that only what lies in the git work tree {self.top} is taken"
            raise EnvironmentFileError(
                f"{key}, which is {real}, outside of the project {self.project}: {where}; copy it there"
            )
        if ".git" in real.relative_to(self.top).parts:
            raise EnvironmentFileError(f"{key}, which is {real}: git's own folder does not go into images; name another")
        for part in (real, *(folder for folder in real.parents if folder != self.top and folder.is_relative_to(self.top))):
            status = part.stat()
            owner = status.st_uid
            if owner not in (self._user, 0):
                raise EnvironmentFileError(
                    f"{key}, but {part} belongs to the user id {owner}, neither to you nor to root: files of others are not "
                    "taken from above the project's folder; copy it into the project"
                )
            _check_mode(part, status, key)


def _check_mode(part: Path, status: os.stat_result, key: str) -> None:
    """Refuse what others than its owner may write, a folder that lets everybody replace only his own aside.

    A group with the owner's own number, which many systems give each user, holds nobody else.
    """
    private = status.st_uid == status.st_gid
    others = status.st_mode & (stat.S_IWOTH | (0 if private else stat.S_IWGRP))
    if not others or (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX):
        return
    who = "everybody" if others & stat.S_IWOTH else f"the group id {status.st_gid}"
    raise EnvironmentFileError(
        f"{key}, but {who} may write {part}, which belongs to the user id {status.st_uid}: files that others may change "
        f"are not taken from above the project's folder; run 'chmod go-w {part}', or copy it into the project"
    )
