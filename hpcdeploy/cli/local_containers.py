"""Implement ``run``, ``shell`` and ``instance``, which run containers on this machine."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import completion, show
from hpcdeploy.cli.command_line import META, WithCommand
from hpcdeploy.cli.here_options import (
    LocalOptions,
    Target,
    TrustProject,
    fetch,
    instances,
    locate,
    print_script,
    situation_of,
)
from hpcdeploy.cli.options import AsJson, spread

if TYPE_CHECKING:
    from hpcdeploy.config.project import JobSettings
    from hpcdeploy.engine.contract import Command
    from hpcdeploy.flows.here import Situation


@spread
def run(ctx: typer.Context, options: LocalOptions, target: Target = None) -> None:
    """Run a job's command or an image on this machine.

    The exit code is that of the program. To run a job on a cluster, use submit.
    """
    _start(ctx, target, options, interactive=False)


@spread
def shell(ctx: typer.Context, options: LocalOptions, target: Target = None) -> None:
    """Open a shell in an image on this machine.

    The environment of the image is active in the shell.
    """
    _start(ctx, target, options, interactive=True)


def _start(ctx: typer.Context, target: str | None, options: LocalOptions, *, interactive: bool) -> None:
    from hpcdeploy.cli.place import here
    from hpcdeploy.engine.apptainer import INSTANCE
    from hpcdeploy.engine.process import run_to_end
    from hpcdeploy.flows import here as flow

    place = here()
    settings = options.settings(ctx.meta.get(META, ()))
    situation = situation_of(place)
    if target is not None and target.startswith(INSTANCE):
        command = _in_instance(target.removeprefix(INSTANCE), settings, situation, interactive=interactive)
    else:
        wanted, located = locate(place, target, options, settings)
        plan = flow.plan_run(wanted, located, options.choices(), situation, interactive=interactive)
        show.notes(plan.notes)
        if not options.dry_run:
            fetch(located)
        command = plan.command
    if options.dry_run:
        print_script(command)
        return
    raise typer.Exit(run_to_end(command))


def _in_instance(name: str, options: "JobSettings", situation: "Situation", *, interactive: bool) -> "Command":
    from hpcdeploy.engine.process import ask
    from hpcdeploy.flows import here as flow
    from hpcdeploy.flows import instances as flows

    known = instances()
    found = flows.running(name, known, ask)
    words = flow.SHELL if interactive else options.command or ()
    return flow.plan_in_instance(found, words, options.environment, situation, known.folder(name))


app = typer.Typer(help="Manage container instances on this machine.", no_args_is_help=True)


@app.command("start", cls=WithCommand)
@spread
def start(
    ctx: typer.Context,
    options: LocalOptions,
    target: Target = None,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="Name of the instance; default: the name of the job or image.", show_default=False
        ),
    ] = None,
    _trusting: TrustProject = False,
) -> None:
    """Start an instance in the background.

    The instance runs the image's start script (with docker and podman: the image's command).
    Arguments after -- are passed to this program.
    """
    from hpcdeploy.cli.place import here
    from hpcdeploy.config.validators import name as checked
    from hpcdeploy.engine.instances import Instance
    from hpcdeploy.engine.process import ask
    from hpcdeploy.flows import here as flow
    from hpcdeploy.flows import instances as flows

    place = here()
    wanted, located = locate(place, target, options, options.settings(()))
    situation = situation_of(place)
    called = checked(name or wanted.job.name)
    known = instances()
    plan = flow.plan_instance(
        wanted, located, options.choices(), situation, called, ctx.meta.get(META, ()), known.folder(called)
    )
    show.notes(plan.notes)
    if options.dry_run:
        print_script(plan.command)
        return
    fetch(located)
    new = Instance(
        name=called,
        engine=plan.engine.name,
        program=plan.engine.program,
        image=located.image,
        environment=wanted.job.environment,
        workdir=str(situation.folder) if options.mount_cwd else "",
        started=int(time.time()),
    )
    flows.start(new, plan.command, known, ask)
    show.put(called)


@app.command("list")
def list_all(json: AsJson = False) -> None:
    """List running instances that hpcdeploy started."""
    from dataclasses import asdict

    from hpcdeploy.engine.process import ask
    from hpcdeploy.flows import instances as flows

    known = flows.states(instances(), ask)
    if json:
        # Only the names of variables are printed, because their values may be confidential.
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


@app.command("stop")
def stop(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", show_default=False, autocompletion=completion.instances)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Stop all instances that hpcdeploy started.")] = False,
) -> None:
    """Stop instances."""
    from hpcdeploy.engine.process import ask
    from hpcdeploy.errors import ConfigError
    from hpcdeploy.flows import instances as flows

    if bool(names) == everything:
        raise ConfigError("expected the names of instances, or --all; 'hpcdeploy instance list' shows them")
    known = instances()
    for one in flows.states(known, ask) if everything else flows.find(names or [], known, ask):
        flows.stop(one, known, ask)
        show.say(f"stopped {one.instance.name}")
