"""Tags for an image by what git knows of the project it was made from.

The rules are docker/metadata-action's (https://github.com/docker/metadata-action, src/meta.ts and src/tag.ts), for the
settings ``type=semver,pattern={{version}}``, ``type=semver,pattern={{major}}.{{minor}}``, ``type=ref,event=tag``,
``type=sha`` and ``latest`` on the default branch. One commit here stands for what are several workflow runs there: a branch
and a tag together give the tags of both.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from hpcdeploy.errors import ConfigError, MissingProgramError
from hpcdeploy.git import ask_git
from hpcdeploy.git_changes import has_changes

# https://semver.org, the grammar's suggested expression, with the leading v that metadata-action takes away.
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
"""As ``git tag --points-at HEAD``, which sorts as the repository says: by signatures too, which a program of its choice
would check (git-config(1), tag.sort and gpg.program; git-for-each-ref(1), signature)."""
_SCP_URL = re.compile(r"(?:[^@/:\s]+@)?([A-Za-z0-9.-]+):(?!//)(.+)")


@dataclass(frozen=True, kw_only=True)
class GitFacts:
    """What git says of one commit and the work tree on it.

    ``branch`` and ``tag`` are empty where there is none (a detached head, an untagged commit); ``sha`` is the whole 40 or 64
    digits; ``dirty`` means that tracked files differ from the commit, as in ``git describe --dirty``, or that this is not
    known (`hpcdeploy.git_changes`); ``source`` is where the project lives as an ``https`` address without credentials, empty
    if nobody knows.
    """

    sha: str
    branch: str = ""
    default_branch: str = ""
    tag: str = ""
    dirty: bool = False
    source: str = ""

    @property
    def version(self) -> str:
        """The tag as a version without its ``v``; empty where the tag is none, or the tree is not what was tagged."""
        match = _SEMVER.fullmatch(self.tag)
        return "" if match is None or self.dirty else self.tag.removeprefix("v")


def tags_for(facts: GitFacts) -> tuple[str, ...]:
    """Choose the tags of an image, the most telling first, each once.

    - A tag that is a version gives ``X.Y.Z``, ``X.Y`` and ``latest``; a pre-release gives only itself (``2.0.0-rc.1``), so
      that nobody gets it who did not ask for it.
    - A tag that is no version gives its own name and no ``latest``: nothing says that it is the newest.
    - The default branch gives ``latest``; other branches give no name, they would pile up.
    - Every clean commit gives ``sha-`` and seven digits.
    - A work tree with changes gives ``sha-1234567-dirty`` and nothing else: what is in it has no name in git, and must
      move neither ``latest`` nor a version.
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
    """Make a tag of any text, or nothing if nothing of it can stay: forbidden characters become hyphens.

    Beyond metadata-action, start and length are made valid too.
    """
    return _FORBIDDEN.sub("-", text).lstrip(".-")[:_LONGEST_TAG]


def tags_beside_others(tags: Iterable[str], name: str) -> tuple[str, ...]:
    """Make the tags of the image called `name` in a repository that it shares with other images of its project.

    Each tag is ``NAME-TAG``, and ``latest`` is ``NAME`` itself: what metadata-action's ``type=sha,prefix=NAME-sha-`` and
    ``type=raw,value=NAME`` make. Nothing is ``latest`` there: it could mean any of the images.
    """
    chosen = (name if tag == "latest" else f"{name}-{tag}" for tag in tags)
    return tuple(dict.fromkeys(tag for tag in map(sanitise_tag, chosen) if tag))


def newest_tag(tags: Iterable[str]) -> str:
    """Pick the one tag that counts where a commit has several: the highest version, else the last by name, else none."""

    def rank(tag: str) -> tuple[bool, tuple[int, ...], bool, str]:
        match = _SEMVER.fullmatch(tag)
        if match is None:
            return (False, (), False, tag)
        return (True, tuple(int(match[part]) for part in (1, 2, 3)), match[4] is None, tag)

    return max(tags, key=rank, default="")


def web_address(remote: str) -> str:
    """Make an ``https`` address without credentials of a git remote, or nothing of one that is no address (a folder)."""
    short = _SCP_URL.fullmatch(remote)
    if short is not None:
        return f"https://{short[1]}/{short[2].removesuffix('.git').strip('/')}"
    try:
        parts = urlsplit(remote)
        number = parts.port
    except ValueError:  # brackets that close nothing, a port that is none
        return ""
    if parts.scheme not in ("http", "https", "ssh", "git") or not parts.hostname:
        return ""
    port = f":{number}" if number and parts.scheme in ("http", "https") else ""
    scheme = parts.scheme if parts.scheme == "http" else "https"
    return urlunsplit((scheme, parts.hostname + port, parts.path.removesuffix(".git").rstrip("/"), "", ""))


def read_git_facts(folder: Path) -> GitFacts | None:
    """Ask git about the work tree that `folder` is in; None where it is in none, or nothing was committed yet.

    Raises:
        ConfigError: git refuses to read the repository; what it says is in the message.
        MissingProgramError: there is a repository, and no git to read it.
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
    """Take what the remote calls its default, else the first of the usual names that exists here (git-config(1))."""
    remote = _git(folder, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD")
    if remote:
        return remote.removeprefix("origin/")
    for name in (_git(folder, "config", "--get", "init.defaultBranch"), "main", "master"):
        if name and _git(folder, "rev-parse", "--verify", "--quiet", f"refs/heads/{name}"):
            return name
    return ""


def _git(folder: Path, *words: str) -> str:
    done = ask_git(folder, *words)
    if done is None:
        raise MissingProgramError(f"{folder} is in a git repository and git is not installed: install it, or name a tag.")
    # Exit code 1 is git's "no such thing" for the questions asked here; 128 is a refusal (git(1)).
    if done.returncode > 1:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise ConfigError(f"git cannot read the repository of {folder}: {said[0]}")
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""
