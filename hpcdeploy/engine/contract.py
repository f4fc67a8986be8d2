"""Types that all engines share: a container as a value, and a process to start."""

from typing import Literal

from hpcdeploy.frozen import frozen
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
"""Variables of this machine's shell that would break or mislead programs in the container; jobs on a cluster drop them too
(``slurm_templates/job.sh``). docker and podman pass no variables on."""

TEMPORARY = ("TMPDIR", "TMP", "TEMP")
"""Variables with a folder for temporary files. Apptainer passes them to the program, but mounts only ``/tmp`` and
``/var/tmp`` (``mount tmp`` in apptainer.conf). Jobs are handled the same way (``login/job/temporary.sh``)."""


@frozen
class Engine:
    """A program that runs containers: its name and path."""

    name: EngineName
    program: str


@frozen
class Container:
    """An image, and the resources of this machine that its container gets.

    Attributes:
        image: The path of a ``.sif``, or ``docker://`` and a full reference.
        binds: Binds with absolute paths on both sides.
        workdir: The working folder in the container; if empty, the engine and the image decide.
        gpu: The vendor of the GPUs that the container gets; empty for none.
        plain_http: The image's registry does not use TLS.
        without: Variables of this machine's shell to unset, because they are wrong in the container.
    """

    image: str
    binds: tuple[Bind, ...] = ()
    workdir: str = ""
    gpu: GpuName = ""
    plain_http: bool = False
    without: tuple[str, ...] = ()


@frozen
class Command:
    """A process to start.

    Attributes:
        argv: The command line.
        variables: Variables to add to its environment.
        without: Variables to remove from its environment.
        folder: A folder to create for this process and to remove afterwards; empty for none.
        program: The content of ``program.sh`` in `folder`.
    """

    argv: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    without: tuple[str, ...] = ()
    folder: str = ""
    program: str = ""


def as_script(command: Command, end: str) -> str:
    """Return an equivalent script for any POSIX shell; `end` is a word that does not occur in the program."""
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
    """Return one field of ``--mount``, which engines parse as CSV: in quotes, it can contain any character of a path."""
    return '"{}={}"'.format(name, value.replace('"', '""'))
