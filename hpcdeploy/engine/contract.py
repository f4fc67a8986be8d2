"""Define types that all engines share: a container's settings, and the process to start."""

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
"""Variables of this machine's shell that would break or mislead programs in the container.

They are unset before Apptainer starts, as in jobs on a cluster (``slurm_templates/job.sh``). docker and podman do not need
the list, because they pass none of the shell's variables to a container.
"""

TEMPORARY = ("TMPDIR", "TMP", "TEMP")
"""Variables that name a folder for temporary files.

Apptainer passes them to the program, but mounts only ``/tmp`` and ``/var/tmp`` (``mount tmp`` in apptainer.conf). So a
variable that names another folder is wrong in the container. ``login/job/temporary.sh`` handles them in cluster jobs.
"""


@frozen
class Engine:
    """A program that runs containers: the engine's name, and the path of its executable (`program`)."""

    name: EngineName
    program: str


@frozen
class Container:
    """An image, and the resources of this machine that its container gets.

    Attributes:
        image: The path of a ``.sif``, or ``docker://`` and a full reference.
        binds: Binds whose source and destination are absolute paths; an empty destination means the path of the source.
        workdir: The working folder in the container; if empty, the engine and the image decide.
        gpu: The vendor of the GPUs that the container gets; empty for no GPUs.
        plain_http: Whether the image's registry uses HTTP without TLS.
        without: Names of variables of this machine's shell to unset, because their values are wrong in the container.
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
        argv: The program and its arguments.
        variables: Names and values of variables to add to the process's environment.
        without: Names of variables to remove from the process's environment.
        folder: The path of a folder to create before the process starts and to remove after it ends; empty for none.
        program: The content of the file ``program.sh`` to write into `folder`.
    """

    argv: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    without: tuple[str, ...] = ()
    folder: str = ""
    program: str = ""


def as_script(command: Command, end: str) -> str:
    """Return a script for any POSIX shell that does what `command` describes.

    The script contains the program as a here-document, which ends at the line `end`. So no line of the program may be `end`.
    """
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
    """Return one field of the option ``--mount``, in double quotes.

    Engines parse the option's value as CSV, where a field in quotes can contain any character of a path.
    """
    return '"{}={}"'.format(name, value.replace('"', '""'))
