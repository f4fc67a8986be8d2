"""Find out how to install the running hpcdeploy elsewhere, in the same version."""

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hpcdeploy import __version__
from hpcdeploy.errors import ConfigError
from hpcdeploy.tags import read_git_facts

_ADVICE = "set the requirement for pip with --install, such as --install 'hpcdeploy @ git+https://HOST/PATH@COMMIT'"


def requirement() -> str:
    """Return the requirement for pip that installs this hpcdeploy, from its own metadata (PEP 610).

    A release is pinned by its version, a repository or a clean checkout of one by its commit.

    Raises:
        ConfigError: It was installed from a source that only this machine has.
    """
    try:
        noted = distribution("hpcdeploy").read_text("direct_url.json")
    except PackageNotFoundError:
        noted = "{}"
    return requirement_of(json.loads(noted) if noted else None, __version__)


def requirement_of(origin: object, version: str) -> str:
    """Return the requirement for an `origin`, the content of ``direct_url.json``; None for a package index.

    Raises:
        ConfigError: The origin is not reachable from elsewhere.
    """
    if origin is None:
        return f"hpcdeploy=={version}"
    url = str(origin.get("url", "")) if isinstance(origin, dict) else ""
    described = origin if isinstance(origin, dict) else {}
    commit = described.get("vcs_info", {}).get("commit_id", "")
    if commit and url.startswith("https://"):
        return f"hpcdeploy @ git+{url}@{commit}"
    if "archive_info" in described and url.startswith("https://"):
        return f"hpcdeploy @ {url}"
    if url.startswith("file://") and "dir_info" in described:
        git = read_git_facts(Path(unquote(urlsplit(url).path)))
        if git and git.source.startswith("https://") and not git.dirty:
            return f"hpcdeploy @ git+{git.source}@{git.sha}"
    raise ConfigError(f"this hpcdeploy was installed from {url or 'an unknown place'}, which GitHub cannot reach; {_ADVICE}")
