"""Parse paths on this machine in arguments: relative to the current folder, or with ``~`` for the home folder.

``~`` must be expanded here, because a shell expands it at the start of an argument only, and not in ``--output=~/results``.
"""

from pathlib import Path

from hpcdeploy.errors import ConfigError


def path(words: str | Path) -> Path:
    """Return `words` as a path with ``~`` expanded; every option and argument of the type `Path` has this ``parser``.

    Raises:
        ConfigError: The home folder is unknown.
    """
    try:
        return Path(words).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"on the command line: found {str(words)!r} ({error}); use a path without '~'") from error


def folder(words: str | Path) -> Path:
    """Return the path of an existing folder.

    Raises:
        ConfigError: There is no such folder, or the home folder is unknown.
    """
    found = path(words)
    if not found.is_dir():
        raise ConfigError(f"on the command line: {found} is not a folder; expected an existing folder")
    return found


def absolute(words: str) -> str:
    """Return `words` as an absolute path, for a value that is later read relative to another folder.

    Raises:
        ConfigError: The home folder is unknown.
    """
    return str(path(words).absolute())


def expanded(words: str) -> str:
    """Return `words`, which may be a path or a name, with ``~`` at the start expanded.

    Raises:
        ConfigError: The home folder is unknown.
    """
    return str(path(words)) if words.startswith("~") else words


def image(words: str) -> str:
    """Return an image that was named on the command line: a ``.sif`` file as an absolute path, other images unchanged.

    Raises:
        ConfigError: The home folder is unknown.
    """
    return absolute(words) if words.endswith(".sif") and "://" not in words else words


def source_of(words: str) -> str:
    """Return ``SOURCE[:DESTINATION...]`` with an absolute source; a source that begins with a variable is unchanged.

    Raises:
        ConfigError: The home folder is unknown.
    """
    source, colon, rest = words.partition(":")
    return words if source.startswith("$") or not source else f"{absolute(source)}{colon}{rest}"
