"""The other side of a comparison: an older lock file, from another file, from git's history, or of the last build."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.flows.sources.staging import read_text
from hpcdeploy.git import ask_git
from hpcdeploy.image import Definition
from hpcdeploy.regular_file import LARGEST_LOCK, read_regular
from hpcdeploy.store import Store

LOCKS = ("pixi.lock", "spack.lock")


@dataclass(frozen=True, kw_only=True)
class Older:
    """A lock file's text, and what to call it."""

    name: str
    text: str


def lock_of(definition: Definition) -> bytes:
    """Return the lock file that a definition brings along; empty where it has none, as an image that was only taken over."""
    locks = (file for file in definition.files if file.source.name in LOCKS and not file.staged.startswith("files/"))
    first = next(locks, None)
    content = read_regular(first.source, LARGEST_LOCK) if first else b""
    # It may have been changed while the build ran: then it is not the one that was built from.
    return content if first and sha256(content).hexdigest() == first.sha256 else b""


def last_build(store: Store, project: Path, image: str) -> Older | None:
    """Return the lock file of an image's latest build; None where it was not built on this machine's orders."""
    known = store.latest_lock(project, image)
    return known and Older(name=f"the last build ({known[0]})", text=known[1].decode(errors="replace"))


def older(other: str, lock: Path) -> Older:
    """Return the lock file that `other` names, to be compared with `lock`.

    It is a lock file, a folder with one, ``REVISION:PATH`` as git takes it, or a revision alone, which means this very
    lock file as it was then. Raises `EnvironmentFileError`.
    """
    path = Path(other)
    if path.is_dir():
        path = path / lock.name
    if path.is_file():
        return Older(name=str(path), text=read_text(path, None))
    folder = lock.absolute().parent
    # "REV:./NAME" is relative to the folder that git was called in (gitrevisions(7)).
    asked = other if ":" in other else f"{other}:./{lock.name}"
    # "git show" of what is no file writes patches, by programs that the repository names (git-config(1), diff.external).
    done = ask_git(folder, "cat-file", "blob", "--end-of-options", asked)
    if done is None or done.returncode != 0:
        said = (
            "there is no git"
            if done is None
            else (done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
        )
        raise EnvironmentFileError(
            f"{other!r} is no lock file, no folder with one, and no git revision that has {lock.name} (git: {said}); "
            "name one, as in --against old/pixi.lock or --against v1.2"
        )
    return Older(name=asked.replace(":./", ":"), text=done.stdout.decode(errors="replace"))
