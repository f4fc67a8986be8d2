"""Read paths of this machine on the command line: relative to the current folder, with ``~`` for the home folder.

A shell expands ``~`` at the start of an argument only, so a program gets it unchanged in ``--output=~/results``.
"""

from pathlib import Path

from hpcdeploy.errors import ConfigError


def path(words: str | Path) -> Path:
    """Return the path that `words` mean; ``parser`` of every option and argument of the type `Path`.

    Raises:
        ConfigError: The home folder is unknown.
    """
    try:
        return Path(words).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"on the command line: found {str(words)!r}: {error}; use a path without '~'") from error


def folder(words: str | Path) -> Path:
    """Return the path of an existing folder.

    Raises:
        ConfigError: There is no such folder, or the home folder is unknown.
    """
    found = path(words)
    if not found.is_dir():
        raise ConfigError(f"on the command line: {found} is not a folder; expected an existing one")
    return found


def absolute(words: str) -> str:
    """Return the absolute path, for a value that is used in another folder than the current one.

    Raises:
        ConfigError: The home folder is unknown.
    """
    return str(path(words).absolute())


def expanded(words: str) -> str:
    """Return an argument that may be a path or a name, with ``~`` expanded.

    Raises:
        ConfigError: The home folder is unknown.
    """
    return str(path(words)) if words.startswith("~") else words


def image(words: str) -> str:
    """Return an image of the command line; only a ``.sif`` file is a path, all others stay as they are.

    Raises:
        ConfigError: The home folder is unknown.
    """
    return absolute(words) if words.endswith(".sif") and "://" not in words else words


def source_of(words: str) -> str:
    """Return ``SOURCE[:DESTINATION...]`` with an absolute source; one that begins with a variable stays as it is.

    Raises:
        ConfigError: The home folder is unknown.
    """
    source, colon, rest = words.partition(":")
    return words if source.startswith("$") or not source else f"{absolute(source)}{colon}{rest}"
