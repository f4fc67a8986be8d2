"""Return the folders for settings, records and caches on this machine (XDG Base Directory Specification 0.8)."""

from collections.abc import Mapping
from pathlib import Path


def config_folder(environ: Mapping[str, str]) -> Path:
    """Return ``$XDG_CONFIG_HOME/hpcdeploy``, for files that the user writes."""
    return _base(environ, "XDG_CONFIG_HOME", ".config") / "hpcdeploy"


def state_folder(environ: Mapping[str, str]) -> Path:
    """Return ``$XDG_STATE_HOME/hpcdeploy``, for data that must survive a restart."""
    return _base(environ, "XDG_STATE_HOME", ".local/state") / "hpcdeploy"


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return ``$XDG_CACHE_HOME/hpcdeploy``, for data that can be created again."""
    return _base(environ, "XDG_CACHE_HOME", ".cache") / "hpcdeploy"


def _base(environ: Mapping[str, str], variable: str, default: str) -> Path:
    # The specification says that a relative path is invalid and must be ignored.
    value = environ.get(variable, "")
    return Path(value) if value.startswith("/") else home_folder(environ) / default


def home_folder(environ: Mapping[str, str]) -> Path:
    """Return ``$HOME``; if it is not set, the home folder from the system's user database."""
    return Path(environ["HOME"]) if environ.get("HOME") else Path.home()
