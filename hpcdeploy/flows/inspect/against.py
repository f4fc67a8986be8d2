"""Find the older lock file for a comparison: in a file, in git's history, or in the record of the last build."""

from hashlib import sha256
from pathlib import Path

from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.flows.sources.staging import read_text
from hpcdeploy.frozen import frozen
from hpcdeploy.git import run_git
from hpcdeploy.image import Definition
from hpcdeploy.regular_file import LARGEST_LOCK, read_regular
from hpcdeploy.store import Store

LOCKS = ("pixi.lock", "spack.lock")


@frozen
class Older:
    """The content of a lock file (`text`), and the file's description for the user (`name`)."""

    name: str
    text: str


def lock_of(definition: Definition) -> bytes:
    """Return the content of the lock file that a definition copies; empty if it copies none."""
    locks = (file for file in definition.files if file.source.name in LOCKS and not file.staged.startswith("files/"))
    first = next(locks, None)
    content = read_regular(first.source, LARGEST_LOCK) if first else b""
    # If the file changed during the build, its present content is not the content that the build used.
    return content if first and sha256(content).hexdigest() == first.sha256 else b""


def last_build(store: Store, project: Path, image: str) -> Older | None:
    """Return the lock file of an image's latest build; None if the record has no such build."""
    known = store.latest_lock(project, image)
    return known and Older(name=f"the last build ({known[0]})", text=known[1].decode(errors="replace"))


def older(other: str, lock: Path) -> Older:
    """Return the lock file that `other` names, for a comparison with `lock`.

    Args:
        other: The path of a lock file, a folder that contains a lock file, git's ``REVISION:PATH``, or a git revision. A
            revision alone means the file `lock` in that revision.
        lock: The newer lock file.

    Raises:
        EnvironmentFileError: `other` names no lock file, or the file cannot be read.
    """
    path = Path(other)
    if path.is_dir():
        path = path / lock.name
    if path.is_file():
        return Older(name=str(path), text=read_text(path, None))
    folder = lock.absolute().parent
    # "REV:./NAME" is relative to git's working folder (gitrevisions(7)).
    revision = other if ":" in other else f"{other}:./{lock.name}"
    # "git show" of anything but a file runs programs that the repository names (git-config(1), diff.external).
    done = run_git(folder, "cat-file", "blob", "--end-of-options", revision)
    if done is None or done.returncode != 0:
        reason = (
            "there is no git"
            if done is None
            else (done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
        )
        raise EnvironmentFileError(
            f"{other!r} is not a lock file, a folder with a lock file, or a git revision with {lock.name} (git: {reason}); "
            "use for example --against old/pixi.lock or --against v1.2"
        )
    return Older(name=revision.replace(":./", ":"), text=done.stdout.decode(errors="replace"))
