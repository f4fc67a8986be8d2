"""List the files of this machine that a project's settings name, and find those outside of the project.

A project may have been written by another user, but data outside of a project is common. So such a file is not an error:
the user is prompted before it is read (`hpcdeploy.cli.trust`). There is no prompt for files that the user names on the
command line.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

from hpcdeploy.boundary import Boundary, followed
from hpcdeploy.config.job_files import absolute
from hpcdeploy.config.project import JobSettings
from hpcdeploy.errors import ConfigError
from hpcdeploy.folders import home_folder
from hpcdeploy.frozen import frozen
from hpcdeploy.image import Secret
from hpcdeploy.job import SweepFile
from hpcdeploy.shell import expanded


@frozen
class NamedFile:
    """A file or folder that a project's settings name.

    Attributes:
        key: The key in the settings.
        source: The value of the key.
        path: The absolute path without links.
    """

    key: str
    source: str
    path: Path


Admit = Callable[[tuple[NamedFile, ...]], None]
"""Confirms the files outside of a project that the project names, before they are read; raises `ConfigError` to reject
them."""


def refuse(files: tuple[NamedFile, ...]) -> None:
    """Reject every file.

    Raises:
        ConfigError: Always.
    """
    told = ", ".join(f"{file.key}: {file.source}" for file in files)
    raise ConfigError(f"the project names files outside of it ({told}); expected files of the project")


def admit_all(_files: tuple[NamedFile, ...]) -> None:
    """Accept every file, for a command that sends nothing."""


def outside(files: Iterable[NamedFile], root: Path) -> tuple[NamedFile, ...]:
    """Return those of `files` that are outside of the project's folder `root` and of its git work tree (`Boundary`)."""
    boundary = Boundary(root)
    return tuple(file for file in files if not boundary.holds(file.path))


def files_of_job(
    own: JobSettings, options: JobSettings, root: Path, environ: Mapping[str, str] = os.environ
) -> Iterator[NamedFile]:
    """Yield the files that a submission reads because the project's settings, `own`, name them.

    Files that the user's `options` replace are left out. Paths are relative to the project's folder `root`.
    """
    image = own.image or ""
    if options.image is None and image.endswith(".sif") and "://" not in image:
        yield _named("image", image, in_folder(image, root, environ))
    if options.code is None and own.code:
        yield _named("code", own.code.source, absolute(own.code.source, root))
    places = {given.destination for given in options.inputs}
    for given in own.inputs:
        if given.destination not in places:
            yield _named("inputs", given.source, absolute(given.source, root))
    yield from _sweep(own, options, root, environ)


def files_of_job_here(
    own: JobSettings, options: JobSettings, root: Path, environ: Mapping[str, str] = os.environ
) -> Iterator[NamedFile]:
    """Yield the files that a job's container on this machine can read because the project's settings name them.

    They are the code and the inputs with an absolute destination (`hpcdeploy.config.job_files.mounted_here`), the job's
    binds, and the parameters of a sweep.
    """
    if options.code is None and own.code and own.code.destination[:1] in ("", "/"):
        yield _named("code", own.code.source, absolute(own.code.source, root))
    for given in own.inputs:
        if given.destination.startswith("/"):
            yield _named("inputs", given.source, absolute(given.source, root))
    places = {bind.destination or bind.source for bind in options.binds}
    for bind in own.binds:
        try:
            source = expanded(bind.source, environ)
        except ConfigError:
            continue  # a variable is not set; the bind itself is rejected later
        if (bind.destination or bind.source) not in places:
            yield _named("binds", bind.source, root / source)
    yield from _sweep(own, options, root, environ)


def files_of_secrets(
    secrets: Iterable[Secret], names: Collection[str], root: Path, environ: Mapping[str, str] = os.environ
) -> Iterator[NamedFile]:
    """Yield the files of those `secrets` of an image's settings whose name is in `names`."""
    for secret in secrets:
        if secret.file and secret.name in names:
            yield _named(f"secrets.{secret.name}", secret.file, in_folder(secret.file, root, environ))


def in_folder(source: str, folder: Path, environ: Mapping[str, str]) -> Path:
    """Return the path `source`, which is relative to `folder` or starts with ``/`` or ``~/``."""
    return home_folder(environ) / source[2:] if source.startswith("~/") else folder / source


def _sweep(own: JobSettings, options: JobSettings, root: Path, environ: Mapping[str, str]) -> Iterator[NamedFile]:
    if options.array is None and isinstance(own.array, SweepFile):
        yield _named("sweep.file", own.array.path, in_folder(own.array.path, root, environ))


def _named(key: str, source: str, path: Path) -> NamedFile:
    return NamedFile(key=key, source=source, path=followed(path))
