"""What a job takes along from this machine and brings back, as it is written in a settings file or after an option."""

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
"""Where the code is in the container unless the job says."""

INPUT = 'a file or folder of this machine as "SOURCE" or "SOURCE:PLACE"'

_TAKEN = ("program.sh", "job.sh", "inside.sh", "tmp", "var", "var_tmp", "scratch")
"""Names in a job's working folder that are HTCondor's, or ours."""


def local_path(value: object) -> str:
    """Return a path of this machine: relative to the project's folder, or from ``/`` or ``~/`` on."""
    words = line(value)
    if words.startswith("~") and not words.startswith("~/") and words != "~":
        raise ConfigError(f"found {found(value)}; expected a path relative to the project's folder, or one from / or ~/ on")
    return words


def place(value: object) -> str:
    """Return where a program finds what was brought: absolute in the container, or relative to its working folder."""
    words = line(value)
    parts = words.removeprefix("/").removesuffix("/").split("/")
    if not set(parts).isdisjoint({"", ".", ".."}):
        raise ConfigError(
            f'found {found(value)}; expected an absolute path in the container, such as "/data", or one relative to the '
            'working folder, such as "data", without "." and ".."'
        )
    if not words.startswith("/") and (parts[0] in _TAKEN or parts[0].startswith((".hpcdeploy", "_condor"))):
        raise ConfigError(f"found {found(value)}; expected another name: {parts[0]} in the working folder is taken")
    return words.removesuffix("/")


def code(source: object, destination: object = "", limit: int | None = None) -> Code:
    """Return the code of a job, out of the folder `source`; `limit` is in MiB."""
    said = {} if limit is None else {"limit": limit}
    return Code(source=local_path(source), destination=place(destination) if destination != "" else "", **said)


def no_code(value: object) -> bool:
    """Return that there is to be no code, whatever an earlier place said."""
    if value is not False:
        raise ConfigError(f'found {found(value)}; expected a folder, such as code = ".", or false for none')
    return False


def given(source: object, destination: object = "") -> Input:
    """Return an input; without a place it bears its own name, in the working folder."""
    path = local_path(source)
    own = path.rstrip("/").rpartition("/")[2]
    if destination == "" and own in {"", ".", "..", "~"}:
        raise ConfigError(f'found {found(source)}; expected a place too, such as "{path}:data"')
    return Input(source=path, destination=place(destination if destination != "" else own))


def parse_input(words: str) -> Input:
    """Return the input in ``SOURCE[:PLACE]``; a path with a colon can be said in the table form only."""
    source, colon, where = words.partition(":")
    if ":" in where or (colon and not where):
        raise ConfigError(f'found {found(words)}; expected {INPUT}, or {{ source = "…", destination = "…" }}')
    return given(source, where)


def mounted_here(job: Job, project: Path) -> Job:
    """Return `job` with what it brings along as binds, for a container that is started on this machine.

    The container sees the folders as they are, whatever of them would travel. Nothing is put into the working folder.
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
    """Return the path of this machine that `source` means in the folder `project`; links stay as they are."""
    return Path(os.path.abspath(project / Path(source).expanduser()))  # noqa: PTH100 - resolve() follows links


def output_pattern(value: object) -> str:
    """Return a pattern of files in the working folder: a shell's ``*``, ``?`` and ``[...]``, each within one name.

    A shell in the container and this program must read it alike, so a backslash is refused: it escapes in one, and not in
    the other.
    """
    words = line(value)
    parts = words.removesuffix("/").split("/")
    if not set(parts).isdisjoint({"", ".", ".."}) or "\\" in words or "**" in parts:
        raise ConfigError(
            f'found {found(value)}; expected a pattern relative to the working folder, such as "model.pt" or "plots/*.png" '
            '(a folder includes all its files), without ".", "..", "**" and backslashes'
        )
    return words.removesuffix("/")


def _distinct(inputs: tuple[Input, ...]) -> object:
    places = [one.destination for one in inputs]
    for where in places:
        if places.count(where) > 1 or any(other.startswith(f"{where}/") for other in places):
            raise ConfigError(f"two inputs meet at {found(where)}; expected a place of its own for each")
    return inputs


def _code(values: Mapping[str, Any]) -> Code:
    return code(values.get("source", "."), values.get("destination", ""), values.get("limit"))


CODE_TABLE = Table(
    (
        Key(name="source", kind=Leaf(local_path)),
        Key(name="destination", kind=Leaf(place)),
        Key(name="limit", kind=Leaf(memory)),
    ),
    _code,
)
CODE: Kind = Either(
    {str: Leaf(code), bool: Leaf(no_code), dict: CODE_TABLE}, 'a folder of this machine, such as ".", a table, or false'
)
INPUT_TABLE = Table(
    (Key(name="source", kind=Leaf(local_path), required=True), Key(name="destination", kind=Leaf(place))),
    lambda values: given(values["source"], values.get("destination", "")),
)
INPUTS = ListOf(Either({str: Leaf(parse_input), dict: INPUT_TABLE}, INPUT), f"a list, each item {INPUT}", check=_distinct)
OUTPUTS = ListOf(Leaf(output_pattern), 'a list of patterns, such as ["model.pt", "plots/*.png"]')
