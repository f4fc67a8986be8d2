"""Build an image without Apptainer: base layers, environment, files and metadata become one SIF."""

import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from hpcdeploy import __version__
from hpcdeploy.apptainer.build_progress import Show
from hpcdeploy.apptainer.client import ApptainerClient, CommandFailedError, find_program
from hpcdeploy.apptainer.diagnosis import explain
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.direct.entries import CheckedContent, Entry, OwnLayer
from hpcdeploy.direct.flattening import Flattened
from hpcdeploy.direct.metadata import ImageText, base_layer, metadata_layer, sif_objects, stored_definition
from hpcdeploy.direct.sif_writer import write_sif
from hpcdeploy.direct.squashfs import pack
from hpcdeploy.environments.oci_layers import OciImage
from hpcdeploy.errors import BuildError, ConfigError, MissingProgramError
from hpcdeploy.flows.direct_base import DirectBuild, base_image, check_glibc
from hpcdeploy.flows.direct_environment import DoubtError, install_environment
from hpcdeploy.flows.direct_plan import DirectPlan
from hpcdeploy.image import Definition

DEFAULT_TIME = 315_532_800
"""Time of files without a time of their own, and of the image: 1980-01-01, the first time that a zip file can store."""


def build_direct(definition: Definition, build: DirectBuild, image: Path, folder: Path, show: Show) -> str:
    """Build the file `image`; return a description of the builder for the image's record.

    Args:
        definition: The definition.
        build: The plan and the builder's settings.
        image: The new file.
        folder: An empty folder for temporary files. The caller removes it.
        show: Receives the steps.

    Raises:
        BuildError: The build failed.
        DoubtError: Scripts of packages would run on this machine, and the user did not choose this builder.
        MissingProgramError: A program or library is missing.
        RegistryError: The base image cannot be downloaded.
    """
    plan, when = build.plan, build_time(os.environ)
    with ExitStack() as stack:
        show.step("fetching the base image")
        base, layers = base_image(build, stack)
        flattened = Flattened()
        flattened.add(*layers)
        flattened.add(base_layer(flattened.tree, when))
        if flattened.tree.devices:
            show.step(f"left out {len(flattened.tree.devices)} device files of the base image, which only root can create")
        tools, variables = f"mksquashfs, {build.compression}", ""
        if plan.pixi is not None:
            check_glibc(flattened, plan.pixi.recipe.glibc)
            installed = install_environment(plan.pixi, definition, base.config, build, folder, show, when)
            flattened.add(*installed.layers)
            variables, tools = installed.variables, f"{installed.installer}, {tools}"
        flattened.add(_files(plan, when))
        text = _text(definition, plan, base, variables, when)
        flattened.add(metadata_layer(text))
        show.step("packing the image")
        partition = folder / "partition"
        pack(flattened.write, partition, compression=build.compression, newest=flattened.newest())
        with image.open("xb") as out:
            write_sif(
                out,
                partition,
                definition=text.definition.encode(),
                objects=sif_objects(text),
                key=f"{definition.inputs} {build.compression}",
                time=when,
            )
    return f"hpcdeploy {__version__} direct ({tools})"


def build_directly(definition: Definition, build: DirectBuild, output: Path, folder: Path, show: Show) -> str:
    """Build and test the image at `output`, atomically; return the builder for the image's record.

    The result is empty if the build was given up, because the user did not choose this builder and Apptainer is there.

    Args:
        definition: The definition.
        build: The plan and the builder's settings.
        output: The path of the image.
        folder: A folder for temporary files, which is created here. The caller removes it.
        show: Receives the steps.

    Raises:
        BuildError: The build or a test failed.
        MissingProgramError: A program or library is missing.
        RegistryError: The base image cannot be downloaded.
    """
    folder.mkdir(parents=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(f".{output.name}.part")
    part.unlink(missing_ok=True)
    show.step(build.note)
    try:
        builder = build_direct(definition, build, part, folder, show)
        part.chmod(0o755)
        _test(definition, part, show)
        part.replace(output)
    except DoubtError as error:
        if not has_apptainer():
            raise
        show.step(f"building with Apptainer instead: {error}")
        return ""
    finally:
        part.unlink(missing_ok=True)
    return builder


def has_apptainer() -> bool:
    """Tell whether Apptainer is on PATH."""
    try:
        find_program()
    except MissingProgramError:
        return False
    return True


def _test(definition: Definition, image: Path, show: Show) -> None:
    """Run ``%test`` with this machine's Apptainer. Without one, or where it starts no containers, say so."""
    if not check_definition(definition.text, dict(definition.build_args))[-1].section("test"):
        return
    if has_apptainer():
        client = ApptainerClient()
        if client.starts(image):
            show.step("running %test")
            try:
                client.test(image)
            except CommandFailedError as error:
                raise BuildError(f"%test of {definition.name!r} failed:\n{explain(error.tail)}") from error
            return
    show.step("%test was not run, because no Apptainer starts containers on this machine; run 'apptainer test' on a cluster")


def build_time(environ: Mapping[str, str]) -> int:
    """Return SOURCE_DATE_EPOCH in seconds since 1970, or `DEFAULT_TIME` if it is not set.

    Raises:
        ConfigError: SOURCE_DATE_EPOCH is not a number of seconds that squashfs can store.
    """
    value = environ.get("SOURCE_DATE_EPOCH", "")
    if not value:
        return DEFAULT_TIME
    if not re.fullmatch(r"[0-9]{1,10}", value) or int(value) >= 2**32:
        raise ConfigError(f"SOURCE_DATE_EPOCH is {value[:40]!r}; expected seconds since 1970, below {2**32}")
    return int(value)


def _files(plan: DirectPlan, when: int) -> OwnLayer:
    """Return the layer with the project's files and the empty folders."""
    entries = [Entry(path=path, kind="folder", mode=0o755, mtime=when) for path in plan.folders]
    for file, path in plan.copies:
        size, content = file.source.stat().st_size, partial(CheckedContent, file.source, file.sha256)
        entries.append(Entry(path=path, mode=file.mode, mtime=when, size=size, content=content))
    return OwnLayer(entries)


def _text(definition: Definition, plan: DirectPlan, base: OciImage, variables: str, when: int) -> ImageText:
    arguments = dict(definition.build_args)
    return ImageText(
        stage=check_definition(definition.text, arguments)[-1],
        definition=stored_definition(definition.text, arguments),
        config=base.config,
        settings=base.settings,
        variables=variables + "".join(f"{line}\n" for line in plan.exports),
        labels=plan.labels,
        drop_variables=plan.drops_variables(base.config),
        time=when,
    )
