"""List the files on this machine that a project's settings name, and find the files outside of the project.

Data outside of the project's folder is common, so a project may name it. But the author of a project may be another person,
and could name a confidential file of the user. So hpcdeploy prompts the user before it reads a file outside of the project
(`hpcdeploy.cli.trust`). There is no prompt for files that the user names on the command line.
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
        key: The key in the settings, such as ``inputs``.
        source: The path as it is written in the settings.
        path: The absolute path after all links were followed.
    """

    key: str
    source: str
    path: Path


Admit = Callable[[tuple[NamedFile, ...]], None]
"""A function that decides whether hpcdeploy may read files that a project's settings name and that are outside of it.

The function is called before the files are read. It returns if all files are allowed, and raises `ConfigError` otherwise.
"""


def refuse(files: tuple[NamedFile, ...]) -> None:
    """Reject every file.

    Raises:
        ConfigError: Always.
    """
    listed = ", ".join(f"{file.key}: {file.source}" for file in files)
    raise ConfigError(f"the project's settings name files outside of the project ({listed}); expected files of the project")


def admit_all(_files: tuple[NamedFile, ...]) -> None:
    """Allow every file; for commands that only print what they would do."""


def outside(files: Iterable[NamedFile], root: Path) -> tuple[NamedFile, ...]:
    """Return those of `files` that are outside of the project's folder `root` and of its git work tree (`Boundary`)."""
    boundary = Boundary(root)
    return tuple(file for file in files if not boundary.holds(file.path))


def files_of_job(
    settings: JobSettings, options: JobSettings, root: Path, environ: Mapping[str, str] = os.environ
) -> Iterator[NamedFile]:
    """Yield the files that a submission reads because a job's settings name them.

    Args:
        settings: The settings of the job in the project's file.
        options: The settings from the command line; files that they replace are left out.
        root: The project's folder, which relative paths start from.
        environ: The environment variables.
    """
    image = settings.image or ""
    if options.image is None and image.endswith(".sif") and "://" not in image:
        yield _named("image", image, in_folder(image, root, environ))
    if options.code is None and settings.code:
        yield _named("code", settings.code.source, absolute(settings.code.source, root))
    places = {given.destination for given in options.inputs}
    for given in settings.inputs:
        if given.destination not in places:
            yield _named("inputs", given.source, absolute(given.source, root))
    yield from _sweep(settings, options, root, environ)


def files_of_job_here(
    settings: JobSettings, options: JobSettings, root: Path, environ: Mapping[str, str] = os.environ
) -> Iterator[NamedFile]:
    """Yield the files that a run on this machine uses because a job's settings name them.

    These are the files that the container can read (the code and the inputs that `hpcdeploy.config.job_files.mounted_here`
    binds, and the job's binds), and the file with the parameters of a sweep. The arguments are those of `files_of_job`.
    """
    if options.code is None and settings.code and settings.code.destination[:1] in ("", "/"):
        yield _named("code", settings.code.source, absolute(settings.code.source, root))
    for given in settings.inputs:
        if given.destination.startswith("/"):
            yield _named("inputs", given.source, absolute(given.source, root))
    places = {bind.destination or bind.source for bind in options.binds}
    for bind in settings.binds:
        try:
            source = expanded(bind.source, environ)
        except ConfigError:
            continue  # A variable in the path is not set. The bind is rejected later, so no file is read.
        if (bind.destination or bind.source) not in places:
            yield _named("binds", bind.source, root / source)
    yield from _sweep(settings, options, root, environ)


def files_of_secrets(
    secrets: Iterable[Secret], names: Collection[str], root: Path, environ: Mapping[str, str] = os.environ
) -> Iterator[NamedFile]:
    """Yield the files of the `secrets` in an image's settings; secrets whose name is not in `names` are left out."""
    for secret in secrets:
        if secret.file and secret.name in names:
            yield _named(f"secrets.{secret.name}", secret.file, in_folder(secret.file, root, environ))


def in_folder(source: str, folder: Path, environ: Mapping[str, str]) -> Path:
    """Return the path of `source`: in the home folder if `source` starts with ``~/``, otherwise relative to `folder`."""
    return home_folder(environ) / source[2:] if source.startswith("~/") else folder / source


def _sweep(settings: JobSettings, options: JobSettings, root: Path, environ: Mapping[str, str]) -> Iterator[NamedFile]:
    if options.array is None and isinstance(settings.array, SweepFile):
        yield _named("sweep.file", settings.array.path, in_folder(settings.array.path, root, environ))


def _named(key: str, source: str, path: Path) -> NamedFile:
    return NamedFile(key=key, source=source, path=followed(path))
