"""From a definition to a tested image: with the Apptainer of this machine, or with a cluster's, on its login node."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hpcdeploy import limits
from hpcdeploy.apptainer import login_node
from hpcdeploy.apptainer.context import pack_context, stage_context
from hpcdeploy.apptainer.diagnosis import explain
from hpcdeploy.apptainer.progress import Report, Show, ignore_event
from hpcdeploy.apptainer.record import describe, read_image, read_record, write_record
from hpcdeploy.apptainer.secrets import check_secrets, kept_back, secret_lines, serving
from hpcdeploy.apptainer.temporary import check_temporary
from hpcdeploy.apptainer.version import Version, check_version, parse_version
from hpcdeploy.apptainer.workplace import only_build, remove
from hpcdeploy.cluster import Cluster
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.mirrors import needs_plain_http, redirect
from hpcdeploy.errors import BuildError, MissingProgramError, TransportError
from hpcdeploy.flows.answered import is_path
from hpcdeploy.flows.last_words import check_began
from hpcdeploy.image import BuiltImage, Definition
from hpcdeploy.login_node import STREAM_SHELL, read_answer
from hpcdeploy.progress import Progress, ignore_progress
from hpcdeploy.secret import NO_SECRETS, SecretValue, masking
from hpcdeploy.transport.contract import Completed, Transport
from hpcdeploy.whole_file import sha256_of


def build_here(
    definition: Definition,
    output: Path,
    *,
    program: str = "",
    work: Path,
    is_recorded: Callable[[BuiltImage], bool],
    mirrors: Sequence[tuple[str, str]] = (),
    force: bool = False,
    secrets: Mapping[str, SecretValue] = NO_SECRETS,
    report: Report = ignore_event,
) -> BuiltImage:
    """Build `definition` with this machine's Apptainer into `output`, and write the record beside it.

    The same inputs are not built again while image and record are there, unless `force`, and `is_recorded` tells that the
    person built that file: a project may bring along an image with a record that says anything. `work` is a folder for
    builds (one folder each inside, removed afterwards); a set APPTAINER_TMPDIR is used for Apptainer's own temporary files.
    `secrets` are the values of those that the definition asks for. Raises `MissingProgramError` where there is no Apptainer,
    `BuildError` with the lines that matter.
    """
    from hpcdeploy.apptainer.client import ApptainerClient, CommandFailedError

    check_secrets(definition, secrets)
    client = ApptainerClient(program, kept_back=kept_back(secrets))
    version = client.version()
    _check(version, definition)
    text = redirect(definition.text, mirrors)
    prefix = "SINGULARITY" if version.program.startswith("singularity") else "APPTAINER"
    environment = {f"{prefix}_NOHTTPS": "1"} if needs_plain_http(text) else {}
    show = Show(report, masking(secrets.values()))
    folder = work / definition.inputs[:16]
    with only_build(folder, show):
        known = None if force else read_record(output, inputs=definition.inputs)
        if known and is_recorded(known):
            show.step("these inputs were built before")
            return known
        if known:
            show.step(f"{output} and its record are not from a build of yours: building it")
        check_temporary(os.environ.get(f"{prefix}_TMPDIR") or str(folder / "tmp"))
        left = (folder / "context", folder / "tmp", folder / "secrets")
        remove(*left)
        try:
            path = stage_context(definition, text, folder / "context")
            if not os.environ.get(f"{prefix}_TMPDIR"):
                (folder / "tmp").mkdir()
                environment[f"{prefix}_TMPDIR"] = str((folder / "tmp").absolute())
            output.parent.mkdir(parents=True, exist_ok=True)
            with serving(secrets, folder / "secrets") as options:
                client.build(
                    path,
                    output,
                    build_args=definition.build_args,
                    options=options,
                    environment=environment,
                    on_line=show.line,
                    mask=show.mask,
                )
        except CommandFailedError as error:
            raise BuildError(_failure(definition, "this machine", error.tail)) from error
        finally:
            remove(*left)
        return write_record(describe(definition, output, version.text))


def build_on(
    definition: Definition,
    cluster: Cluster,
    transport: Transport,
    *,
    force: bool = False,
    secrets: Mapping[str, SecretValue] = NO_SECRETS,
    report: Report = ignore_event,
    progress: Progress = ignore_progress,
    overrides: Path | None = None,
) -> BuiltImage:
    """Build `definition` on the login node of `cluster`; the image stays in the cluster's cache.

    One script does it all and can be run again at any time: first it tells whether the image is there and which Apptainer
    is, then it gets the files, then it builds. The values of the `secrets` that the definition asks for follow it on its
    standard input. `progress` is that of the upload. Raises `BuildError`, `MissingProgramError`, and what the transport
    raises.
    """
    check_secrets(definition, secrets)
    text = redirect(definition.text, cluster.mirrors)
    show = Show(report, masking(secrets.values()))
    with tempfile.TemporaryDirectory(prefix="hpcdeploy-") as folder:
        archive = Path(folder) / "context.tar"
        context_sha256 = pack_context(definition, text, archive)
        script = login_node.building(
            definition,
            cluster,
            context_sha256=context_sha256,
            plain_http=needs_plain_http(text),
            force=force,
            secrets=secrets,
            overrides=overrides,
        ).encode()
        stdin = script + secret_lines(secrets)
        answer = _run(stdin, definition, transport, show)
        if answer.get("state") == "context":
            version = parse_version(str(answer.get("apptainer")))
            _check(version, definition)
            show.step(f"sending {len(definition.files)} files to {transport.where}")
            if not is_path(answer.get("put")):
                raise _odd(answer, transport, show)
            transport.put(archive, str(answer["put"]), progress=progress)
            answer = _run(stdin, definition, transport, show)
    if answer.get("state") != "built" or not is_path(answer.get("path")):
        raise _odd(answer, transport, show)
    image = read_image(answer.get("image"), f"the answer of {transport.where}")
    return replace(image, name=definition.name, path=str(answer.get("path")), built_on=cluster.name, base=definition.base)


def fetch_built(
    image: BuiltImage, transport: Transport, output: Path, *, progress: Progress = ignore_progress
) -> BuiltImage:
    """Copy an image from the cluster's cache to `output`, check its sha256, and write the record beside it."""
    part = output.with_name(f".{output.name}.part")
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        transport.get(image.path, part, progress=progress)
        if sha256_of(part) != image.sha256:
            raise TransportError(
                f"the image that came from {transport.where} is damaged: its sha256 is not {image.sha256}; fetch it again"
            )
        part.chmod(0o755)
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
    return write_record(replace(image, path=str(output), built_on="", cached_on=image.built_on))


def _run(stdin: bytes, definition: Definition, transport: Transport, show: Show) -> Mapping[str, object]:
    done: Completed = transport.run(STREAM_SHELL, stdin=stdin, on_stderr=show.piece, limit=limits.BUILD)
    show.end()
    try:
        answer = read_answer(done.stdout)
    except ValueError as error:
        raise BuildError(f"{show.mask(str(error))}; run the same command again") from None
    if done.exit_code == 0 and answer is not None:
        return answer
    if done.exit_code == login_node.FAILED:
        raise BuildError(_failure(definition, transport.where, tuple(show.tail)))
    # The values are on the script's standard input, which a shell that reads no script may repeat.
    masked = replace(done, stderr=show.mask(done.stderr.decode("utf-8", "replace")).encode())
    check_began(masked, transport.where, BuildError)
    # A line of setup may print its own error before it ends the script, which then prints another.
    errors = "; ".join(line.removeprefix("error: ") for line in show.tail if line.startswith("error: "))
    if "is not on this machine's PATH" in errors:
        raise MissingProgramError(f"{transport.where}: {errors}")
    said = errors or " / ".join(list(show.tail)[-3:]) or "nothing"
    raise BuildError(f"{transport.where}: the build script ended with exit code {done.exit_code}; it said: {said}")


def _odd(answer: Mapping[str, object], transport: Transport, show: Show) -> BuildError:
    said = show.mask(repr(dict(answer)))[:500]
    return BuildError(f"{transport.where} answered {said}, where a built image was expected; run this again")


def _failure(definition: Definition, where: str, tail: Sequence[str]) -> str:
    return f"building {definition.name!r} on {where} failed:\n{explain(tail)}"


def _check(version: Version, definition: Definition) -> None:
    """Raise `BuildError` where this `version` of Apptainer cannot build `definition`."""
    stages = check_definition(definition.text, dict(definition.build_args))
    check_version(
        version,
        empty_argument=any(not value for _, value in definition.build_args),
        headers=[stage.header for stage in stages],
    )
