"""Build a definition into a tested image with Apptainer, on this machine or on a cluster's login node."""

import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdeploy import __version__
from hpcdeploy.apptainer import build_script
from hpcdeploy.apptainer.build_folder import check_temporary, only_build, pack_context, pack_files, remove
from hpcdeploy.apptainer.build_progress import FROM_CACHE, UNCHANGED, Report, Show, ignore_event
from hpcdeploy.apptainer.build_record import check_output, describe, read_image, read_record, write_record
from hpcdeploy.apptainer.build_script import NORMAL, Repeating
from hpcdeploy.apptainer.client import ApptainerClient, Version, check_version, parse_version
from hpcdeploy.apptainer.diagnosis import explain
from hpcdeploy.apptainer.emulation import HANDLERS, needs_emulator
from hpcdeploy.apptainer.environments import Environments
from hpcdeploy.apptainer.image_cache import ImageCache
from hpcdeploy.apptainer.placing import forget, place, remove_unfinished, remove_unrecorded, unfinished
from hpcdeploy.apptainer.secret_pipes import check_secrets, kept_back, secret_lines
from hpcdeploy.apptainer.verified_files import VerifiedFiles
from hpcdeploy.definition.base_images import pinned, redirect
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.code import MARK, belongs_to, environment_files
from hpcdeploy.errors import BuildError, TransportError
from hpcdeploy.flows.local_build import Apptainer, LocalBuild, apptainer_toolchain, build_image, left_in, variable
from hpcdeploy.frozen import frozen
from hpcdeploy.image import BuiltImage, Definition, Toolchain
from hpcdeploy.progress import Carrying, Progress, ignore_progress, silently
from hpcdeploy.remote.answers import Answer, is_path
from hpcdeploy.remote.image_build import run_build, unexpected
from hpcdeploy.remote.session import Session
from hpcdeploy.secret import NO_SECRETS, SecretValue, masking
from hpcdeploy.whole_file import sha256_of

if TYPE_CHECKING:
    from hpcdeploy.flows.direct_base import DirectBuild


@frozen
class LocalBuilds:
    """How images are built on this machine.

    Attributes:
        work: A folder for builds. Each build uses a subfolder, whose files are removed after the build. Apptainer writes
            its temporary files there too, unless APPTAINER_TMPDIR is set.
        program: The name or path of the Apptainer program; empty to find Apptainer on PATH.
        mirrors: Pairs of a registry and the registry that replaces it during a build.
        direct: How to build without Apptainer; None to build with Apptainer.
        environments: The private folder with the images without code; None for a folder beside `work`.
        images: The private folder in which built images are kept by key; None to keep none.
        verified: The private folder with the checksums of unchanged images.
        downloads: The private folder in which the image's downloads are kept; None to keep none.
        project: The project's folder, which `hpcdeploy cache list` shows for the downloads.
        handlers: The folder of binfmt_misc, which has the emulators of other processors.
    """

    work: Path
    program: str = ""
    mirrors: Sequence[tuple[str, str]] = ()
    direct: "DirectBuild | None" = None
    environments: Path | None = None
    images: Path | None = None
    verified: Path | None = None
    downloads: Path | None = None
    project: str = ""
    handlers: Path = HANDLERS

    @property
    def checksums(self) -> VerifiedFiles:
        """The checksums of unchanged images."""
        return VerifiedFiles(self.verified or self.work.parent / "verified")

    @property
    def cache(self) -> ImageCache | None:
        """The images that are kept by key; None if none are kept."""
        return ImageCache(self.images, self.checksums) if self.images else None


def build_here(
    definition: Definition,
    output: Path,
    builds: LocalBuilds,
    *,
    is_recorded: Callable[[BuiltImage], bool],
    repeating: Repeating = NORMAL,
    secrets: Mapping[str, SecretValue] = NO_SECRETS,
    report: Report = ignore_event,
) -> BuiltImage:
    """Build `definition` on this machine into `output`, and write the image's record next to it.

    If `output` is already a build with the same key, or the cache has one, that image is returned, and Apptainer is not
    started. A project may contain an image with a forged record file, so `is_recorded` must confirm that the user built the
    image.

    Args:
        definition: The definition to build.
        output: The path of the image.
        builds: The program and the folders for builds.
        is_recorded: Tells whether the user's own record (the database, not the file next to the image) has this build.
        repeating: How an existing image is treated.
        secrets: Values by name of the secrets that the definition uses.
        report: Receives the build's progress.

    Raises:
        BuildError: The build failed, a secret has no value, Apptainer is too old, this machine has another processor than
            the image, or a record is malformed. After a failed build, the message has the relevant lines of its output.
        ConfigError: Apptainer cannot use the temporary folder's path, or hpcdeploy did not write the file at `output`.
        DefinitionError: The definition is invalid.
        MissingProgramError: Apptainer is not installed.
    """
    check_secrets(definition, secrets)
    show = Show(report, masking(secrets.values()))
    folder, checksums = builds.work / definition.inputs[:16], builds.checksums
    with only_build(folder, show):
        remove(*left_in(folder))
        remove_unfinished(output)
        remove_unrecorded(output, builds.work)
        if builds.cache:
            builds.cache.remove_unfinished(definition.inputs)
        check_output(output, force=repeating.force, sha256=checksums.sha256)
        same_tools = _same_tools(builds) if repeating.exact_tools else None
        if not repeating.force and (known := _existing(definition, output, builds, is_recorded, same_tools, show)):
            return known
        built = _build(definition, output, folder, builds, secrets, show, force=repeating.force)
        forget(output, builds.work)
        if builds.cache and definition.environment:
            with suppress(OSError):  # a full disk, for example; the image itself is complete
                builds.cache.keep(built)
        return built


def _build(
    definition: Definition,
    output: Path,
    folder: Path,
    builds: LocalBuilds,
    secrets: Mapping[str, SecretValue],
    show: Show,
    *,
    force: bool,
) -> BuiltImage:
    """Build the image and its record at `output`. The build's `folder` is locked, and is empty afterwards."""

    @cache
    def apptainer() -> Apptainer:
        client = ApptainerClient(builds.program, kept_back=kept_back(secrets))
        _check(version := client.version(), definition)
        check_temporary(os.environ.get(variable("TMPDIR", version)) or str(folder / "tmp"))
        return Apptainer(client=client, version=version, arch=_arch_option(definition, version, builds.handlers))

    if builds.direct is None:
        apptainer()  # refuse a build that is impossible before anything is done
    build = LocalBuild(
        apptainer=apptainer,
        direct=builds.direct,
        work=builds.work,
        environments=Environments(builds.environments or builds.work.parent / "environments", builds.checksums.sha256),
        mirrors=tuple(builds.mirrors),
        secrets=secrets,
        show=show,
        force=force,
        downloads=builds.downloads,
        project=builds.project,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    with unfinished(output) as made, _explained(definition):
        toolchain, untested = build_image(build, definition, made, folder)
        built = describe(definition, made, toolchain, untested=untested, sha256=builds.checksums.sha256)
        with builds.checksums.renaming(made):
            place(made, output, builds.work)
    return write_record(replace(built, path=str(output)))


def _arch_option(definition: Definition, version: Version, handlers: Path) -> tuple[str, ...]:
    """Return the option for an image for another processor than this machine's, with which Apptainer pulls other bases.

    Raises:
        BuildError: This machine or this `version` of Apptainer cannot build the image.
    """
    wanted = definition.architecture
    if wanted is None or not needs_emulator(wanted, platform.machine(), handlers):
        return ()
    _check(version, definition, emulated=True)
    return ("--arch", wanted.name)


SameTools = Callable[[Toolchain | None], bool]


def _same_tools(builds: LocalBuilds) -> SameTools:
    """Return a function that tells whether a toolchain is one that this machine would build with now.

    If the builder was chosen automatically, both may have built the image (`MissingZstdError`).
    """
    from hpcdeploy.flows.direct_build import direct_toolchain, has_apptainer

    toolchains = [direct_toolchain(builds.direct)] if builds.direct else []
    if not builds.direct or (not builds.direct.is_chosen and has_apptainer()):
        toolchains.append(apptainer_toolchain(ApptainerClient(builds.program).version()))
    return lambda toolchain: toolchain in toolchains


def _toolchain_of(image: BuiltImage) -> Toolchain | None:
    """Return what built an image; None if this or another release of hpcdeploy did not record it as it would now."""
    if image.tools[:1] != (("hpcdeploy", __version__),):
        return None
    return Toolchain(builder=image.builder, program=image.apptainer, tools=image.tools[1:])


def _existing(
    definition: Definition,
    output: Path,
    builds: LocalBuilds,
    is_recorded: Callable[[BuiltImage], bool],
    same_tools: SameTools | None,
    show: Show,
) -> BuiltImage | None:
    """Return the user's own image with the same key, at `output` or copied there from the cache; None if there is none."""
    wanted = tuple(filter(None, (definition.inputs, definition.former)))
    known = read_record(output, inputs=wanted, sha256=builds.checksums.sha256)
    if known and not is_recorded(known):
        show.step(f"{output} exists, but is not from a build of yours; building it again")
    elif known and (same_tools is None or same_tools(_toolchain_of(known))):
        show.step(UNCHANGED)
        return known
    kept = builds.cache.find(definition.inputs, show.step) if builds.cache and definition.environment else None
    if builds.cache and kept and (same_tools is None or same_tools(_toolchain_of(kept))):
        show.step(FROM_CACHE)
        given = builds.cache.give(replace(kept, name=definition.name), output, builds.work)
        forget(output, builds.work)
        return given
    if same_tools and (known or kept):
        show.step("the image was built with other tools; building it again (--exact-tools)")
    return None


@contextmanager
def _explained(definition: Definition) -> Iterator[None]:
    """Raise a failure of Apptainer as `BuildError` with the relevant lines of its output."""
    from hpcdeploy.apptainer.client import CommandFailedError

    try:
        yield
    except CommandFailedError as error:
        raise BuildError(_failure(definition, "this machine", error.tail)) from error


def build_on(
    definition: Definition,
    session: Session,
    *,
    repeating: Repeating = NORMAL,
    secrets: Mapping[str, SecretValue] = NO_SECRETS,
    report: Report = ignore_event,
    carrying: Carrying = silently,
) -> BuiltImage:
    """Build `definition` on a login node; the image stays in the cluster's cache.

    One idempotent script looks for the image and builds it, or answers that it needs the definition's files. Then these are
    uploaded, and the script runs again. The values of secrets follow the script on its standard input.

    Args:
        definition: The definition to build.
        session: A session with the cluster.
        repeating: How an existing image is treated.
        secrets: Values by name of the secrets that the definition uses.
        report: Receives the build's progress.
        carrying: Shows the progress of the upload.

    Raises:
        BuildError: The build failed, a secret has no value, Apptainer is too old, the login node has another processor than
            the image, or its answer is malformed.
        DefinitionError: The definition is invalid.
        MissingProgramError: Apptainer is not installed on the login node.
        TransportError: The connection failed.
    """
    check_secrets(definition, secrets)
    cluster = session.cluster
    show = Show(report, masking(secrets.values()))
    with tempfile.TemporaryDirectory(prefix="hpcdeploy-") as folder:
        archives, checksums = _pack(definition, cluster.mirrors, Path(folder), show)
        script = build_script.building(
            definition,
            cluster,
            context_sha256=checksums["context"],
            code_sha256=checksums.get("code", ""),
            repeating=repeating,
            secrets=secrets,
            overrides=session.overrides,
        ).encode()
        stdin = script + secret_lines(secrets)
        answer = run_build(stdin, session, show, partial(_failure, definition))
        for _ in range(_MOST_UPLOADS):
            if answer.get("state") != "context":
                break
            _check(parse_version(str(answer.get("apptainer"))), definition, emulated=answer.get("emulated") is True)
            _upload(answer, archives, session, show, carrying)
            answer = run_build(stdin, session, show, partial(_failure, definition))
    if answer.get("state") != "built" or not is_path(answer.get("path")):
        raise unexpected(answer, session.where, show)
    image = read_image(answer.get("image"), f"the answer of {session.where}")
    return replace(image, name=definition.name, path=str(answer.get("path")), built_on=cluster.name, base=definition.base)


def _upload(answer: Answer, archives: Mapping[str, Path], session: Session, show: Show, carrying: Carrying) -> None:
    """Upload the archive that an `answer` of the login node names."""
    name = str(answer.get("need", "context"))
    if not is_path(answer.get("put")) or name not in archives:
        raise unexpected(answer, session.where, show)
    show.step(f"uploading {'the code' if name == 'code' else 'the files of the build'} to {session.where}")
    with carrying("uploading the build's files") as progress:
        session.put(archives[name], str(answer["put"]), progress=progress)
    show.step("building")


_MOST_UPLOADS = 3
"""Maximum number of archives that a login node may need in turn, such as the code and the files of the environment."""


def _pack(
    definition: Definition, mirrors: Sequence[tuple[str, str]], folder: Path, show: Show
) -> tuple[dict[str, Path], dict[str, str]]:
    """Pack the files of a build on a login node; return the paths of the archives, and their checksums, by name."""
    appended = definition.code and definition.environment and not definition.why_baked
    if definition.why_baked:
        show.step(f"note: the code is copied while the image is built: {definition.why_baked}")
    mark = folder / MARK
    mark.write_text(MARK)
    without = replace(definition, files=environment_files(definition, mark)) if appended else definition
    paths = {"context": folder / "context.tar"}
    text = redirect(pinned(definition.text, dict(definition.bases)), mirrors)
    checksums = {"context": pack_context(without, text, paths["context"])}
    if appended:
        paths["code"] = folder / "code.tar"
        code = [file for file in definition.files if belongs_to(definition.code, file)]
        checksums["code"] = pack_files(code, paths["code"])
    return paths, checksums


def fetch_built(
    image: BuiltImage, session: Session, output: Path, notes: Path, *, progress: Progress = ignore_progress
) -> BuiltImage:
    """Download an image from the cluster's cache to `output`, check its sha256, and write the record next to it.

    Args:
        image: The image on the cluster.
        session: A session with the cluster.
        output: The path of the image on this machine.
        notes: A private folder (`hpcdeploy.apptainer.placing`).
        progress: Receives the progress of the download.

    Raises:
        TransportError: The download failed, or the image is damaged.
    """
    part = output.with_name(f".{output.name}.part")
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        session.get(image.path, part, progress=progress)
        if sha256_of(part) != image.sha256:
            raise TransportError(
                f"the image downloaded from {session.where} is damaged: expected sha256 {image.sha256}; fetch it again"
            )
        part.chmod(0o755)
        place(part, output, notes)
    finally:
        part.unlink(missing_ok=True)
    fetched = write_record(replace(image, path=str(output), built_on="", cached_on=image.built_on))
    forget(output, notes)
    return fetched


def _failure(definition: Definition, where: str, tail: Sequence[str]) -> str:
    """Return the message for a failed build; `tail` is the end of the build's output."""
    return f"building {definition.name!r} on {where} failed:\n{explain(tail)}"


def _check(version: Version, definition: Definition, *, emulated: bool = False) -> None:
    """Raise `BuildError` if this `version` of Apptainer cannot build `definition`, with an emulator if `emulated`."""
    stages = check_definition(definition.text, dict(definition.build_args))
    check_version(
        version,
        empty_argument=any(not value for _, value in definition.build_args),
        headers=[stage.header for stage in stages],
        emulated=emulated,
    )
