"""Plan the process that runs a job or an image on this machine; this module starts no process."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hpcdeploy import shell
from hpcdeploy.engine import apptainer, docker
from hpcdeploy.engine.contract import APPTAINERS, TEMPORARY, Command, Container, Engine
from hpcdeploy.engine.instances import Instance
from hpcdeploy.engine.machine import Machine, choose_engine, choose_gpus, gpus_of
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.targets import Located, Wanted
from hpcdeploy.frozen import frozen
from hpcdeploy.job import Bind, Job

SHELL = ("/bin/sh", "-c", "command -v bash >/dev/null && exec bash --norc; exec sh")
"""The interactive shell: bash if the image has bash, else sh.

The shell does not read the user's ``.bashrc``, which was not written for the image.
"""

_HIDING = frozenset(
    f"/{name}"
    for name in ("", "bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "opt", "proc", "run", "sbin", "sys", "usr", "var")
)


@frozen
class Situation:
    """The environment in which the user runs a command.

    Attributes:
        folder: The working folder.
        environment: The environment variables.
        machine: The engines and GPUs of this machine.
        fresh: The path of a temporary folder that does not exist yet.
        terminal: Standard input and standard output are a terminal.
        overrides: The project's folder; templates in it replace the built-in ones.
    """

    folder: Path
    environment: Mapping[str, str]
    machine: Machine
    fresh: str
    terminal: bool = False
    overrides: Path | None = None


@frozen
class Choices:
    """The options of a local run.

    Attributes:
        engine: The name of the container engine, or ``auto`` to choose one.
        gpu: Whether to use GPUs; None to use them if this machine has any.
        mount: Mount the working folder in the container, at its own path.
    """

    engine: str = "auto"
    gpu: bool | None = None
    mount: bool = True


@frozen
class Plan:
    """A process to start, its engine and container, and notes for the user."""

    command: Command
    engine: Engine
    container: Container
    notes: tuple[str, ...] = ()


def plan_run(wanted: Wanted, located: Located, choices: Choices, situation: Situation, *, interactive: bool = False) -> Plan:
    """Plan a process that runs the job's command, or a shell if `interactive` is set.

    Raises:
        ConfigError: The source of a bind does not exist, or the working folder would hide a system folder of the container.
        MissingProgramError: This machine has no suitable container engine.
    """
    engine, container, notes = _container(wanted, located, choices, situation)
    words = SHELL if interactive else wanted.job.command
    environment = _environment(wanted, prompt=interactive)
    if engine.name in APPTAINERS:
        program = apptainer.program_text(words, environment, overrides=situation.overrides)
        command = apptainer.run(engine, container, program, situation.fresh)
    else:
        if not words:
            # The image's own command runs in the image's own working folder, because the path of the command may be
            # relative.
            container = replace(container, workdir="")
        command = docker.run(engine, container, words, environment, terminal=situation.terminal)
    return Plan(command=command, engine=engine, container=container, notes=notes)


def plan_instance(
    wanted: Wanted, located: Located, choices: Choices, situation: Situation, name: str, words: tuple[str, ...], folder: Path
) -> Plan:
    """Plan the start of an instance, a container in the background.

    Args:
        wanted: The job or image that the user named.
        located: The image in a form that an engine accepts.
        choices: The options of the command.
        situation: The environment of the command.
        name: The new instance's name.
        words: For Apptainer, the arguments of the image's start script; for docker and podman, the command to run.
        folder: A folder on this machine for the files of this instance.

    Raises:
        ConfigError: The source of a bind does not exist, or the working folder would hide a system folder of the container.
        MissingProgramError: This machine has no suitable container engine.
    """
    engine, container, notes = _container(wanted, located, choices, situation)
    environment = _environment(wanted)
    if wanted.job.command:
        way = f"hpcdeploy run {apptainer.INSTANCE}{name} -- COMMAND"
        ignored = "the job's command is not run, because an instance runs the image's own command"
        notes = (*notes, f"{ignored}; to run the job's command in the instance: {way}")
    if engine.name in APPTAINERS:
        command = apptainer.start_instance(engine, container, name, words, environment, str(folder))
    else:
        container = replace(container, workdir=container.workdir if words else "")
        command = docker.start_instance(engine, container, name, words, environment)
    return Plan(command=command, engine=engine, container=container, notes=notes)


def plan_in_instance(
    instance: Instance,
    words: tuple[str, ...],
    environment: tuple[tuple[str, str], ...],
    situation: Situation,
    folder: Path,
) -> Command:
    """Plan a program in a running instance. Its environment is that of the instance, changed by `environment`.

    The program starts in the user's working folder if the instance has mounted that folder, else in the instance's own
    working folder.

    Raises:
        ConfigError: `words` is empty.
    """
    if not words:
        raise ConfigError(f"there is no command for the instance {instance.name}; write the command after --")
    inside = bool(instance.workdir) and situation.folder.is_relative_to(instance.workdir)
    workdir = str(situation.folder) if inside else instance.workdir
    if instance.engine in APPTAINERS:
        everything = tuple({**dict(instance.environment), **dict(environment)}.items())
        program = apptainer.program_text(words, everything, overrides=situation.overrides)
        fresh = str(folder / Path(situation.fresh).name)
        return apptainer.run_in_instance(instance.runner, instance.name, workdir, program, fresh)
    return docker.run_in_instance(instance.runner, instance.name, workdir, words, environment, terminal=situation.terminal)


def _container(
    wanted: Wanted, located: Located, choices: Choices, situation: Situation
) -> tuple[Engine, Container, tuple[str, ...]]:
    engine = choose_engine(choices.engine, located.image, situation.machine)
    gpu = choose_gpus(choices.gpu, engine, situation.machine)
    binds = [_local(bind, situation.environment) for bind in wanted.job.binds]
    if choices.mount:
        binds.insert(0, _working_folder(situation.folder))
    without: tuple[str, ...] = ()
    if engine.name in APPTAINERS:
        temporary, without = _temporary(situation.environment)
        binds = [*temporary, *binds]
    container = Container(
        image=located.image,
        binds=tuple({bind.destination: bind for bind in binds}.values()),
        workdir=str(situation.folder) if choices.mount else "",
        gpu=gpu,
        plain_http=located.plain_http,
        without=without,
    )
    notes = _ignored(wanted.job) if wanted.of_project else ()
    if choices.gpu is None and not gpus_of(situation.machine):
        gpus = wanted.job.resources.gpus
        wish = f"{wanted.job.name} requests {gpus} GPU{'s' if gpus != 1 else ''}, but there is " if gpus else ""
        notes += (f"{wish}no GPU on this machine: running without",)
    return engine, container, notes


def _environment(wanted: Wanted, *, prompt: bool = False) -> tuple[tuple[str, str], ...]:
    task = (("HPCDEPLOY_TASK", "0"),) if wanted.of_project else ()
    return (*task, *((("PS1", f"{wanted.job.name}:\\w\\$ "),) if prompt else ()), *wanted.job.environment)


def _local(bind: Bind, environment: Mapping[str, str]) -> Bind:
    source = shell.expanded(bind.source, environment)
    if not Path(source).exists():
        raise ConfigError(
            f"{source} does not exist on this machine, so it cannot be bound; create it, or bind another path: "
            f"--bind SOURCE:{bind.destination or bind.source}"
        )
    return Bind(source=source, destination=bind.destination or source, read_only=bind.read_only)


def _temporary(environment: Mapping[str, str]) -> tuple[list[Bind], tuple[str, ...]]:
    """Return binds for the temporary folders that variables name, and the variables whose folder does not exist."""
    named = {name: environment[name].rstrip("/") for name in TEMPORARY if environment.get(name)}
    missing = tuple(name for name, folder in named.items() if not Path(folder or "/").is_dir())
    there = [folder for name, folder in named.items() if name not in missing and folder.startswith("/")]
    return [Bind(source=folder, destination=folder) for folder in dict.fromkeys(there)], missing


def _working_folder(folder: Path) -> Bind:
    if str(folder) in _HIDING:
        raise ConfigError(
            f"the working folder {folder} would hide the folder of that name in the container; "
            "change to another folder, or use --no-mount-cwd"
        )
    return Bind(source=str(folder), destination=str(folder))


def _ignored(job: Job) -> tuple[str, ...]:
    """Return notes on the settings of the job that have no effect on this machine."""
    resources = vars(job.resources)
    ignored = [name.replace("_", "-") for name in resources if name not in {"gpus", "nodes"} and resources[name] is not None]
    ignored += ["nodes"] if job.resources.nodes > 1 else []
    ignored += [name for name in ("workdir", "slurm", "srun", "htcondor") if getattr(job, name)]
    notes: tuple[str, ...] = (f"ignored here, because they only apply to clusters: {', '.join(ignored)}",) if ignored else ()
    relative = [one.destination for one in job.inputs if not one.destination.startswith("/")]
    notes += (f"not copied into the working folder: {', '.join(relative)}",) if relative else ()
    return (*notes, f"{job.name} has {job.array.size} tasks: this is task 0") if job.array else notes
