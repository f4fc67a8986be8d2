"""Build an image without Apptainer: base layers, environment, files and metadata become one SIF."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from hpcdeploy import __version__
from hpcdeploy.apptainer.append import ROOT
from hpcdeploy.apptainer.build_progress import Show
from hpcdeploy.apptainer.client import ApptainerClient, find_program, squashfs_version
from hpcdeploy.definition.base_images import pinned
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.code import belongs_to
from hpcdeploy.direct.entries import CheckedContent, Entry, OwnLayer
from hpcdeploy.direct.environment import installer
from hpcdeploy.direct.flattening import Flattened
from hpcdeploy.direct.metadata import ImageText, base_layer, metadata_layer, sif_objects, stored_definition
from hpcdeploy.direct.places import links_to_code, unlinked
from hpcdeploy.direct.sif_writer import write_sif
from hpcdeploy.direct.squashfs import find_mksquashfs, pack
from hpcdeploy.environments.oci_layers import OciImage
from hpcdeploy.errors import BuildError, MissingProgramError
from hpcdeploy.flows.direct_base import DirectBuild, base_image, check_glibc, with_downloads
from hpcdeploy.flows.direct_environment import install_environment
from hpcdeploy.flows.direct_plan import DirectPlan
from hpcdeploy.frozen import frozen
from hpcdeploy.image import ContextFile, Definition, Toolchain


@frozen
class DirectImage:
    """An image that was built without Apptainer.

    Attributes:
        beside: The names beside the places of the code, by the path of their folder in the image.
        problem: The reason why there are no links at the places of the code; empty if there are, or if there are no places.
    """

    beside: Mapping[str, tuple[str, ...]]
    problem: str = ""


def build_direct(
    definition: Definition, build: DirectBuild, image: Path, folder: Path, show: Show, *, places: Sequence[str] = ()
) -> DirectImage:
    """Build the file `image`. Equal arguments give equal bytes.

    Args:
        definition: The definition.
        build: The plan and the builder's settings.
        image: The new file. After an error, it may be incomplete.
        folder: A folder for temporary files, which is created here. The caller removes it.
        show: Receives the steps.
        places: The paths in the image at which to put links to the code instead of the code, which is appended later.

    Raises:
        BuildError: The build failed.
        MissingProgramError: A program or library is missing.
        RegistryError: The base image cannot be downloaded.
    """
    folder.mkdir(parents=True)
    plan, when = build.plan, definition.epoch
    with ExitStack() as stack:
        build = stack.enter_context(with_downloads(build, folder))
        show.step("fetching the base image")
        base, layers = base_image(build, dict(definition.bases), stack)
        flattened = Flattened()
        flattened.add(*layers)
        flattened.add(base_layer(flattened.tree, when))
        if flattened.tree.devices:
            show.step(f"left out {len(flattened.tree.devices)} device files of the base image, which only root can create")
        variables = ""
        if plan.pixi is not None:
            check_glibc(flattened, plan.pixi.recipe.glibc)
            installed = install_environment(plan.pixi, definition, base.config, build, folder, show, when)
            flattened.add(*installed.layers)
            variables = installed.variables
        copies = [copy for copy in plan.copies if not (places and belongs_to(definition.code, copy[0]))]
        flattened.add(_files(copies, plan.folders, when))
        links = links_to_code(flattened.tree, places, ROOT, when)
        problem = links.problem
        try:
            flattened.add(OwnLayer(links.entries))
        except BuildError as error:  # a folder above a place is a file, or a link in a circle
            problem = str(error)
        text = _text(definition, plan, base, variables)
        flattened.add(metadata_layer(text))
        problem = problem or unlinked(flattened.tree, links.entries, ROOT)
        show.step("packing the image")
        partition = folder / "partition"
        pack(partial(flattened.write, time=when), partition, compression=definition.compression, time=when)
        with image.open("xb") as out:
            objects = sif_objects(text)
            write_sif(out, partition, definition=text.definition.encode(), objects=objects, key=definition.inputs, time=when)
    image.chmod(0o755)
    return DirectImage(beside=links.beside, problem=problem)


def direct_toolchain(build: DirectBuild) -> Toolchain:
    """Return the versions of the programs with which this machine builds an image without Apptainer."""
    installers = installer() if build.plan.pixi is not None else ()
    tools = (*installers, *squashfs_version(find_mksquashfs()))
    return Toolchain(builder="direct", program=f"hpcdeploy {__version__} (direct)", tools=tools)


def has_apptainer() -> bool:
    """Tell whether Apptainer is on PATH."""
    try:
        find_program()
    except MissingProgramError:
        return False
    return True


def starts(image: Path) -> bool:
    """Tell whether this machine has an Apptainer that can start a program in `image`."""
    return has_apptainer() and ApptainerClient().starts(image)


def _files(copies: Sequence[tuple[ContextFile, str]], folders: Sequence[str], when: int) -> OwnLayer:
    """Return the layer with the project's files and the empty folders."""
    entries = [Entry(path=path, kind="folder", mode=0o755, mtime=when) for path in folders]
    for file, path in copies:
        size, content = file.source.stat().st_size, partial(CheckedContent, file.source, file.sha256)
        entries.append(Entry(path=path, mode=file.mode, mtime=when, size=size, content=content))
    return OwnLayer(entries)


def _text(definition: Definition, plan: DirectPlan, base: OciImage, variables: str) -> ImageText:
    arguments, text = dict(definition.build_args), pinned(definition.text, dict(definition.bases))
    return ImageText(
        stage=check_definition(text, arguments)[-1],
        definition=stored_definition(text, arguments),
        config=base.config,
        settings=base.settings,
        variables=variables + "".join(f"{line}\n" for line in plan.exports),
        labels=plan.labels,
        drop_variables=plan.drops_variables(base.config),
        time=definition.epoch,
    )
