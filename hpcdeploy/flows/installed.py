"""How the hpcdeploy that runs here can be installed elsewhere: the very same version, or an advice."""

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hpcdeploy import __version__
from hpcdeploy.errors import ConfigError
from hpcdeploy.tags import read_git_facts

_ADVICE = "say what pip is to install with --install, such as --install 'hpcdeploy @ git+https://HOST/PATH@COMMIT'"


def requirement() -> str:
    """Return what pip installs this very hpcdeploy by, as it notes itself where that came from (PEP 610).

    A release is pinned by its version, a repository or a clean checkout of one by its commit. Raises `ConfigError` where it
    came from somewhere that only this machine knows.
    """
    try:
        noted = distribution("hpcdeploy").read_text("direct_url.json")
    except PackageNotFoundError:
        noted = "{}"
    return requirement_of(json.loads(noted) if noted else None, __version__)


def requirement_of(origin: object, version: str) -> str:
    """Return the requirement for an `origin`: the content of ``direct_url.json``, or None for a package index."""
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
