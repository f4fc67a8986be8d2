"""The verbs that run containers on this machine: ``run``, ``shell``, ``instance``."""

import os
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.command_line import META, WithCommand

if TYPE_CHECKING:
    from hpcdeploy.cli.place import Place
    from hpcdeploy.config.project import JobSettings
    from hpcdeploy.engine.contract import Command
    from hpcdeploy.engine.instances import Instances
    from hpcdeploy.flows.here import Choices, Situation
    from hpcdeploy.flows.targets import Located, Wanted
    from hpcdeploy.image import PublishedImage

Target = Annotated[
    str | None,
    typer.Argument(
        metavar="[JOB|IMAGE]",
        help="A job or an image of the project, a .sif, oras://..., docker://..., or instance://NAME; none: the only job, "
        "else the only image.",
        show_default=False,
    ),
]
ImageOption = Annotated[
    str | None, typer.Option("--image", help="Another image for the job; alone: that image.", show_default=False)
]
EngineOption = Annotated[str, typer.Option("--engine", help="auto, apptainer, singularity, docker or podman.")]
Gpu = Annotated[
    bool | None,
    typer.Option("--gpu/--no-gpu", help="Hand in GPUs, or not; otherwise those that there are.", show_default=False),
]
Mount = Annotated[bool, typer.Option("--mount-cwd/--no-mount-cwd", help="Mount the working folder, and begin there.")]
BindOption = Annotated[
    list[str] | None,
    typer.Option("-B", "--bind", help="SRC[:DEST[:ro]] of this machine; again for more.", show_default=False),
]
Env = Annotated[
    list[str] | None, typer.Option("-e", "--env", help="NAME=VALUE for the program; again for more.", show_default=False)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the command line, and start nothing.")]

instance = typer.Typer(help="Containers on this machine that go on by themselves.", no_args_is_help=True)


def run(
    ctx: typer.Context,
    target: Target = None,
    image: ImageOption = None,
    engine: EngineOption = "auto",
    gpu: Gpu = None,
    mount_cwd: Mount = True,
    bind: BindOption = None,
    env: Env = None,
    dry_run: DryRun = False,
) -> None:
    """Run a job's command, or an image, on this machine now; its exit code is ours. (Jobs on a cluster: submit, runs.)"""
    _start(ctx, target, image, _choices(engine, gpu, mount_cwd), bind, env, dry_run=dry_run, interactive=False)


def shell(
    ctx: typer.Context,
    target: Target = None,
    image: ImageOption = None,
    engine: EngineOption = "auto",
    gpu: Gpu = None,
    mount_cwd: Mount = True,
    bind: BindOption = None,
    env: Env = None,
    dry_run: DryRun = False,
) -> None:
    """Open a shell in an image, or in a job's, on this machine, with its environment active."""
    _start(ctx, target, image, _choices(engine, gpu, mount_cwd), bind, env, dry_run=dry_run, interactive=True)


@instance.command("start", cls=WithCommand)
def start_instance(
    ctx: typer.Context,
    target: Target = None,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="What to call it; none: as its job or image.", show_default=False)
    ] = None,
    image: ImageOption = None,
    engine: EngineOption = "auto",
    gpu: Gpu = None,
    mount_cwd: Mount = True,
    bind: BindOption = None,
    env: Env = None,
    dry_run: DryRun = False,
) -> None:
    """Start an image's start script (docker, podman: its own command) in the background; words after -- go to it."""
    from hpcdeploy.cli.place import here
    from hpcdeploy.config.words import name as checked
    from hpcdeploy.engine.instances import Instance
    from hpcdeploy.engine.process import ask
    from hpcdeploy.flows import here as flow
    from hpcdeploy.flows import instances as flows

    place = here()
    options = _options(image, bind, env, ())
    wanted, located = _locate(place, target, options, engine)
    situation = _situation(place)
    called = checked(name or wanted.job.name)
    known = _instances()
    plan = flow.plan_instance(
        wanted, located, _choices(engine, gpu, mount_cwd), situation, called, ctx.meta.get(META, ()), known.folder(called)
    )
    _tell(plan.notes)
    if dry_run:
        _print_script(plan.command)
        return
    _fetch(located)
    new = Instance(
        name=called,
        engine=plan.engine.name,
        program=plan.engine.program,
        image=located.image,
        environment=wanted.job.environment,
        workdir=str(situation.folder) if mount_cwd else "",
        started=int(time.time()),
    )
    flows.start(new, plan.command, known, ask)
    print(called)


@instance.command("list")
def list_instances(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the instances that were started by this command and not stopped yet."""
    from dataclasses import asdict

    from hpcdeploy.engine.process import ask
    from hpcdeploy.flows import instances as flows

    known = flows.states(_instances(), ask)
    if json:
        # Values of variables may be nobody else's business.
        show.as_json(
            [
                {**asdict(one.instance), "environment": [n for n, _ in one.instance.environment], "running": one.running}
                for one in known
            ]
        )
        return
    rows = [
        (
            one.instance.name,
            one.instance.engine,
            "running" if one.running else "ended",
            show.age(one.instance.started),
            one.instance.image,
        )
        for one in known
    ]
    show.table(("NAME", "ENGINE", "STATE", "STARTED", "IMAGE"), rows)


@instance.command("stop")
def stop_instance(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that were started by this command.")] = False,
) -> None:
    """Stop instances."""
    from hpcdeploy.engine.process import ask
    from hpcdeploy.errors import ConfigError
    from hpcdeploy.flows import instances as flows

    if bool(names) == everything:
        raise ConfigError("expected the names of instances, or --all; 'hpcdeploy instance list' shows them")
    known = _instances()
    for one in flows.states(known, ask) if everything else flows.find(names or [], known, ask):
        flows.stop(one, known, ask)
        show.say(f"stopped {one.instance.name}")


def _start(
    ctx: typer.Context,
    target: str | None,
    image: str | None,
    choices: "Choices",
    bind: list[str] | None,
    env: list[str] | None,
    *,
    dry_run: bool,
    interactive: bool,
) -> None:
    from hpcdeploy.cli.place import here
    from hpcdeploy.engine.apptainer import INSTANCE
    from hpcdeploy.engine.process import run_to_end
    from hpcdeploy.flows import here as flow

    place = here()
    options = _options(image, bind, env, ctx.meta.get(META, ()))
    situation = _situation(place)
    if target is not None and target.startswith(INSTANCE):
        command = _in_instance(target.removeprefix(INSTANCE), options, situation, interactive=interactive)
    else:
        wanted, located = _locate(place, target, options, choices.engine)
        plan = flow.plan_run(wanted, located, choices, situation, interactive=interactive)
        _tell(plan.notes)
        if not dry_run:
            _fetch(located)
        command = plan.command
    if dry_run:
        _print_script(command)
        return
    raise typer.Exit(run_to_end(command))


def _in_instance(name: str, options: "JobSettings", situation: "Situation", *, interactive: bool) -> "Command":
    from hpcdeploy.engine.process import ask
    from hpcdeploy.flows import here as flow
    from hpcdeploy.flows import instances as flows

    known = _instances()
    found = flows.running(name, known, ask)
    words = flow.SHELL if interactive else options.command or ()
    return flow.plan_in_instance(found, words, options.environment, situation, known.folder(name))


def _locate(place: "Place", target: str | None, options: "JobSettings", engine: str) -> "tuple[Wanted, Located]":
    from hpcdeploy.flows import targets
    from hpcdeploy.registry import asking

    wanted = targets.choose_target(place.project, target, options, place.folder)
    located = targets.locate(
        wanted.job.image,
        place.project,
        place.store,
        cache=_cache(),
        resolve=asking.resolve,
        plain_http=asking.speaks_plain_http,
        for_docker=engine in {"docker", "podman"},
    )
    return wanted, located


def _fetch(located: "Located") -> None:
    from hpcdeploy.flows import targets
    from hpcdeploy.registry.asking import registry_of

    def download(published: "PublishedImage", path: Path) -> None:
        with show.transfer("downloading the image") as progress:
            registry_of(published.reference).download(published, path, progress=progress)

    targets.fetch(located, download)


def _options(image: str | None, bind: list[str] | None, env: list[str] | None, command: tuple[str, ...]) -> "JobSettings":
    from hpcdeploy.cli.job_options import pairs
    from hpcdeploy.config.options import read_options

    binds = [_absolute(words) for words in bind or []]
    return read_options({"image": image, "binds": binds, "environment": pairs(env, "--env"), "command": list(command)})


def _absolute(words: str) -> str:
    """Make the source of a bind absolute: on this machine a relative one is clear."""
    source, colon, rest = words.partition(":")
    return words if source.startswith("$") else f"{Path(source).expanduser().absolute()}{colon}{rest}"


def _choices(engine: str, gpu: bool | None, mount_cwd: bool) -> "Choices":
    from hpcdeploy.flows.here import Choices

    return Choices(engine=engine, gpu=gpu, mount=mount_cwd)


def _situation(place: "Place") -> "Situation":
    from hpcdeploy.engine.machine import look_around
    from hpcdeploy.flows.here import Situation

    return Situation(
        folder=place.folder,
        environment=os.environ,
        machine=look_around(),
        fresh=str(Path(tempfile.gettempdir()) / f"hpcdeploy-{secrets.token_hex(8)}"),
        terminal=sys.stdin.isatty() and sys.stdout.isatty(),
        overrides=place.project.root,
    )


def _instances() -> "Instances":
    from hpcdeploy.engine.instances import Instances, default_root

    return Instances(default_root())


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hpcdeploy" / "images"


def _tell(notes: tuple[str, ...]) -> None:
    for note in notes:
        show.say(note)


def _print_script(command: "Command") -> None:
    from hpcdeploy.engine.contract import as_script

    script = as_script(command, f"HPCDEPLOY_END_{secrets.token_hex(4)}")
    sys.stdout.buffer.write(script.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()
