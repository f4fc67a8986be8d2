"""List the commands that a project's files run without a submission, and remember which of them the user allowed.

A project may come from other people. Its settings may describe a cluster, and with it commands. These would run on this
machine, or as the user on a login node, even for ``hpcdeploy status``. Therefore hpcdeploy prompts before the first use of
such commands, like direnv for an ``.envrc`` (direnv(1), allow). The answer is recorded for the exact content of the
commands, in a folder that only the user can write.
"""

import hashlib
import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy.cluster import LOCAL, Cluster
from hpcdeploy.config.named_files import NamedFile
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.ssh_includes import homes, included
from hpcdeploy.folders import state_folder
from hpcdeploy.ownership import check_owned, objection, trusted_users
from hpcdeploy.private import private_folder
from hpcdeploy.regular_file import read_regular
from hpcdeploy.templates import FOLDERS, refuse_former, shipped_root
from hpcdeploy.whole_file import sha256_of

ON_LOGIN_NODES = ("slurm_templates/", "htcondor_templates/")
"""Template folders whose text runs on a login node."""

OF_THE_JOB = frozenset(
    {
        *(f"slurm_templates/{name}.sh" for name in ("job", "rank", "container", "program")),
        *("htcondor_templates/job.sub", "htcondor_templates/job.sh", "htcondor_templates/program.sh"),
    }
)
"""Templates that become part of a job. Their text only runs after the user has submitted a job."""

MOST_FILES = 200
"""Maximum number of files of an SSH configuration with its includes, and separately of a project's template folders."""

LARGEST = 1_000_000
"""Maximum size of an SSH configuration file in bytes."""

_SYSTEM = (Path("/etc/ssh"),)
"""Folders with the system's SSH configuration (ssh_config(5), FILES)."""


@dataclass(frozen=True)
class Command:
    """A command or setting in a project's files that can run something.

    Attributes:
        text: Its description for the user.
        sha256: The checksum of the file that contains it; empty if `text` is complete.
    """

    text: str
    sha256: str = ""


def commands_of(cluster: Cluster, environ: Mapping[str, str] = os.environ) -> tuple[Command, ...]:
    """Return the commands that a project's files can run before the user submits a job.

    They run on `cluster`, or on this machine when it connects to the cluster.

    - For a cluster that the project describes: ``host = "local"``, whose scripts run on this machine; an SSH configuration,
      which can name programs; ``setup`` lines; and an ``apptainer`` other than the default.
    - For every cluster: the project's own templates, if one of them is for a script that runs on login nodes.

    Raises:
        ConfigError: The SSH configuration cannot be read, can have been written by another user, or is too large; or the
            project has too many templates.
        TemplateError: The project overrides a template that no longer exists.
    """
    found: list[Command] = []
    if cluster.of_project:
        if cluster.host == LOCAL:
            found.append(Command('host = "local": its scripts run on this machine'))
        found += _ssh_configuration(cluster, environ)
        found += (Command(f"setup: {line}") for line in cluster.setup)
        if cluster.apptainer != Cluster(name="").apptainer:
            found.append(Command(f"apptainer = {json.dumps(cluster.apptainer)}"))
        if found and cluster.host != LOCAL:
            found.insert(0, Command(f"host = {json.dumps(cluster.host)}"))
    if cluster.project and Path(cluster.project).resolve() != shipped_root().resolve():
        found += _templates(Path(cluster.project))
    return tuple(found)


@dataclass(frozen=True)
class FileUse:
    """A file outside of the project that the project uses.

    Attributes:
        shown: The description of the file in the prompt.
        remembered: The commands under which the user's answer is recorded (`remember`).
    """

    shown: Command
    remembered: tuple[Command, ...]


def files_as_commands(cluster: Cluster, kind: str, files: Iterable[NamedFile]) -> tuple[FileUse, ...]:
    """Return the entries of a prompt for `files` that the project of `cluster` uses.

    The user's answer is recorded for a file's path, whatever the file contains. If the project describes the cluster, the
    answer is only valid while the cluster has the same host.

    Args:
        cluster: The cluster.
        kind: The use of the files, such as an input.
        files: The files outside of the project.
    """
    host = (Command(f"host = {json.dumps(cluster.host)}"),) if cluster.of_project else ()
    return tuple(
        FileUse(
            Command(f"{file.key}: {file.source}" + (f" ({file.path})" if str(file.path) != file.source else "")),
            (*host, Command(f"{kind}: {file.path}")),
        )
        for file in files
    )


def is_remembered(cluster: Cluster, commands: tuple[Command, ...], environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether the user has allowed exactly these commands.

    Raises:
        ConfigError: Another user can write the recorded answers.
    """
    folder = _memory(environ)
    note = folder / _key(cluster, commands)
    if not os.path.lexists(note):
        return False
    users = trusted_users(environ)
    for path in (folder.parent, folder, note):
        reason = objection(path, users)
        if reason:
            raise ConfigError(
                f"{path} {reason}: it records what you allowed projects to run, so no other user may be able to write it;"
                f" remove {folder}, or correct the owner and mode of {path}"
            )
    return True


def remember(cluster: Cluster, commands: tuple[Command, ...], environ: Mapping[str, str] = os.environ) -> None:
    """Record that the user allows `commands`, in a file that no other user can write.

    Raises:
        OSError: The file cannot be written.
    """
    folder = _memory(environ)
    private_folder(folder)
    note = folder / _key(cluster, commands)
    words = {
        "project": cluster.project,
        "cluster": cluster.name,
        "commands": [command.text for command in commands],
        "allowed": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    note.unlink(missing_ok=True)
    descriptor = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(words, file, indent=2)


def _memory(environ: Mapping[str, str]) -> Path:
    return state_folder(environ) / "trusted"


def _key(cluster: Cluster, commands: tuple[Command, ...]) -> str:
    content = [cluster.project, cluster.name, [[command.text, command.sha256] for command in commands]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _ssh_configuration(cluster: Cluster, environ: Mapping[str, str]) -> Iterator[Command]:
    """Yield the SSH configuration of a project's cluster, and the files that it includes, because each can name programs.

    Files in ``~/.ssh`` and ``/etc/ssh`` are recorded by path only, because no project can change these files. Other files
    are recorded with their sha256.
    """
    if cluster.ssh_config is None:
        return
    # Links are resolved in these folders and in the compared paths, because /etc is a link on macOS, and a home folder may
    # be a link.
    unchangeable = tuple(folder.resolve() for folder in (*(home / ".ssh" for home in homes()), *_SYSTEM))
    seen: list[Path] = []
    waiting = [Path(cluster.ssh_config)]
    while waiting:
        path = waiting.pop(0)
        if path in seen:
            continue
        seen.append(path)
        try:
            content = None if any(path.resolve().is_relative_to(folder) for folder in unchangeable) else _content(path)
            if content is None:
                yield Command(f"ssh-config: {path}")
                continue
            check_owned((path.parent, path), Path(cluster.project), environ)
            yield Command(f"ssh-config: {path}", hashlib.sha256(content).hexdigest())
            waiting += itertools.islice(included(os.fsdecode(content), path, MOST_FILES), MOST_FILES)
        except OSError as error:
            raise ConfigError(
                f"the SSH configuration {path} cannot be read: {error.strerror}; expected a readable file, because hpcdeploy"
                " checks its content before ssh reads it"
            ) from error
        if len(seen) + len(waiting) > MOST_FILES:
            raise ConfigError(
                f"the SSH configuration {cluster.ssh_config} includes more than {MOST_FILES} files; use another one"
            )


def _content(path: Path) -> bytes | None:
    """Return the content that ssh would read from `path`; None for ``/dev/null``, a folder or a missing file.

    Raises:
        ConfigError: The file is too large.
        OSError: The file cannot be read. A pipe or device is refused too, because its content cannot be checked in advance.
    """
    if path.resolve() == Path(os.devnull) or not path.exists() or path.is_dir():
        return None
    if path.is_file() and path.stat().st_size > LARGEST:
        raise ConfigError(f"the SSH configuration {path} has more than {LARGEST} bytes; use another one")
    return read_regular(path, LARGEST)


def _templates(root: Path) -> list[Command]:
    """Return all of the project's own templates if one of them is for login nodes; else an empty list.

    All templates are returned, because a template may include any other.
    """
    refuse_former(root)
    files = list(itertools.islice(_own_files(root), MOST_FILES + 1))
    if len(files) > MOST_FILES:
        raise ConfigError(f"the template folders of {root} contain more than {MOST_FILES} files; expected only templates")
    names = sorted(path.relative_to(root).as_posix() for path in files)
    if not any(name.startswith(ON_LOGIN_NODES) and name not in OF_THE_JOB for name in names):
        return []
    return [Command(f"template: {name}", sha256_of(root / name)) for name in names]


def _own_files(root: Path) -> Iterator[Path]:
    for folder in FOLDERS:
        for top, _, names in os.walk(root / folder, followlinks=True):
            paths = (Path(top, name) for name in names)
            yield from (path for path in paths if path.is_file() and "/." not in path.relative_to(root).as_posix())
