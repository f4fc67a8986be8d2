"""Define the common options of ``run``, ``shell`` and ``instance``, and the steps that these verbs share."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import completion, show
from hpcdeploy.cli.options import AllowStale
from hpcdeploy.cli.paths import image, source_of
from hpcdeploy.cli.trust import HELP, OPTION, trust_project
from hpcdeploy.frozen import frozen

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
        help="Job or image of the project, a .sif, oras://..., docker://..., or instance://NAME; default: the only job, "
        "or else the only image.",
        show_default=False,
        autocompletion=completion.targets,
    ),
]
ImageOption = Annotated[
    str | None,
    typer.Option("--image", help="Image to use instead of the job's.", show_default=False, autocompletion=completion.images),
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        help="Container engine: auto, apptainer, singularity, docker or podman.",
        autocompletion=completion.engines,
    ),
]
Gpu = Annotated[
    bool | None,
    typer.Option(
        "--gpu/--no-gpu", help="Make GPUs available in the container; default: if any are detected.", show_default=False
    ),
]
Mount = Annotated[bool, typer.Option("--mount-cwd/--no-mount-cwd", help="Mount the current folder and start in it.")]
BindOption = Annotated[
    list[str] | None,
    typer.Option("-B", "--bind", help="Bind mount SRC[:DEST[:ro]]; may be repeated.", show_default=False),
]
Env = Annotated[
    list[str] | None,
    typer.Option("-e", "--env", help="Environment variable NAME=VALUE; may be repeated.", show_default=False),
]
TrustProject = Annotated[bool, typer.Option(OPTION, callback=lambda value: trust_project() if value else None, help=HELP)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the command line; start nothing.")]


@frozen
class LocalOptions:
    """The options of verbs that run a container on this machine."""

    image: ImageOption = None
    engine: EngineOption = "auto"
    gpu: Gpu = None
    mount_cwd: Mount = True
    bind: BindOption = None
    env: Env = None
    allow_stale: AllowStale = False
    dry_run: DryRun = False

    def settings(self, command: tuple[str, ...]) -> "JobSettings":
        """Parse the options by the rules of ``[jobs.NAME]``.

        There is one difference: the source of a bind is a path on this machine, which may be relative.

        Raises:
            ConfigError: An option is invalid.
        """
        from hpcdeploy.cli.job_options import pairs
        from hpcdeploy.config.job_schema import read_options

        binds = [source_of(words) for words in self.bind or []]
        environment = pairs(self.env, "--env")
        return read_options(
            {"image": self.image and image(self.image), "binds": binds, "environment": environment, "command": list(command)}
        )

    def choices(self) -> "Choices":
        """Return the options of the container engine."""
        from hpcdeploy.flows.here import Choices

        return Choices(engine=self.engine, gpu=self.gpu, mount=self.mount_cwd)


def locate(place: "Place", target: str | None, options: LocalOptions, settings: "JobSettings") -> "tuple[Wanted, Located]":
    """Choose the job or image to run, and find the file or reference of its image.

    A note is printed if the image is older than the project. Without ``--dry-run`` the user is prompted if the project's
    settings name files outside of the project.

    Args:
        place: The project.
        target: The argument of the command: a job, or an image; None for the default.
        options: The options of the command.
        settings: The settings that were parsed from `options`.

    Raises:
        ConfigError: In one of these cases:

            - There is no such target or image.
            - The image is older than the project, and neither ``--allow-stale`` nor ``--dry-run`` is given.
            - The user rejected a file outside of the project.
    """
    from hpcdeploy.cli.job import say_if_stale
    from hpcdeploy.cli.trust import admit_here
    from hpcdeploy.config.named_files import admit_all
    from hpcdeploy.engine.contract import SCHEME
    from hpcdeploy.flows import targets
    from hpcdeploy.folders import cache_folder
    from hpcdeploy.registry import lookup

    wanted = targets.choose_target(
        place.project,
        target and image(target),
        settings,
        place.folder,
        admit=admit_all if options.dry_run else admit_here(place.project.root),
    )
    located = targets.locate(
        wanted.job.image,
        place.project,
        place.store,
        cache=cache_folder(os.environ) / "images",
        resolve=lookup.resolve,
        plain_http=lookup.uses_plain_http,
        for_docker=options.engine in {"docker", "podman"},
    )
    if not located.image.startswith(SCHEME):
        file, published = Path(located.image), located.published
        refuse = not (options.dry_run or options.allow_stale)
        say_if_stale(place, wanted.job.image, refuse=refuse, published=published, file=file)
    return wanted, located


def fetch(located: "Located") -> None:
    """Download the image if it must be on this machine and is not yet, and show the progress."""
    from hpcdeploy.flows import targets
    from hpcdeploy.private import private_folder
    from hpcdeploy.registry.lookup import registry_of

    def download(published: "PublishedImage", path: Path) -> None:
        private_folder(path.parent)
        with show.transfer("downloading the image") as progress:
            registry_of(published.reference).download(published, path, progress=progress)

    targets.fetch(located, download)


def situation_of(place: "Place") -> "Situation":
    """Return the facts that a plan for a container depends on: folder, variables, engines and GPUs, terminal."""
    import secrets
    import tempfile

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


def instances() -> "Instances":
    """Return the record of the instances on this machine."""
    from hpcdeploy.engine.instances import Instances, default_root

    return Instances(default_root())


def print_script(command: "Command") -> None:
    """Print the command that would be started, as a shell script."""
    import secrets

    from hpcdeploy.engine.contract import as_script

    script = as_script(command, f"HPCDEPLOY_END_{secrets.token_hex(4)}")
    show.exact(script)
