"""The verbs that run a container on this machine: ``run`` and ``shell``."""

from typing import TYPE_CHECKING

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.command_line import META
from hpcdeploy.cli.here_options import (
    AllowStale,
    BindOption,
    DryRun,
    EngineOption,
    Env,
    Gpu,
    ImageOption,
    Mount,
    Target,
    chosen,
    fetch,
    instances,
    locate,
    options_of,
    print_script,
    situation_of,
)

if TYPE_CHECKING:
    from hpcdeploy.config.project import JobSettings
    from hpcdeploy.engine.contract import Command
    from hpcdeploy.flows.here import Choices, Situation


def run(
    ctx: typer.Context,
    target: Target = None,
    image: ImageOption = None,
    engine: EngineOption = "auto",
    gpu: Gpu = None,
    mount_cwd: Mount = True,
    bind: BindOption = None,
    env: Env = None,
    allow_stale: AllowStale = False,
    dry_run: DryRun = False,
) -> None:
    """Run a job's command or an image on this machine.

    The exit code is the program's. To run a job on a cluster, use submit.
    """
    _start(ctx, target, image, chosen(engine, gpu, mount_cwd), bind, env, allow_stale, dry_run=dry_run, interactive=False)


def shell(
    ctx: typer.Context,
    target: Target = None,
    image: ImageOption = None,
    engine: EngineOption = "auto",
    gpu: Gpu = None,
    mount_cwd: Mount = True,
    bind: BindOption = None,
    env: Env = None,
    allow_stale: AllowStale = False,
    dry_run: DryRun = False,
) -> None:
    """Open a shell in an image on this machine.

    The environment of the image is active in the shell.
    """
    _start(ctx, target, image, chosen(engine, gpu, mount_cwd), bind, env, allow_stale, dry_run=dry_run, interactive=True)


def _start(
    ctx: typer.Context,
    target: str | None,
    image: str | None,
    choices: "Choices",
    bind: list[str] | None,
    env: list[str] | None,
    allow_stale: bool,
    *,
    dry_run: bool,
    interactive: bool,
) -> None:
    from hpcdeploy.cli.place import here
    from hpcdeploy.engine.apptainer import INSTANCE
    from hpcdeploy.engine.process import run_to_end
    from hpcdeploy.flows import here as flow

    place = here()
    options = options_of(image, bind, env, ctx.meta.get(META, ()))
    situation = situation_of(place)
    if target is not None and target.startswith(INSTANCE):
        command = _in_instance(target.removeprefix(INSTANCE), options, situation, interactive=interactive)
    else:
        wanted, located = locate(
            place, target, options, choices.engine, dry_run=dry_run, refuse_stale=not (dry_run or allow_stale)
        )
        plan = flow.plan_run(wanted, located, choices, situation, interactive=interactive)
        show.notes(plan.notes)
        if not dry_run:
            fetch(located)
        command = plan.command
    if dry_run:
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
