"""Run Apptainer on this machine so that equal inputs give equal bytes, and append the code where that is possible."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hpcdeploy.apptainer import sif_edit
from hpcdeploy.apptainer.append import CannotAppendError, Code, append_code
from hpcdeploy.apptainer.build_folder import only_build, remove, stage_context
from hpcdeploy.apptainer.build_progress import Show
from hpcdeploy.apptainer.client import ApptainerClient, Version
from hpcdeploy.apptainer.downloads import keeping
from hpcdeploy.apptainer.environments import Environment, Environments
from hpcdeploy.apptainer.packing import Packed, Packing, SquashfsTools, find_tools, install_packer, read_report
from hpcdeploy.apptainer.secret_pipes import serving
from hpcdeploy.build_keys import APPTAINER_DEFAULT, Compression
from hpcdeploy.definition.base_images import mirror_addresses, needs_plain_http, pinned, redirect
from hpcdeploy.definition.code import MARK, environment_files
from hpcdeploy.definition.grammar import read_definition
from hpcdeploy.frozen import frozen
from hpcdeploy.image import Definition
from hpcdeploy.secret import SecretValue

_OWN = ("context", "tmp", "secrets", "bin", "code", "mark")
"""Subfolders of a build's folder that are removed before and after the build."""


@frozen
class LocalBuild:
    """One build on this machine.

    Attributes:
        client: The Apptainer program.
        version: Its version.
        work: The folder that contains the folders of all builds.
        environments: The images without code.
        mirrors: Pairs of a registry and the registry that replaces it during a build.
        secrets: Values by name of the secrets that the definition uses.
        show: Receives the build's progress.
        arch: The option for an image for another processor than this machine's; none for this machine's.
        compression: The compression of the image.
        force: Build the environment too, even if it exists.
        downloads: The private folder in which the image's downloads are kept; None to keep none.
        project: The project's folder, which `hpcdeploy cache list` shows for the downloads.
    """

    client: ApptainerClient
    version: Version
    work: Path
    environments: Environments
    mirrors: tuple[tuple[str, str], ...]
    secrets: Mapping[str, SecretValue]
    show: Show
    arch: tuple[str, ...] = ()
    compression: Compression = APPTAINER_DEFAULT
    force: bool = False
    downloads: Path | None = None
    project: str = ""


def build_image(build: LocalBuild, definition: Definition, made: Path, folder: Path) -> None:
    """Build the image `made` of a `definition` and test it.

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
            problem = definition.why_baked or _appended(build, definition, made, folder, tools)
            if not problem:
                return
            build.show.step(f"note: the code is copied while the image is built: {problem}")
    with cleaned(folder):
        _run_apptainer(build, definition, made, folder, tools)


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
    return tuple(folder / name for name in _OWN)


def _appended(build: LocalBuild, definition: Definition, made: Path, folder: Path, tools: SquashfsTools | str) -> str:
    """Build the image with appended code, and test it; return the reason if that is impossible."""
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
    if read_definition(definition.text)[-1].section("test").strip():
        build.show.step("running %test")
        build.client.test(made, on_line=build.show.line, mask=build.show.mask)
    return ""


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
        yield known or _built_environment(build, sought, folder, tools)


def _built_environment(build: LocalBuild, sought: Definition, folder: Path, tools: SquashfsTools) -> Environment:
    """Build the image without code, and keep it. The build's `folder` is locked."""
    build.show.step("building the environment without the code")
    key = sought.inputs
    made = build.environments.prepare(key)
    try:
        packed = _run_apptainer(build, sought, made, folder, tools, places=True)
        if packed is None:
            return build.environments.keep(key, made, {}, _not_called(build))
        return build.environments.keep(key, made, packed.beside, packed.problem)
    finally:
        made.unlink(missing_ok=True)


def _run_apptainer(
    build: LocalBuild, definition: Definition, made: Path, folder: Path, tools: SquashfsTools | str, *, places: bool = False
) -> Packed | None:
    """Run ``apptainer build`` and rewrite the image; return the report of our mksquashfs, or None if it was not called.

    Args:
        build: The build.
        definition: The definition.
        made: The path of the new image.
        folder: The folder of this build, which is locked and has no files of earlier builds.
        tools: The squashfs tools, or the reason why the image cannot be repeatable.
        places: The definition has marks at the places of the code, and no code. Its ``%test`` does not run.
    """
    original = pinned(definition.text, dict(definition.bases))
    text = redirect(original, build.mirrors)
    addresses = mirror_addresses(original, text)
    destinations = tuple(place.destination for place in definition.code) if places else ()
    packing = Packing(epoch=definition.epoch, compression=build.compression, addresses=addresses, places=destinations)
    path = stage_context(definition, text, folder / "context")
    environment, report = _variables(build, definition.epoch, text, folder), None
    if not isinstance(tools, str):
        report = install_packer(folder / "bin", tools, packing)
        environment["PATH"] = os.pathsep.join((str((folder / "bin").absolute()), os.environ.get("PATH", os.defpath)))
    about = {"project": build.project, "image": definition.name}
    with (
        keeping(build.downloads, build.client.program, about) as (mounts, variables, note),
        serving(build.secrets, folder / "secrets") as options,
    ):
        if note:
            build.show.step(note)
        build.client.build(
            path,
            made,
            build_args=definition.build_args,
            options=(*build.arch, *options, *mounts, *(("--notest",) if places else ())),
            environment={
                **environment,
                **{variable(name, build.version, "ENV_"): value for name, value in variables.items()},
            },
            on_line=build.show.line,
            mask=build.show.mask,
        )
    packed = read_report(report) if report else None
    if packed is None:
        reason = tools if isinstance(tools, str) else _not_called(build)
        build.show.step(f"note: the same inputs may give other bytes next time: {reason}")
    try:
        sif_edit.normalise(str(made), definition.inputs, definition.epoch, sif_edit.rewrites_of(definition.epoch, addresses))
    except sif_edit.UnfitSifError as error:
        build.show.step(f"note: the same inputs may give other bytes next time: {error}")
    return packed


def _not_called(build: LocalBuild) -> str:
    return (
        f"{build.version.short} does not take mksquashfs from PATH ('mksquashfs path' or 'binary path' in its configuration)"
    )


def _variables(build: LocalBuild, epoch: int, text: str, folder: Path) -> dict[str, str]:
    """Return the environment variables for a build of the definition `text`.

    Unless the user has set a temporary folder, one is created in `folder`. Only ``%post`` gets SOURCE_DATE_EPOCH: with it, a
    mksquashfs other than ours would change the times of all files, and Python would compile every module at each start.
    """
    environment = {variable("NOHTTPS", build.version): "1"} if needs_plain_http(text) else {}
    temporary = variable("TMPDIR", build.version)
    if not os.environ.get(temporary):
        (folder / "tmp").mkdir()
        environment[temporary] = str((folder / "tmp").absolute())
    return {**environment, variable("SOURCE_DATE_EPOCH", build.version, "ENV_"): str(epoch)}


def variable(name: str, version: Version, separator: str = "_") -> str:
    """Return the full name of a variable; its prefix depends on whether the program is Apptainer or Singularity.

    A variable with the `separator` ``ENV_`` becomes the variable `name` in ``%post`` (seen with Apptainer 1.4.5).
    """
    return f"{'SINGULARITY' if version.program.startswith('singularity') else 'APPTAINER'}{separator}{name}"
