"""Resolve the target of ``hpcdeploy run TARGET``: a job, an image of the project, a file, or a registry reference."""

from collections.abc import Callable
from pathlib import Path

from hpcdeploy.config.named_files import Admit, refuse
from hpcdeploy.config.project import JobSettings, Project
from hpcdeploy.config.reading import found
from hpcdeploy.config.resolution import resolve_job_here
from hpcdeploy.engine.apptainer import INSTANCE
from hpcdeploy.engine.contract import SCHEME
from hpcdeploy.errors import AuthenticationError, ConfigError, RegistryError
from hpcdeploy.flows.images import Resolve, UsesPlainHttp, newest_reference
from hpcdeploy.frozen import frozen
from hpcdeploy.image import PublishedImage
from hpcdeploy.job import Job
from hpcdeploy.plain_text import meant
from hpcdeploy.registry.reference import parse_image
from hpcdeploy.source import OciSource
from hpcdeploy.store import Store

_ADDRESSES = ("oras://", SCHEME)
_ARCHIVES = ("oci-archive:", "docker-archive:")


@frozen
class Wanted:
    """The target that the user named, as a job.

    Attributes:
        job: The job. Its image is written as in the settings or the command.
        of_project: The job is from the project's settings; else it was made from an image alone.
    """

    job: Job
    of_project: bool


@frozen
class Located:
    """An image in a form that an engine of this machine accepts.

    Attributes:
        image: The path of a ``.sif``, or ``docker://`` and a full reference.
        plain_http: The registry uses plain HTTP.
        published: The image in a registry that `fetch` downloads to the path `image` if no file exists there; None if
            nothing must be downloaded.
    """

    image: str
    plain_http: bool = False
    published: PublishedImage | None = None


def choose_target(
    project: Project, target: str | None, options: JobSettings, folder: Path, *, admit: Admit = refuse
) -> Wanted:
    """Return the job or image that the user means.

    A job has precedence over an image of the same name.

    Args:
        project: The project.
        target: The name of a job or an image, or the address of an image. If None, the image in `options` is used, else the
            project's only job, else its only image.
        options: Settings from the command line. An image in them replaces a job's image.
        folder: The working folder; the path of a ``.sif`` is relative to it.
        admit: Refuses files outside of the project that the settings name, or confirms them (`resolve_job_here`).

    Raises:
        ConfigError: There is no such job or image; or there is no target, and the project does not have exactly one job or
            one image.
    """
    if target is None and options.image is None:
        if len(project.jobs) == 1:
            return Wanted(job=resolve_job_here(project, None, options, admit=admit), of_project=True)
        if len(project.images) == 1:
            return _image_alone(next(iter(project.images)), project, options, folder)
        known = ", ".join([*project.jobs, *project.images])
        advice = f"use one of {known}," if known else "no project with jobs or images is here; use"
        raise ConfigError(f"there is no target; {advice} a .sif, oras://... or {SCHEME}...")
    if target in project.jobs:
        return Wanted(job=resolve_job_here(project, target, options, admit=admit), of_project=True)
    return _image_alone(target or options.image or "", project, options, folder)


def locate(
    image: str,
    project: Project,
    store: Store,
    *,
    cache: Path,
    resolve: Resolve,
    plain_http: UsesPlainHttp,
    for_docker: bool = False,
) -> Located:
    """Find `image`: the project's latest build, its published image, a file, or a registry reference.

    Args:
        image: The name of an image of the project, the path of a ``.sif``, ``oras://...`` or ``docker://...``.
        project: The project.
        store: The record of runs and images.
        cache: The folder for downloaded images.
        resolve: Looks up a reference in its registry.
        plain_http: Tells whether a repository's registry uses plain HTTP.
        for_docker: The requested engine does not accept a ``.sif``. If the source of a project's image is an image in a
            registry, that source is used instead of the project's build.

    Raises:
        ConfigError: The image was not built yet, its file does not exist, or it is only on the cluster that built it.
        RegistryError: A registry query failed.
        AuthenticationError: A registry rejected the login.
    """
    if image.startswith(SCHEME):
        return _in_registry(image, plain_http)
    if image.startswith("oras://"):
        return _cached(resolve(image), cache)
    if image not in project.images:
        return _file(Path(image), "use another file, or build it first")
    settings = project.images[image]
    source = settings.source
    direct = source.reference if isinstance(source, OciSource) and not source.reference.startswith(_ARCHIVES) else ""
    built = store.latest_build(project.root, image)
    if direct and (for_docker or built is None):
        return _in_registry(f"{SCHEME}{direct}", plain_http)
    if built is None:
        if not settings.repositories:
            raise ConfigError(f"the image {image!r} was not built yet; run 'hpcdeploy build {image}'")
        try:
            return _cached(resolve(newest_reference(image, project)), cache)
        except (RegistryError, AuthenticationError) as error:
            raise type(error)(
                f"the image {image!r} was not built here, so its repository was queried: {error}; or run "
                f"'hpcdeploy build {image}'"
            ) from error
    if built.built_on:
        published = store.publications(built.sha256)
        if published:
            return _cached(published[0], cache)
        raise ConfigError(
            f"the image {image!r} was built on {built.built_on} and is stored only there; download it with "
            f"'hpcdeploy build {image} --on {built.built_on} --fetch'"
        )
    return _file(Path(built.path), f"its file was removed; run 'hpcdeploy build {image}' again")


def fetch(located: Located, download: Callable[[PublishedImage, Path], None]) -> None:
    """Download the image unless its file exists. The file's name contains its sha256, so an existing file is not checked."""
    if located.published and not Path(located.image).is_file():
        download(located.published, Path(located.image))


def _image_alone(image: str, project: Project, options: JobSettings, folder: Path) -> Wanted:
    if image.endswith(".sif") and "://" not in image:
        image, name = str(folder / image), Path(image).stem
    elif image.startswith(_ADDRESSES):
        name = image.partition("@")[0].rstrip("/").rpartition("/")[2].partition(":")[0]
    elif image in project.images:
        name = image
    else:
        known = [*project.jobs, *project.images]
        close = meant(image, known)
        there = f" ({', '.join(known)})" if known else ""
        raise ConfigError(
            f"found {found(image)}; expected a job or an image of the project{there}, a .sif, oras://..., {SCHEME}... "
            f"or {INSTANCE}NAME; {f'did you mean {close}?' if close else 'a program comes after --'}"
        )
    job = Job(name=name, image=image, command=options.command or (), environment=options.environment, binds=options.binds)
    return Wanted(job=job, of_project=False)


def _in_registry(image: str, plain_http: UsesPlainHttp) -> Located:
    reference = parse_image(image)
    return Located(image=str(reference), plain_http=plain_http(reference.repository))


def _cached(published: PublishedImage, cache: Path) -> Located:
    return Located(image=str(cache / f"{published.sha256}.sif"), published=published)


def _file(path: Path, advice: str) -> Located:
    if not path.is_file():
        raise ConfigError(f"the image {path} does not exist: {advice}")
    return Located(image=str(path.absolute()))
