"""Prepare an image from a Dockerfile: translate its instructions, and find the files of the context that it copies."""

import os
import tarfile
from pathlib import Path

from hpcdeploy.boundary import Boundary
from hpcdeploy.definition.dockerfile.context import Context, Entry, Ignore, read_ignore
from hpcdeploy.definition.dockerfile.parsing import parse_dockerfile
from hpcdeploy.definition.dockerfile.rendering import render_dockerfile, staged_place
from hpcdeploy.definition.dockerfile.translation import translate
from hpcdeploy.definition.guard import argument
from hpcdeploy.errors import DefinitionError, HpcdeployError
from hpcdeploy.flows.sources.contract import Prepared, Request
from hpcdeploy.flows.sources.staging import context_file, read_text
from hpcdeploy.image import ContextFile
from hpcdeploy.known_files import digest_of, document_of
from hpcdeploy.source import DockerfileSource

_ZSTD = b"\x28\xb5\x2f\xfd"


def prepare(request: Request[DockerfileSource]) -> Prepared:
    """Make the definition of a Dockerfile. The configurations of its base images are queried from their registries.

    Raises:
        DefinitionError: An instruction cannot be translated (the message has file, line and reason), or a build argument is
            not declared.
        EnvironmentFileError: A file is missing, or outside the project.
        RegistryError: A registry query failed.
    """
    source = request.source
    given = {**dict(argument(name, value) for name, value in request.settings.build_args), **request.build_args}
    folder, boundary = request.project / source.context, Boundary(request.project)
    boundary.check(folder, f"the build's context is {folder}")
    text = read_text(request.project / source.file, boundary)
    try:
        plan = translate(
            parse_dockerfile(text),
            context=read_context(folder, ignore_of(request.project / source.file, folder, boundary)),
            image_config=request.image_config,
            build_args=given,
            target=source.target,
            architecture=request.settings.architecture,
        )
    except RecursionError as error:
        raise DefinitionError(f"{source.file}: its stages depend on each other too deeply; merge some stages") from error
    except HpcdeployError as error:
        if isinstance(error, DefinitionError) or str(error).startswith("line "):
            raise type(error)(f"{source.file}: {error}") from error
        raise
    known = dict(plan.known)
    if odd := next((name for name in given if name not in known), None):
        raise DefinitionError(
            f"{source.file}: the build argument {odd!r} is not declared by an ARG of a stage that is built; declared are: "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    files = tuple(
        _staged(folder / file.source, staged_place(number, file.place), boundary)
        for number, stage in enumerate(plan.stages)
        for file in stage.files
    )
    return Prepared(
        text=render_dockerfile(plan, request.settings, file=source.file, overrides=request.project),
        files=files,
        arguments=known,
        notes=plan.notes,
    )


def _staged(path: Path, staged: str, within: Boundary) -> ContextFile:
    within.check(path, of_git=True)  # COPY . also copies .git, as in Docker
    return context_file(path, staged)


def ignore_of(dockerfile: Path, folder: Path, within: Boundary) -> Ignore:
    """Read the ignore file of a Dockerfile: ``NAME.dockerignore`` in its folder, else ``.dockerignore`` of the context."""
    for path in (dockerfile.with_name(f"{dockerfile.name}.dockerignore"), folder / ".dockerignore"):
        if path.exists():
            return read_ignore(read_text(path, within))
    return Ignore()


def read_context(folder: Path, ignore: Ignore) -> Context:
    """List the files of the context `folder` that `ignore` does not exclude. Links are listed, not followed.

    Raises:
        DefinitionError: `folder` is not a folder.
    """
    if not folder.is_dir():
        raise DefinitionError(f"the build context {folder} is not a folder; correct 'context'")
    entries: dict[str, Entry] = {}
    for top, folders, names in os.walk(folder):
        start = Path(top).relative_to(folder)
        for name in sorted([*folders, *names]):
            path = (start / name).as_posix()
            real = Path(top) / name
            ignored = ignore.ignores(path)
            if real.is_dir() and not real.is_symlink():
                if ignored and not ignore.has_exceptions:
                    folders.remove(name)
            elif not real.is_file() and not real.is_symlink():
                continue  # a socket or a device, which docker leaves out too
            if not ignored:
                entries |= _parents(entries, folder, path)
                entries[path] = _entry(real)
        folders.sort()
    return Context(entries=entries, is_archive=lambda path: _is_archive(folder / path))


def _parents(entries: dict[str, Entry], folder: Path, path: str) -> dict[str, Entry]:
    """Return the parent folders that `entries` lacks: a pattern with ``!`` includes an entry of an ignored folder."""
    above = Path(path).parents
    return {
        parent.as_posix(): _entry(folder / parent) for parent in above if parent.name and parent.as_posix() not in entries
    }


def _entry(path: Path) -> Entry:
    mode = path.lstat().st_mode & 0o7777
    if path.is_symlink():
        return Entry(kind="link", mode=mode, target=str(path.readlink()))
    return Entry(kind="folder" if path.is_dir() else "file", mode=mode)


def _is_archive(path: Path) -> bool:
    """Tell whether ADD would unpack a file.

    ADD unpacks a file whose content is a tar archive, uncompressed or compressed with gzip, bzip2 or xz.
    """
    return bool(document_of(f"archive {digest_of(path)}", lambda: {"archive": _opens_as_archive(path)})["archive"])


def _opens_as_archive(path: Path) -> bool:
    with path.open("rb") as file:
        if file.read(4) == _ZSTD:
            raise DefinitionError(
                f"{path} is compressed with zstd, which not every tar can unpack; COPY it and unpack it in a RUN"
            )
    try:
        with tarfile.open(path) as archive:
            return archive.next() is not None
    except (tarfile.TarError, EOFError, OSError):
        return False
