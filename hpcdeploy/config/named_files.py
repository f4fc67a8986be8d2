"""Files of this machine that a project's settings name, and which of them lie outside of the project.

A project may be somebody else's, and data outside of a project is common. So such a file is no error: the person is asked
before it is read (`hpcdeploy.cli.trust`). What the person names on the command line is not asked about.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy.boundary import Boundary, followed
from hpcdeploy.config.job_files import absolute
from hpcdeploy.config.project import JobSettings
from hpcdeploy.errors import ConfigError
from hpcdeploy.folders import home_folder
from hpcdeploy.image import Secret
from hpcdeploy.job import SweepFile
from hpcdeploy.shell import expanded


@dataclass(frozen=True, kw_only=True)
class NamedFile:
    """A file or folder that a project's settings name.

    ``key`` is the key that names it, ``source`` what stands there. ``path`` is absolute; links are followed.
    """

    key: str
    source: str
    path: Path


Admit = Callable[[tuple[NamedFile, ...]], None]
"""Takes the files outside of a project that the project names, before they are read; raises `ConfigError` to refuse them."""


def refuse(files: tuple[NamedFile, ...]) -> None:
    """Refuse every file; raises `ConfigError`."""
    told = ", ".join(f"{file.key}: {file.source}" for file in files)
    raise ConfigError(f"the project names files outside of it ({told}); expected files of the project")


def admit_all(_files: tuple[NamedFile, ...]) -> None:
    """Admit every file, for a command that sends nothing."""


def outside(files: Iterable[NamedFile], root: Path) -> tuple[NamedFile, ...]:
    """Return those of `files` that lie neither in the project's folder `root` nor in its git work tree (`Boundary`)."""
    boundary = Boundary(root)
    return tuple(file for file in files if not boundary.holds(file.path))


def files_of_job(
    own: JobSettings, options: JobSettings, root: Path, environ: Mapping[str, str] = os.environ
) -> Iterator[NamedFile]:
    """Yield what a submission of a job reads here because the project's settings, `own`, name it.

    What `options`, the person's, put in its place is left out. Paths are relative to the project's folder `root`.
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
    """Yield what a container of a job on this machine sees because the project's settings name it.

    That is the code and the inputs with an absolute place, as `hpcdeploy.config.job_files.mounted_here` binds them, the
    job's binds, and the parameters of a sweep.
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
            continue  # a variable that is not set: the bind itself is refused later
        if (bind.destination or bind.source) not in places:
            yield _named("binds", bind.source, root / source)
    yield from _sweep(own, options, root, environ)


def files_of_secrets(
    secrets: Iterable[Secret], names: Collection[str], root: Path, environ: Mapping[str, str] = os.environ
) -> Iterator[NamedFile]:
    """Yield the files of those `secrets` of an image's settings that are called one of `names`."""
    for secret in secrets:
        if secret.file and secret.name in names:
            yield _named(f"secrets.{secret.name}", secret.file, in_folder(secret.file, root, environ))


def in_folder(source: str, folder: Path, environ: Mapping[str, str]) -> Path:
    """Return the path that `source` means: relative to `folder`, or from ``/`` or ``~/``."""
    return home_folder(environ) / source[2:] if source.startswith("~/") else folder / source


def _sweep(own: JobSettings, options: JobSettings, root: Path, environ: Mapping[str, str]) -> Iterator[NamedFile]:
    if options.array is None and isinstance(own.array, SweepFile):
        yield _named("sweep.file", own.array.path, in_folder(own.array.path, root, environ))


def _named(key: str, source: str, path: Path) -> NamedFile:
    return NamedFile(key=key, source=source, path=followed(path))
