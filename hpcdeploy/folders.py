"""Where this machine keeps what is ours: settings, the record of runs, caches (XDG Base Directory Specification 0.8)."""

from collections.abc import Mapping
from pathlib import Path


def config_folder(environ: Mapping[str, str]) -> Path:
    """Return ``$XDG_CONFIG_HOME/hpcdeploy``: what a person has written."""
    return _base(environ, "XDG_CONFIG_HOME", ".config") / "hpcdeploy"


def state_folder(environ: Mapping[str, str]) -> Path:
    """Return ``$XDG_STATE_HOME/hpcdeploy``: what must outlive this machine's next start."""
    return _base(environ, "XDG_STATE_HOME", ".local/state") / "hpcdeploy"


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return ``$XDG_CACHE_HOME/hpcdeploy``: what can be had again."""
    return _base(environ, "XDG_CACHE_HOME", ".cache") / "hpcdeploy"


def _base(environ: Mapping[str, str], variable: str, default: str) -> Path:
    # The specification has a relative path ignored as invalid.
    value = environ.get(variable, "")
    return Path(value) if value.startswith("/") else home_folder(environ) / default


def home_folder(environ: Mapping[str, str]) -> Path:
    """Return ``$HOME``, or where that is not set the home folder that the user has by the system's own list."""
    return Path(environ["HOME"]) if environ.get("HOME") else Path.home()
