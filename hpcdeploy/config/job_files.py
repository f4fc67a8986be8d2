"""Parse the code, inputs and outputs of a job in a settings file or an option."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcdeploy.config.reading import Either, Key, Kind, Leaf, ListOf, Table, found
from hpcdeploy.config.validators import line, memory
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Bind, Code, Input, Job

CODE_MOUNTED = "/code"
"""Default path of the code in the container."""

INPUT = 'a file or folder on this machine, as "SOURCE" or "SOURCE:DESTINATION"'

_RESERVED = ("program.sh", "job.sh", "inside.sh", "tmp", "var", "var_tmp", "scratch")
"""Names in a job's working folder that HTCondor or hpcdeploy uses."""


def local_path(value: object) -> str:
    """Return a path on this machine, which is relative to the project's folder or starts with ``/`` or ``~/``.

    Raises:
        ConfigError: The value is not a single line, or starts with another user's home folder (``~name``).
    """
    words = line(value)
    if words.startswith("~") and not words.startswith("~/") and words != "~":
        raise ConfigError(
            f"found {found(value)}; expected a path that is relative to the project's folder or starts with / or ~/"
        )
    return words


def destination_path(value: object) -> str:
    """Return the destination of an uploaded file: absolute in the container, or relative to the working folder.

    Raises:
        ConfigError: The path contains an empty name, ``.`` or ``..``, or begins with a name that HTCondor or hpcdeploy uses
            in the working folder.
    """
    words = line(value)
    parts = words.removeprefix("/").removesuffix("/").split("/")
    if not set(parts).isdisjoint({"", ".", ".."}):
        raise ConfigError(
            f'found {found(value)}; expected an absolute path in the container, such as "/data", or a path relative to the '
            'working folder, such as "data"; "." and ".." are not allowed'
        )
    if not words.startswith("/") and (parts[0] in _RESERVED or parts[0].startswith((".hpcdeploy", "_condor"))):
        raise ConfigError(
            f"found {found(value)}; expected another name, because HTCondor or hpcdeploy uses {parts[0]} in the "
            "working folder"
        )
    return words.removesuffix("/")


def code(source: object, destination: object = "", limit: int | None = None) -> Code:
    """Return the code of a job: the folder `source`, its destination, and the maximum size of the upload (`limit`) in MiB.

    Raises:
        ConfigError: A path is malformed.
    """
    limits = {} if limit is None else {"limit": limit}
    return Code(source=local_path(source), destination=destination_path(destination) if destination != "" else "", **limits)


def no_code(value: object) -> bool:
    """Return False, which means that the job has no code, even if an earlier source of settings sets ``code``.

    Raises:
        ConfigError: The value is not ``false``.
    """
    if value is not False:
        raise ConfigError(f'found {found(value)}; expected a folder, such as code = ".", or false for no code')
    return False


def input_of(source: object, destination: object = "") -> Input:
    """Return an input; without a destination, the destination is the name of the source, in the working folder.

    Raises:
        ConfigError: A path is malformed, or the destination is missing and the source has no name, such as ``..``.
    """
    path = local_path(source)
    own = path.rstrip("/").rpartition("/")[2]
    if destination == "" and own in {"", ".", "..", "~"}:
        raise ConfigError(f'found {found(source)} without a destination; expected both, such as "{path}:data"')
    return Input(source=path, destination=destination_path(destination if destination != "" else own))


def parse_input(words: str) -> Input:
    """Parse the input ``SOURCE[:DESTINATION]``; an input whose path has a colon must be given as a table.

    Raises:
        ConfigError: `words` has several colons, or nothing after the colon, or a path is malformed.
    """
    source, colon, where = words.partition(":")
    if ":" in where or (colon and not where):
        raise ConfigError(f'found {found(words)}; expected {INPUT}, or {{ source = "…", destination = "…" }}')
    return input_of(source, where)


def mounted_here(job: Job, project: Path) -> Job:
    """Return `job` with its code and inputs as read-only binds, for a container on this machine.

    - Code and inputs with a relative destination are not bound, because nothing is written into the user's working folder.
      The variable ``HPCDEPLOY_CODE`` then has the path of the code's source.
    - The container can read the complete folders, including files that a submission would not upload.
    """
    binds = [
        Bind(source=str(absolute(one.source, project)), destination=one.destination, read_only=True)
        for one in job.inputs
        if one.destination.startswith("/")
    ]
    environment = job.environment
    if job.code:
        source, where = str(absolute(job.code.source, project)), job.code.destination or CODE_MOUNTED
        if where.startswith("/"):
            binds.insert(0, Bind(source=source, destination=where, read_only=True))
        environment = (("HPCDEPLOY_CODE", where if where.startswith("/") else source), *environment)
    return replace(job, binds=(*job.binds, *binds), environment=environment)


def absolute(source: str, project: Path) -> Path:
    """Return the absolute path of `source`, which may be relative to the folder `project`; links are not followed."""
    return Path(os.path.abspath(project / Path(source).expanduser()))  # noqa: PTH100 - resolve() follows links


def output_pattern(value: object) -> str:
    """Return a pattern of files in the working folder: a shell's ``*``, ``?`` and ``[...]``, each within one name.

    Backslashes are rejected, because a shell in the container and hpcdeploy both expand the pattern, and only the shell
    treats a backslash as an escape.

    Raises:
        ConfigError: The pattern is absolute, or contains an empty name, ``.``, ``..``, ``**`` or a backslash.
    """
    words = line(value)
    parts = words.removesuffix("/").split("/")
    if not set(parts).isdisjoint({"", ".", ".."}) or "\\" in words or "**" in parts:
        raise ConfigError(
            f'found {found(value)}; expected a pattern relative to the working folder, such as "model.pt" or "plots/*.png" '
            '(a folder means all its files); ".", "..", "**" and backslashes are not allowed'
        )
    return words.removesuffix("/")


def _distinct(inputs: tuple[Input, ...]) -> object:
    places = [one.destination for one in inputs]
    for where in places:
        if places.count(where) > 1 or any(other.startswith(f"{where}/") for other in places):
            raise ConfigError(
                f"two inputs have the destination {found(where)}, or one of them has a destination inside {found(where)}; "
                "expected separate destinations"
            )
    return inputs


def _code(values: Mapping[str, Any]) -> Code:
    return code(values.get("source", "."), values.get("destination", ""), values.get("limit"))


CODE_TABLE = Table(
    (
        Key(name="source", kind=Leaf(local_path)),
        Key(name="destination", kind=Leaf(destination_path)),
        Key(name="limit", kind=Leaf(memory)),
    ),
    _code,
)
CODE: Kind = Either(
    {str: Leaf(code), bool: Leaf(no_code), dict: CODE_TABLE}, 'a folder on this machine, such as ".", a table, or false'
)
INPUT_TABLE = Table(
    (Key(name="source", kind=Leaf(local_path), required=True), Key(name="destination", kind=Leaf(destination_path))),
    lambda values: input_of(values["source"], values.get("destination", "")),
)
INPUTS = ListOf(Either({str: Leaf(parse_input), dict: INPUT_TABLE}, INPUT), f"a list, each item {INPUT}", check=_distinct)
OUTPUTS = ListOf(Leaf(output_pattern), 'a list of patterns, such as ["model.pt", "plots/*.png"]')
