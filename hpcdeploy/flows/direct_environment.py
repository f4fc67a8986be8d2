"""Install and activate a Pixi environment on this machine for an image that is built without Apptainer."""

import os
import re
import time
from pathlib import Path

from hpcdeploy.apptainer.build_progress import Show
from hpcdeploy.definition.pixi import (
    WORKSPACE,
    PixiRecipe,
    render_activation,
    staged_beside,
    staged_more,
    staged_workspace_file,
)
from hpcdeploy.direct.activation import activate
from hpcdeploy.direct.entries import CheckedContent, Entry, Layer, OwnLayer, text_entry
from hpcdeploy.direct.environment import Workspace, install, post_link_scripts
from hpcdeploy.direct.relocation import Move, RelocatedLayer
from hpcdeploy.errors import BuildError
from hpcdeploy.flows.direct_base import DirectBuild
from hpcdeploy.flows.direct_plan import PixiPlan
from hpcdeploy.frozen import frozen
from hpcdeploy.image import Definition
from hpcdeploy.source import OciConfig

_PLAIN_PATH = re.compile(r"/[^:$`\"'\\\s]*+(?::/[^:$`\"'\\\s]*+)*+")
"""A PATH of absolute folders, which no shell expands: pixi writes it between double quotes."""

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@frozen
class Installed:
    """An installed and activated environment.

    Attributes:
        layers: The layers of the image.
        variables: The lines that set the variables of the activation.
    """

    layers: tuple[Layer, ...]
    variables: str


def install_environment(
    plan: PixiPlan, definition: Definition, base: OciConfig, build: DirectBuild, folder: Path, show: Show, when: int
) -> Installed:
    """Install and activate the environment of an image.

    Args:
        plan: The environment.
        definition: The definition, with the files of the workspace.
        base: The configuration of the base image.
        build: The builder's settings.
        folder: An empty folder.
        show: Receives the steps.
        when: The time of files without a time of their own, in seconds since 1970.

    Raises:
        BuildError: The environment cannot be installed or activated.
        MissingProgramError: A program or library is missing.
    """
    recipe = plan.recipe
    workspace, path = _workspace(plan, definition, folder / "app"), dict(base.env).get("PATH", _DEFAULT_PATH)
    if not _PLAIN_PATH.fullmatch(path):
        raise BuildError(
            f"the base image sets PATH to {path[:200]!r}; a build without Apptainer needs absolute folders without special "
            "characters there; use --builder apptainer or another base image"
        )
    show.step("installing the environment")
    began = time.time()
    hook = install(workspace, build.downloads, path)
    # The path of pixi on this machine means nothing in the image.
    hook = "".join(line for line in hook.splitlines(keepends=True) if not line.startswith("export PIXI_EXE="))
    if names := post_link_scripts(workspace.prefix):
        show.step(f"not run, as with pixi: the post-link scripts of {', '.join(names[:5])}")
    show.step("activating the environment")
    variables, notes = activate(workspace.folder, hook, render_activation(recipe), path)
    for note in notes:
        show.step(f"hpcdeploy: {note}")
    old, new = str(workspace.folder), WORKSPACE
    place = f"{WORKSPACE.strip('/')}/.pixi"
    entry_point = f'#!/bin/bash\n{hook}exec "$@"\n'.replace(old, new)
    variables = variables.replace(old, new)
    folders = (WORKSPACE.strip("/"), place, f"{place}/envs")
    own = [
        *(Entry(path=name, kind="folder", mode=0o755, mtime=when) for name in folders),
        text_entry("app/activate.sh", os.fsencode(variables), mtime=when),
        text_entry("app/entrypoint.sh", os.fsencode(entry_point), mode=0o755, mtime=when),
        *(
            text_entry(f"{place}/{name}", (workspace.folder / ".pixi" / name).read_bytes(), mtime=when)
            for name in (".gitignore", ".condapackageignore")
        ),
    ]
    move = Move(old=os.fsencode(old), new=os.fsencode(new))
    environment = RelocatedLayer(workspace.prefix, f"{place}/envs/{recipe.environment}", move, began=began, time=when)
    return Installed(layers=(OwnLayer(own), environment), variables=variables)


def _workspace(plan: PixiPlan, definition: Definition, folder: Path) -> Workspace:
    """Copy the files that Pixi and the activation need to `folder`, and return the workspace."""
    recipe, read = plan.recipe, plan.read
    roots = (staged_workspace_file(""), staged_beside(""), f"{staged_more('')}/")
    for file in definition.files:
        root = next((root for root in roots if file.staged.startswith(root)), None)
        if root is None:
            continue
        target = folder / file.staged.removeprefix(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        with CheckedContent(file.source, file.sha256) as content:
            target.write_bytes(content.read())
    return Workspace(
        folder=folder,
        manifest=read.manifest.name,
        name=read.workspace.name,
        version=read.workspace.version,
        environment=recipe.environment,
        platform=recipe.platform,
        row=read.choice.row.key,
        platforms=tuple(one.name for one in read.workspace.platforms_for(read.environment)),
        variables=_overrides(recipe),
        scripts=plan.scripts,
        activation=tuple(read.environment.variables.items()),
        wheels=plan.wheels,
    )


def _overrides(recipe: PixiRecipe) -> tuple[tuple[str, str], ...]:
    cuda = (("CONDA_OVERRIDE_CUDA", recipe.cuda),) if recipe.cuda else ()
    return (*cuda, *recipe.overrides)
