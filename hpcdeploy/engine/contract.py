"""What all engines share: a container as a value, and a process that is to be started as one."""

from dataclasses import dataclass
from typing import Literal

from hpcdeploy.gpus import GpuVendor
from hpcdeploy.job import Bind
from hpcdeploy.shell import word, words

EngineName = Literal["apptainer", "singularity", "docker", "podman"]
GpuName = GpuVendor | Literal[""]

APPTAINERS: tuple[EngineName, ...] = ("apptainer", "singularity")
SCHEME = "docker://"
OWN_PYTHON = (
    *("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "LD_PRELOAD"),
    *("VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "CONDA_SHLVL"),
)
"""Variables of this machine's shell that would break or mislead the container's programs; jobs on a cluster drop them too
(``slurm_templates/job.sh``). docker and podman hand no variable on."""

TEMPORARY = ("TMPDIR", "TMP", "TEMP")
"""Variables that name a folder for temporary files; Apptainer hands them to the program, and mounts only ``/tmp`` and
``/var/tmp`` (``mount tmp`` in apptainer.conf). The same in a job: ``login_templates/temporary.sh``."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A program that runs containers: what it is, and its path."""

    name: EngineName
    program: str


@dataclass(frozen=True, kw_only=True)
class Container:
    """An image and what it is given of this machine.

    ``image`` is the path of a ``.sif``, or ``docker://`` and a full reference. ``binds`` have absolute paths on both sides;
    ``workdir`` is the folder in the container to begin in (empty: the engine and the image decide). ``gpu`` says whose GPUs
    are handed in. ``plain_http``: the image's registry speaks no TLS. ``without`` are variables of this machine's shell that
    mean nothing in the container.
    """

    image: str
    binds: tuple[Bind, ...] = ()
    workdir: str = ""
    gpu: GpuName = ""
    plain_http: bool = False
    without: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Command:
    """One process to start.

    ``variables`` are added to its environment, those of ``without`` taken out of it. Where ``folder`` is named, it is made
    for this process, with ``program`` as its ``program.sh``, and removed afterwards.
    """

    argv: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    without: tuple[str, ...] = ()
    folder: str = ""
    program: str = ""


def as_script(command: Command, end: str) -> str:
    """Write `command` as lines for any POSIX shell that do the same; `end` is a word that the program does not hold."""
    lines = []
    if command.folder:
        folder = word(command.folder)
        lines += [
            f"mkdir -m 0700 {folder} || exit",
            f"trap {word(f'rm -rf {folder}')} EXIT",
            f"cat >{folder}/program.sh <<'{end}'",
            command.program.rstrip("\n"),
            end,
        ]
    if command.without:
        lines.append(f"unset {' '.join(command.without)}")
    assignments = [f"{name}={word(value)}" for name, value in command.variables]
    return "\n".join([*lines, " ".join([*assignments, words(command.argv)])]) + "\n"


def csv_field(name: str, value: str) -> str:
    """Write one field of ``--mount``, which the engines read as CSV: quoted, it can hold any character of a path."""
    return '"{}={}"'.format(name, value.replace('"', '""'))
