"""Run here: from a job or an image to one process on this machine. Planning is pure; nothing is started in this module."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hpcdeploy import shell
from hpcdeploy.engine import apptainer, docker
from hpcdeploy.engine.contract import APPTAINERS, TEMPORARY, Command, Container, Engine
from hpcdeploy.engine.instances import Instance
from hpcdeploy.engine.machine import Machine, choose_engine, choose_gpus, gpus_of
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.targets import Located, Wanted
from hpcdeploy.job import Bind, Job

SHELL = ("/bin/sh", "-c", "command -v bash >/dev/null && exec bash --norc; exec sh")
"""An interactive shell: bash where the image has one. Your own ``.bashrc`` is not read: it knows nothing of the image."""

_HIDING = frozenset(
    f"/{name}"
    for name in ("", "bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "opt", "proc", "run", "sbin", "sys", "usr", "var")
)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """Where the command stands: the working folder, its variables, what the machine has, and a name for a new folder.

    ``terminal``: input and output are a terminal. ``overrides`` is the project's folder, for templates of its own.
    """

    folder: Path
    environment: Mapping[str, str]
    machine: Machine
    fresh: str
    terminal: bool = False
    overrides: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the options say: engine (``auto``), GPUs (None: those that are there), whether to mount the working folder."""

    engine: str = "auto"
    gpu: bool | None = None
    mount: bool = True


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A process to start, the engine and container behind it, and what a person should know first."""

    command: Command
    engine: Engine
    container: Container
    notes: tuple[str, ...] = ()


def plan_run(wanted: Wanted, located: Located, choices: Choices, situation: Situation, *, interactive: bool = False) -> Plan:
    """Plan the job's command, or with `interactive` a shell in its place.

    Raises `ConfigError` for a bind that is not here or a working folder that would hide the container's own, and what
    `choose_engine` and `choose_gpus` raise.
    """
    engine, container, notes = _container(wanted, located, choices, situation)
    words = SHELL if interactive else wanted.job.command
    environment = _environment(wanted, prompt=interactive)
    if engine.name in APPTAINERS:
        program = apptainer.program_text(words, environment, overrides=situation.overrides)
        command = apptainer.run(engine, container, program, situation.fresh)
    else:
        if not words:
            # The image's own command may be relative to its own folder; we are asked for no other one.
            container = replace(container, workdir="")
        command = docker.run(engine, container, words, environment, terminal=situation.terminal)
    return Plan(command=command, engine=engine, container=container, notes=notes)


def plan_instance(
    wanted: Wanted, located: Located, choices: Choices, situation: Situation, name: str, words: tuple[str, ...], folder: Path
) -> Plan:
    """Plan the start of an instance: Apptainer runs the image's start script with `words`, docker and podman its command.

    `folder` is the instance's own. Raises as `plan_run` does.
    """
    engine, container, notes = _container(wanted, located, choices, situation)
    environment = _environment(wanted)
    if wanted.job.command:
        way = f"hpcdeploy run {apptainer.INSTANCE}{name} -- COMMAND"
        notes = (
            *notes,
            f"the job's command is not run, since an instance runs the image's own; run it in there with: {way}",
        )
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
    """Plan a program in a running instance, with the instance's variables and then `environment`.

    It begins in the working folder where the instance has that mounted, else where the engine says. Raises `ConfigError`
    without `words`.
    """
    if not words:
        raise ConfigError(f"nothing was named to run in the instance {instance.name}; write it after --")
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
        wish = f"{wanted.job.name} asks for {gpus} GPU{'s' if gpus != 1 else ''}, but there is " if gpus else ""
        notes += (f"{wish}no GPU on this machine: running without",)
    return engine, container, notes


def _environment(wanted: Wanted, *, prompt: bool = False) -> tuple[tuple[str, str], ...]:
    task = (("HPCDEPLOY_TASK", "0"),) if wanted.of_project else ()
    return (*task, *((("PS1", f"{wanted.job.name}:\\w\\$ "),) if prompt else ()), *wanted.job.environment)


def _local(bind: Bind, environment: Mapping[str, str]) -> Bind:
    source = shell.expanded(bind.source, environment)
    if not Path(source).exists():
        raise ConfigError(
            f"{source} does not exist on this machine and cannot be bound; create it, or bind another path: "
            f"--bind SOURCE:{bind.destination or bind.source}"
        )
    return Bind(source=source, destination=bind.destination or source, read_only=bind.read_only)


def _temporary(environment: Mapping[str, str]) -> tuple[list[Bind], tuple[str, ...]]:
    """Return binds for this machine's folders for temporary files, and the variables whose folder is not here."""
    named = {name: environment[name].rstrip("/") for name in TEMPORARY if environment.get(name)}
    missing = tuple(name for name, folder in named.items() if not Path(folder or "/").is_dir())
    there = [folder for name, folder in named.items() if name not in missing and folder.startswith("/")]
    return [Bind(source=folder, destination=folder) for folder in dict.fromkeys(there)], missing


def _working_folder(folder: Path) -> Bind:
    if str(folder) in _HIDING:
        raise ConfigError(
            f"the working folder is {folder} and would hide the container's own; "
            "change to another folder, or use --no-mount-cwd"
        )
    return Bind(source=str(folder), destination=str(folder))


def _ignored(job: Job) -> tuple[str, ...]:
    """Say what of a job has a meaning on a cluster only."""
    resources = vars(job.resources)
    asked = [name.replace("_", "-") for name in resources if name not in {"gpus", "nodes"} and resources[name] is not None]
    asked += ["nodes"] if job.resources.nodes > 1 else []
    asked += [name for name in ("workdir", "slurm", "srun", "htcondor") if getattr(job, name)]
    notes: tuple[str, ...] = (f"for clusters only, and ignored here: {', '.join(asked)}",) if asked else ()
    relative = [one.destination for one in job.inputs if not one.destination.startswith("/")]
    notes += (f"not put into your working folder here: {', '.join(relative)}",) if relative else ()
    return (*notes, f"{job.name} has {job.array.size} tasks: this is task 0") if job.array else notes
