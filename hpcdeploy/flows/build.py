"""Build a definition into a tested image with Apptainer, on this machine or on a cluster's login node."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdeploy.apptainer import build_script
from hpcdeploy.apptainer.build_folder import check_temporary, only_build, pack_context, remove, stage_context
from hpcdeploy.apptainer.build_progress import UNCHANGED, Report, Show, ignore_event
from hpcdeploy.apptainer.build_record import check_output, describe, read_image, read_record, write_record
from hpcdeploy.apptainer.client import ApptainerClient, Version, check_version, parse_version
from hpcdeploy.apptainer.diagnosis import explain
from hpcdeploy.apptainer.secret_pipes import check_secrets, kept_back, secret_lines, serving
from hpcdeploy.definition.base_images import needs_plain_http, redirect
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.errors import BuildError, TransportError
from hpcdeploy.frozen import frozen
from hpcdeploy.image import BuiltImage, Definition
from hpcdeploy.progress import Carrying, Progress, ignore_progress, silently
from hpcdeploy.remote.answers import is_path
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
        direct: How to build without Apptainer. If the user did not choose this and the result may differ from Apptainer's,
            Apptainer builds the image. None to build with Apptainer.
    """

    work: Path
    program: str = ""
    mirrors: Sequence[tuple[str, str]] = ()
    direct: "DirectBuild | None" = None


def build_here(
    definition: Definition,
    output: Path,
    builds: LocalBuilds,
    *,
    is_recorded: Callable[[BuiltImage], bool],
    force: bool = False,
    secrets: Mapping[str, SecretValue] = NO_SECRETS,
    report: Report = ignore_event,
) -> BuiltImage:
    """Build `definition` on this machine into `output`, and write the image's record next to it.

    If `output` is already a build of the same inputs, that image is returned, unless `force` is set. A project may contain
    an image with a forged record file, so `is_recorded` must confirm that the user built the image.

    Args:
        definition: The definition to build.
        output: The path of the image.
        builds: The program and the folder for builds.
        is_recorded: Tells whether the user's own record (the database, not the file next to the image) has this build.
        force: Build even if the image exists; overwrite any file at `output`.
        secrets: Values by name of the secrets that the definition uses.
        report: Receives the build's progress.

    Raises:
        BuildError: The build failed, a secret has no value, Apptainer is too old, or a record is malformed. After a failed
            build, the message has the relevant lines of its output.
        ConfigError: Apptainer cannot use the temporary folder's path, or hpcdeploy did not write the file at `output`.
        DefinitionError: The definition is invalid.
        MissingProgramError: Apptainer is not installed.
    """
    check_secrets(definition, secrets)
    show = Show(report, masking(secrets.values()))
    folder = builds.work / definition.inputs[:16]
    if built := _without_apptainer(definition, output, builds, show, is_recorded, force=force):
        return built
    client = ApptainerClient(builds.program, kept_back=kept_back(secrets))
    _check(version := client.version(), definition)
    text = redirect(definition.text, builds.mirrors)
    with only_build(folder, show):
        check_output(output, force=force)
        if not force and (known := _unchanged(definition, output, is_recorded, show)):
            return known
        check_temporary(os.environ.get(_variable("TMPDIR", version)) or str(folder / "tmp"))
        with _cleaned(folder):
            path = stage_context(definition, text, folder / "context")
            environment = _environment(text, version, folder)
            output.parent.mkdir(parents=True, exist_ok=True)
            with serving(secrets, folder / "secrets") as options, _explained(definition):
                client.build(
                    path,
                    output,
                    build_args=definition.build_args,
                    options=(*client.compressing(definition.compression), *options),
                    environment=environment,
                    on_line=show.line,
                    mask=show.mask,
                )
        return write_record(describe(definition, output, version.text))


def _without_apptainer(
    definition: Definition,
    output: Path,
    builds: LocalBuilds,
    show: Show,
    is_recorded: Callable[[BuiltImage], bool],
    *,
    force: bool,
) -> BuiltImage | None:
    """Build the image without Apptainer, and write its record; None if Apptainer is to build it."""
    if builds.direct is None:
        return None
    from hpcdeploy.flows.direct_build import build_directly

    folder = builds.work / definition.inputs[:16]
    with only_build(folder, show):
        check_output(output, force=force)
        if not force and (known := _unchanged(definition, output, is_recorded, show)):
            return known
        with _cleaned(folder):
            builder = build_directly(definition, builds.direct, output, folder / "context", show)
        return write_record(describe(definition, output, builder)) if builder else None


def _unchanged(
    definition: Definition, output: Path, is_recorded: Callable[[BuiltImage], bool], show: Show
) -> BuiltImage | None:
    """Return the image at `output` if it is the user's own build of the same inputs; report this through `show`."""
    known = read_record(output, inputs=definition.inputs)
    if known is None:
        return None
    if is_recorded(known):
        show.step(UNCHANGED)
        return known
    show.step(f"{output} exists, but is not from a build of yours; building it again")
    return None


@contextmanager
def _explained(definition: Definition) -> Iterator[None]:
    """Raise a failure of Apptainer as `BuildError` with the relevant lines of its output."""
    from hpcdeploy.apptainer.client import CommandFailedError

    try:
        yield
    except CommandFailedError as error:
        raise BuildError(_failure(definition, "this machine", error.tail)) from error


@contextmanager
def _cleaned(folder: Path) -> Iterator[None]:
    """Remove a build's files from its `folder`: files of an interrupted build before this one, and its own afterwards."""
    left = (folder / "context", folder / "tmp", folder / "secrets")
    remove(*left)
    try:
        yield
    finally:
        remove(*left)


def _environment(text: str, version: Version, folder: Path) -> dict[str, str]:
    """Return the environment variables for a build of the definition `text`.

    Unless the user has set a temporary folder, one is created in `folder`.
    """
    environment = {_variable("NOHTTPS", version): "1"} if needs_plain_http(text) else {}
    temporary = _variable("TMPDIR", version)
    if not os.environ.get(temporary):
        (folder / "tmp").mkdir()
        environment[temporary] = str((folder / "tmp").absolute())
    return environment


def _variable(name: str, version: Version) -> str:
    """Return the full name of a variable; its prefix depends on whether the program is Apptainer or Singularity."""
    return f"{'SINGULARITY' if version.program.startswith('singularity') else 'APPTAINER'}_{name}"


def build_on(
    definition: Definition,
    session: Session,
    *,
    force: bool = False,
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
        force: Build even if the image exists.
        secrets: Values by name of the secrets that the definition uses.
        report: Receives the build's progress.
        carrying: Shows the progress of the upload.

    Raises:
        BuildError: The build failed, a secret has no value, Apptainer is too old, or the login node's answer is malformed.
        DefinitionError: The definition is invalid.
        MissingProgramError: Apptainer is not installed on the login node.
        TransportError: The connection failed.
    """
    check_secrets(definition, secrets)
    cluster = session.cluster
    text = redirect(definition.text, cluster.mirrors)
    show = Show(report, masking(secrets.values()))
    with tempfile.TemporaryDirectory(prefix="hpcdeploy-") as folder:
        archive = Path(folder) / "context.tar"
        context_sha256 = pack_context(definition, text, archive)
        script = build_script.building(
            definition,
            cluster,
            context_sha256=context_sha256,
            plain_http=needs_plain_http(text),
            force=force,
            secrets=secrets,
            overrides=session.overrides,
        ).encode()
        stdin = script + secret_lines(secrets)
        answer = run_build(stdin, session, show, partial(_failure, definition))
        if answer.get("state") == "context":
            version = parse_version(str(answer.get("apptainer")))
            _check(version, definition)
            show.step(f"uploading {len(definition.files)} files to {session.where}")
            if not is_path(answer.get("put")):
                raise unexpected(answer, session.where, show)
            with carrying("uploading the build's files") as progress:
                session.put(archive, str(answer["put"]), progress=progress)
            show.step("building")
            answer = run_build(stdin, session, show, partial(_failure, definition))
    if answer.get("state") != "built" or not is_path(answer.get("path")):
        raise unexpected(answer, session.where, show)
    image = read_image(answer.get("image"), f"the answer of {session.where}")
    return replace(image, name=definition.name, path=str(answer.get("path")), built_on=cluster.name, base=definition.base)


def fetch_built(image: BuiltImage, session: Session, output: Path, *, progress: Progress = ignore_progress) -> BuiltImage:
    """Download an image from the cluster's cache to `output`, check its sha256, and write the record next to it.

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
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
    return write_record(replace(image, path=str(output), built_on="", cached_on=image.built_on))


def _failure(definition: Definition, where: str, tail: Sequence[str]) -> str:
    """Return the message for a failed build; `tail` is the end of the build's output."""
    return f"building {definition.name!r} on {where} failed:\n{explain(tail)}"


def _check(version: Version, definition: Definition) -> None:
    """Raise `BuildError` if this `version` of Apptainer cannot build `definition`."""
    stages = check_definition(definition.text, dict(definition.build_args))
    check_version(
        version,
        empty_argument=any(not value for _, value in definition.build_args),
        headers=[stage.header for stage in stages],
    )
