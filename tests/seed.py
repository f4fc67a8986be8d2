"""The seed of a test run: derived from the files under test, so that the same files are tested with the same choices."""

import os
import secrets
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
VARIABLE = "HPCDEPLOY_SEED"


def seed_of(root: Path) -> str:
    """Return a seed derived from the tree that ``git add --all && git commit`` would record now.

    In a clean clone that is the tree of its commit, so CI chooses what the author's last run before the commit chose.
    The repository's index and objects stay as they are. Outside of a git work tree the seed is random.
    """
    with tempfile.TemporaryDirectory() as folder:
        objects = _git(root, {}, "rev-parse", "--path-format=absolute", "--git-path", "objects")
        if objects is None:
            return secrets.token_hex(6)
        Path(folder, "objects").mkdir()
        own = {
            "GIT_INDEX_FILE": f"{folder}/index",
            "GIT_OBJECT_DIRECTORY": f"{folder}/objects",
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
        }
        _git(root, own, "read-tree", "HEAD")
        _git(root, own, "add", "--all")
        tree = _git(root, own, "write-tree")
    return tree[:12] if tree else secrets.token_hex(6)


def _git(root: Path, own: dict[str, str], *words: str) -> str | None:
    """Run git; return what it printed, or None where it failed."""
    done = subprocess.run(["git", *words], cwd=root, env={**os.environ, **own}, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
