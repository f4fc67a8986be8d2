"""Choose tags for an image from the git state of its project.

The rules are those of docker/metadata-action (https://github.com/docker/metadata-action, src/meta.ts and src/tag.ts) for
the settings ``type=semver,pattern={{version}}``, ``type=semver,pattern={{major}}.{{minor}}``, ``type=ref,event=tag``,
``type=sha`` and ``latest`` on the default branch. metadata-action runs once for a branch and once for a tag. hpcdeploy runs
once for a commit, so a commit on a branch with a tag gets the tags of both runs.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from hpcdeploy.errors import ConfigError, MissingProgramError
from hpcdeploy.frozen import frozen
from hpcdeploy.git import run_git
from hpcdeploy.git_changes import has_changes

# The regular expression suggested by https://semver.org, with the optional leading v that metadata-action removes.
_SEMVER = re.compile(
    r"v?(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
_FORBIDDEN = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_TAG = 128
_SHORT_SHA = 7
_TAGS_OF_HEAD = ("for-each-ref", "--points-at=HEAD", "--format=%(refname:strip=2)", "refs/tags")
"""The arguments of git that list the tags of HEAD.

``git tag --points-at HEAD`` is not used, because the repository can set its sort order (git-config(1), tag.sort). To sort by
signature, git runs a program that the repository can name (gpg.program; git-for-each-ref(1), signature).
"""
_SCP_URL = re.compile(r"(?:[^@/:\s]+@)?([A-Za-z0-9.-]+):(?!//)(.+)")


@frozen
class GitFacts:
    """The git state of one commit and its work tree.

    Attributes:
        sha: The full commit id of 40 or 64 digits.
        branch: The current branch; empty for a detached head.
        default_branch: The default branch; empty if unknown.
        tag: The tag of the commit; empty for none.
        dirty: Whether tracked files differ from the commit, as in ``git describe --dirty``. It is also True if this is
            unknown (`hpcdeploy.git_changes`).
        source: The ``https`` URL of the repository without credentials; empty if unknown.
    """

    sha: str
    branch: str = ""
    default_branch: str = ""
    tag: str = ""
    dirty: bool = False
    source: str = ""

    @property
    def version(self) -> str:
        """Return the tag as a version without its ``v``; empty if the tag is not a version, or if the work tree is dirty."""
        match = _SEMVER.fullmatch(self.tag)
        return "" if match is None or self.dirty else self.tag.removeprefix("v")


def tags_for(facts: GitFacts) -> tuple[str, ...]:
    """Return the tags of an image without duplicates, the most specific first.

    - A git tag that is a version gives ``X.Y.Z``, ``X.Y`` and ``latest``. A pre-release gives only its complete version
      (``2.0.0-rc.1``), so that users only get the pre-release if they request it.
    - Any other git tag gives the same tag, but not ``latest``, because the commit may not be the newest.
    - The default branch gives ``latest``. Other branches give no tag, because such tags would accumulate.
    - Every clean commit gives ``sha-`` and seven digits.
    - A dirty work tree gives only ``sha-1234567-dirty``. git has no name for the content of a dirty tree, so neither
      ``latest`` nor a version may refer to this content.
    """
    short = f"sha-{facts.sha[:_SHORT_SHA]}"
    if facts.dirty:
        return (f"{short}-dirty",)
    chosen = []
    latest = bool(facts.branch) and facts.branch == facts.default_branch
    version = _SEMVER.fullmatch(facts.tag)
    if version is not None:
        chosen.append(facts.version)
        if version[4] is None:
            chosen.append(f"{version[1]}.{version[2]}")
            latest = True
    elif facts.tag:
        chosen.append(facts.tag)
    chosen.append(short)
    if latest:
        chosen.append("latest")
    return tuple(dict.fromkeys(tag for tag in map(sanitise_tag, chosen) if tag))


def sanitise_tag(text: str) -> str:
    """Return `text` as a valid tag; empty if no valid character is left.

    Forbidden characters become hyphens, as in metadata-action. In addition, a forbidden start is removed, and the end of a
    text that is too long.
    """
    return _FORBIDDEN.sub("-", text).lstrip(".-")[:_LONGEST_TAG]


def tags_beside_others(tags: Iterable[str], name: str) -> tuple[str, ...]:
    """Return the tags of the image `name` in a repository that also contains other images of the project.

    ``TAG`` becomes ``NAME-TAG``, and ``latest`` becomes ``NAME``. (metadata-action has the options
    ``type=sha,prefix=NAME-sha-`` and ``type=raw,value=NAME`` for this.) No image gets the tag ``latest``, because ``latest``
    could mean any of the images.
    """
    chosen = (name if tag == "latest" else f"{name}-{tag}" for tag in tags)
    return tuple(dict.fromkeys(tag for tag in map(sanitise_tag, chosen) if tag))


def newest_tag(tags: Iterable[str]) -> str:
    """Return the tag to use if a commit has several tags: the highest version, else the last by name; empty for no tags."""

    def rank(tag: str) -> tuple[bool, tuple[int, ...], bool, str]:
        match = _SEMVER.fullmatch(tag)
        if match is None:
            return (False, (), False, tag)
        return (True, tuple(int(match[part]) for part in (1, 2, 3)), match[4] is None, tag)

    return max(tags, key=rank, default="")


def web_address(remote: str) -> str:
    """Return the ``https`` URL of a git remote without credentials; empty if `remote` is not a URL, but a folder."""
    short = _SCP_URL.fullmatch(remote)
    if short is not None:
        return f"https://{short[1]}/{short[2].removesuffix('.git').strip('/')}"
    try:
        parts = urlsplit(remote)
        number = parts.port
    except ValueError:  # unmatched brackets, or an invalid port
        return ""
    if parts.scheme not in ("http", "https", "ssh", "git") or not parts.hostname:
        return ""
    port = f":{number}" if number and parts.scheme in ("http", "https") else ""
    scheme = parts.scheme if parts.scheme == "http" else "https"
    return urlunsplit((scheme, parts.hostname + port, parts.path.removesuffix(".git").rstrip("/"), "", ""))


def read_git_facts(folder: Path) -> GitFacts | None:
    """Return the git state of the work tree that contains `folder`; None without a work tree or a commit.

    Raises:
        ConfigError: git cannot read the repository; the message contains git's error.
        MissingProgramError: There is a repository, but git is not installed.
    """
    if not any((place / ".git").exists() for place in (folder.resolve(), *folder.resolve().parents)):
        return None
    sha = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if not sha:
        return None
    remote = _git(folder, "config", "--get", "remote.origin.url")
    return GitFacts(
        sha=sha,
        branch=_git(folder, "symbolic-ref", "--quiet", "--short", "HEAD"),
        default_branch=_default_branch(folder),
        tag=newest_tag(_git(folder, *_TAGS_OF_HEAD).splitlines()),
        dirty=has_changes(folder, "--untracked-files=no") is not False,
        source=web_address(remote),
    )


def _default_branch(folder: Path) -> str:
    """Return the remote's default branch, else the first usual name that exists locally (git-config(1))."""
    remote = _git(folder, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD")
    if remote:
        return remote.removeprefix("origin/")
    for name in (_git(folder, "config", "--get", "init.defaultBranch"), "main", "master"):
        if name and _git(folder, "rev-parse", "--verify", "--quiet", f"refs/heads/{name}"):
            return name
    return ""


def _git(folder: Path, *words: str) -> str:
    done = run_git(folder, *words)
    if done is None:
        raise MissingProgramError(f"{folder} is in a git repository, but git is not installed; install it, or set a tag")
    # These commands exit with 1 for "not found"; 128 is an error (git(1)).
    if done.returncode > 1:
        stderr = done.stderr.decode(errors="replace").strip().splitlines() or ["it printed no message"]
        raise ConfigError(f"git cannot read the repository of {folder}: {stderr[0]}")
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""
