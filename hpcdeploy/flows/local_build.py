"""Build images on this machine so that equal inputs give equal bytes, and append the code where that is possible."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdeploy.apptainer import sif_edit
from hpcdeploy.apptainer.append import CannotAppendError, Code, append_code
from hpcdeploy.apptainer.build_folder import only_build, remove, stage_context
from hpcdeploy.apptainer.build_progress import Show
from hpcdeploy.apptainer.client import ApptainerClient, Version, squashfs_version
from hpcdeploy.apptainer.downloads import keeping
from hpcdeploy.apptainer.environments import Environment, Environments
from hpcdeploy.apptainer.local_cache import BUILD_PARTS
from hpcdeploy.apptainer.packing import Packed, Packing, SquashfsTools, find_tools, install_packer, read_report
from hpcdeploy.apptainer.secret_pipes import serving
from hpcdeploy.definition.base_images import mirror_addresses, needs_plain_http, pinned, redirect
from hpcdeploy.definition.code import MARK, environment_files
from hpcdeploy.definition.grammar import read_definition
from hpcdeploy.frozen import frozen
from hpcdeploy.image import Definition, Toolchain
from hpcdeploy.secret import SecretValue

if TYPE_CHECKING:
    from hpcdeploy.flows.direct_base import DirectBuild


@frozen
class Apptainer:
    """The Apptainer of this machine.

    Attributes:
        client: The program.
        version: Its version.
        arch: The option for an image for another processor than this machine's; none for this machine's.
    """

    client: ApptainerClient
    version: Version
    arch: tuple[str, ...] = ()


@frozen
class LocalBuild:
    """One build on this machine.

    Attributes:
        apptainer: Returns the Apptainer that can build the image; raises `BuildError` if there is none.
        direct: How to build without Apptainer; None to build with Apptainer.
        work: The folder that contains the folders of all builds.
        environments: The images without code.
        mirrors: Pairs of a registry and the registry that replaces it during a build.
        secrets: Values by name of the secrets that the definition uses.
        show: Receives the build's progress.
        force: Build the environment too, even if it exists.
        accepts: Tells whether an environment that was built with these tools is used; else it is built again.
        downloads: The private folder in which the image's downloads are kept; None to keep none.
        project: The project's folder, which `hpcdeploy cache list` shows for the downloads.
    """

    apptainer: Callable[[], Apptainer]
    direct: "DirectBuild | None"
    work: Path
    environments: Environments
    mirrors: tuple[tuple[str, str], ...]
    secrets: Mapping[str, SecretValue]
    show: Show
    force: bool = False
    accepts: Callable[[Toolchain], bool] = lambda _toolchain: True
    downloads: Path | None = None
    project: str = ""


def build_image(build: LocalBuild, definition: Definition, made: Path, folder: Path) -> tuple[Toolchain, bool]:
    """Build the image `made` of a `definition` and test it; return what built it, and whether it remains untested.

    The code is appended to the image of the environment, which is built if there is none. If that is impossible, the code is
    copied while the image is built, and the reason is shown.

    Args:
        build: The build.
        definition: The definition.
        made: The path of the new image, which no other process uses. After an error, it may be incomplete.
        folder: The folder of this build, which is locked.

    Raises:
        CommandFailedError: The build or ``%test`` failed.
        BuildError: The build failed.
        OSError: A file cannot be read or written.
    """
    tools = find_tools(folder)
    with cleaned(folder):
        if definition.code and definition.environment:
            appended = definition.why_baked or _appended(build, definition, made, folder, tools)
            if isinstance(appended, Toolchain):
                return appended, _test(definition, made, appended, build)
            build.show.step(f"note: the code is copied while the image is built: {appended}")
            made.unlink(missing_ok=True)
    with cleaned(folder):
        toolchain, _ = _run_builder(build, definition, made, folder, tools)
        # Apptainer runs %test in its builds.
        return toolchain, toolchain.builder == "direct" and _test(definition, made, toolchain, build)


@contextmanager
def cleaned(folder: Path) -> Iterator[None]:
    """Remove a build's files from its `folder`: files of an interrupted build before this one, and its own afterwards."""
    remove(*left_in(folder))
    try:
        yield
    finally:
        remove(*left_in(folder))


def left_in(folder: Path) -> tuple[Path, ...]:
    """Return the folders that an interrupted build leaves in its `folder`."""
    return tuple(folder / name for name in BUILD_PARTS)


def _appended(
    build: LocalBuild, definition: Definition, made: Path, folder: Path, tools: SquashfsTools | str
) -> Toolchain | str:
    """Build the image with appended code; return what built it, or the reason why this is impossible."""
    if isinstance(tools, str):
        return tools
    if not tools.unsquashfs:
        return "unsquashfs is not on this machine's PATH"
    with _environment(build, definition, folder, tools) as environment:
        if environment.problem:
            return environment.problem
        build.show.step("appending the code")
        code = Code(
            places=definition.code,
            files=definition.files,
            beside=environment.beside,
            key=definition.inputs,
            epoch=definition.epoch,
        )
        try:
            append_code(environment.image, made, code, tools, folder / "code")
        except CannotAppendError as error:
            return str(error)
    return environment.toolchain


def _test(definition: Definition, made: Path, toolchain: Toolchain, build: LocalBuild) -> bool:
    """Run ``%test`` of an image; return whether it was not run, because this machine starts no containers."""
    if not read_definition(definition.text)[-1].section("test").strip():
        return False
    if toolchain.builder == "direct":
        from hpcdeploy.flows.direct_build import starts

        if not starts(made):
            build.show.step(
                "%test was not run, because no Apptainer starts containers on this machine; it runs on a cluster before the "
                "first job"
            )
            return True
    build.show.step("running %test")
    client = ApptainerClient() if toolchain.builder == "direct" else build.apptainer().client
    client.test(made, on_line=build.show.line, mask=build.show.mask)
    return False


@contextmanager
def _environment(build: LocalBuild, definition: Definition, own: Path, tools: SquashfsTools) -> Iterator[Environment]:
    """Yield the image without code; build it if there is none. Its lock is held, so that no other process removes it.

    `own` is the folder of the build of the whole image.
    """
    mark = own / "mark" / MARK
    mark.parent.mkdir()
    mark.write_text(MARK)
    key = definition.environment
    sought = replace(definition, files=environment_files(definition, mark), inputs=key)
    folder = build.work / key[:16]
    with only_build(folder, build.show), cleaned(folder):
        known = None if build.force else build.environments.find(key)
        if known and not build.accepts(known.toolchain):
            known = None
        yield known or _built_environment(build, sought, folder, tools)


def _built_environment(build: LocalBuild, sought: Definition, folder: Path, tools: SquashfsTools) -> Environment:
    """Build the image without code, and keep it. The build's `folder` is locked."""
    build.show.step("building the environment without the code")
    key = sought.inputs
    made = build.environments.prepare(key)
    try:
        toolchain, packed = _run_builder(build, sought, made, folder, tools, places=True)
        if packed is None:
            return build.environments.keep(key, made, toolchain, {}, _not_called(build.apptainer().version))
        return build.environments.keep(key, made, toolchain, packed.beside, packed.problem)
    finally:
        made.unlink(missing_ok=True)


def _run_builder(
    build: LocalBuild, definition: Definition, made: Path, folder: Path, tools: SquashfsTools | str, *, places: bool = False
) -> tuple[Toolchain, Packed | None]:
    """Build the image `made` with the chosen builder; return what built it, and how the image was packed.

    Args:
        build: The build.
        definition: The definition.
        made: The path of the new image.
        folder: The folder of this build, which is locked and has no files of earlier builds.
        tools: The squashfs tools, or the reason why an image of Apptainer cannot be repeatable.
        places: The definition has marks at the places of the code, and no code. Its ``%test`` does not run.
    """
    if build.direct is not None:
        from hpcdeploy.direct.layers import MissingZstdError
        from hpcdeploy.flows.direct_build import build_direct, direct_toolchain, has_apptainer

        build.show.step(build.direct.note)
        destinations = tuple(place.destination for place in definition.code) if places else ()
        try:
            built = build_direct(definition, build.direct, made, folder / "direct", build.show, places=destinations)
        except MissingZstdError as error:
            if build.direct.is_chosen or not has_apptainer():
                raise
            build.show.step(f"building with Apptainer instead: {error}")
            made.unlink(missing_ok=True)
        else:
            return direct_toolchain(build.direct), Packed(problem=built.problem, beside=built.beside, left=0)
    packed = _run_apptainer(build, definition, made, folder, tools, places=places)
    return apptainer_toolchain(build.apptainer().version), packed


def apptainer_toolchain(version: Version) -> Toolchain:
    """Return the versions of the programs with which this machine builds an image with Apptainer."""
    return Toolchain(builder="apptainer", program=version.text, tools=squashfs_version())


def _run_apptainer(
    build: LocalBuild, definition: Definition, made: Path, folder: Path, tools: SquashfsTools | str, *, places: bool
) -> Packed | None:
    """Run ``apptainer build`` and rewrite the image; return the report of our mksquashfs, or None if it was not called.

    The arguments are those of `_run_builder`.
    """
    apptainer = build.apptainer()
    client, version = apptainer.client, apptainer.version
    original = pinned(definition.text, dict(definition.bases))
    text = redirect(original, build.mirrors)
    addresses = mirror_addresses(original, text)
    destinations = tuple(place.destination for place in definition.code) if places else ()
    packing = Packing(epoch=definition.epoch, compression=definition.compression, addresses=addresses, places=destinations)
    path = stage_context(definition, text, folder / "context")
    environment, report = _variables(version, definition.epoch, text, folder), None
    if not isinstance(tools, str):
        report = install_packer(folder / "bin", tools, packing)
        environment["PATH"] = os.pathsep.join((str((folder / "bin").absolute()), os.environ.get("PATH", os.defpath)))
    about = {"project": build.project, "image": definition.name}
    with (
        keeping(build.downloads, client.program, about) as (mounts, variables, note),
        serving(build.secrets, folder / "secrets") as options,
    ):
        if note:
            build.show.step(note)
        client.build(
            path,
            made,
            build_args=definition.build_args,
            options=(
                *(*apptainer.arch, *client.compressing(definition.compression)),
                *(*options, *mounts, *(("--notest",) if places else ())),
            ),
            environment={
                **environment,
                **{variable(name, version, "ENV_"): value for name, value in variables.items()},
            },
            on_line=build.show.line,
            mask=build.show.mask,
        )
    packed = read_report(report) if report else None
    if packed is None:
        reason = tools if isinstance(tools, str) else _not_called(version)
        build.show.step(f"note: the same inputs may give other bytes next time: {reason}")
    try:
        sif_edit.normalise(str(made), definition.inputs, definition.epoch, sif_edit.rewrites_of(definition.epoch, addresses))
    except sif_edit.UnfitSifError as error:
        build.show.step(f"note: the same inputs may give other bytes next time: {error}")
    return packed


def _not_called(version: Version) -> str:
    return f"{version.short} does not take mksquashfs from PATH ('mksquashfs path' or 'binary path' in its configuration)"


def _variables(version: Version, epoch: int, text: str, folder: Path) -> dict[str, str]:
    """Return the environment variables for a build of the definition `text`.

    Unless the user has set a temporary folder, one is created in `folder`. Only ``%post`` gets SOURCE_DATE_EPOCH: with it, a
    mksquashfs other than ours would change the times of all files, and Python would compile every module at each start.
    """
    environment = {variable("NOHTTPS", version): "1"} if needs_plain_http(text) else {}
    temporary = variable("TMPDIR", version)
    if not os.environ.get(temporary):
        (folder / "tmp").mkdir()
        environment[temporary] = str((folder / "tmp").absolute())
    return {**environment, variable("SOURCE_DATE_EPOCH", version, "ENV_"): str(epoch)}


def variable(name: str, version: Version, separator: str = "_") -> str:
    """Return the full name of a variable; its prefix depends on whether the program is Apptainer or Singularity.

    A variable with the `separator` ``ENV_`` becomes the variable `name` in ``%post`` (seen with Apptainer 1.4.5).
    """
    return f"{'SINGULARITY' if version.program.startswith('singularity') else 'APPTAINER'}{separator}{name}"
