"""Implement ``run`` and ``shell``, which run a container on this machine."""

from typing import TYPE_CHECKING

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.command_line import META
from hpcdeploy.cli.here_options import LocalOptions, Target, fetch, instances, locate, print_script, situation_of
from hpcdeploy.cli.options import spread

if TYPE_CHECKING:
    from hpcdeploy.config.project import JobSettings
    from hpcdeploy.engine.contract import Command
    from hpcdeploy.flows.here import Situation


@spread
def run(ctx: typer.Context, options: LocalOptions, target: Target = None) -> None:
    """Run a job's command or an image on this machine.

    The exit code is the program's. To run a job on a cluster, use submit.
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
