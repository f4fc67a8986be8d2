"""What a person means by ``hpcdeploy run TARGET``: a job, an image of the project, a file, an address; and where it lies."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy.config.found import found
from hpcdeploy.config.named_files import Admit, refuse
from hpcdeploy.config.project import JobSettings, Project
from hpcdeploy.config.resolution import resolve_job_here
from hpcdeploy.engine.apptainer import INSTANCE
from hpcdeploy.engine.contract import SCHEME
from hpcdeploy.errors import AuthenticationError, ConfigError, RegistryError
from hpcdeploy.flows.images import Resolve, SpeaksPlainHttp
from hpcdeploy.image import PublishedImage
from hpcdeploy.job import Job
from hpcdeploy.registry.reference import parse_image
from hpcdeploy.source import OciSource
from hpcdeploy.spelling import meant
from hpcdeploy.store import Store

_ADDRESSES = ("oras://", SCHEME)
_ARCHIVES = ("oci-archive:", "docker-archive:")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to run: ``job`` with its image as it was named, and whether the project's settings describe it as a job."""

    job: Job
    of_project: bool


@dataclass(frozen=True, kw_only=True)
class Located:
    """An image that an engine here can take: a ``.sif`` by its path, or ``docker://`` and a full reference.

    ``published`` is what has to be downloaded to that path first, unless it is there.
    """

    image: str
    plain_http: bool = False
    published: PublishedImage | None = None


def choose_target(
    project: Project, target: str | None, options: JobSettings, folder: Path, *, admit: Admit = refuse
) -> Wanted:
    """Decide what is meant: a job before an image of the same name; nothing named is the only job, else the only image.

    An image that `options` name replaces a job's; with no `target` it stands for itself. A ``.sif`` is relative to `folder`.
    `admit` is that of `resolve_job_here`. Raises `ConfigError` where nothing fits.
    """
    if target is None and options.image is None:
        if len(project.jobs) == 1:
            return Wanted(job=resolve_job_here(project, None, options, admit=admit), of_project=True)
        if len(project.images) == 1:
            return _image_alone(next(iter(project.images)), project, options, folder)
        known = ", ".join([*project.jobs, *project.images])
        raise ConfigError(
            f"nothing was named to run; {f'name one of {known}' if known else 'no project is here'}, a .sif, oras://... or "
            f"{SCHEME}..."
        )
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
    plain_http: SpeaksPlainHttp,
    for_docker: bool = False,
) -> Located:
    """Say where `image` lies: the project's latest build, what was pushed of it, a file, or an address.

    `cache` is the folder for downloads. `for_docker`: an engine was asked for that takes images of a registry only, so one
    that the project takes from there is not taken from its build. Raises `ConfigError` where there is no image yet.
    """
    if image.startswith(SCHEME):
        return _in_registry(image, plain_http)
    if image.startswith("oras://"):
        return _cached(resolve(image), cache)
    if image not in project.images:
        return _file(Path(image), "name another file, or build it first")
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
            return _cached(resolve(f"oras://{settings.repositories[0]}:latest"), cache)
        except (RegistryError, AuthenticationError) as error:
            raise type(error)(
                f"the image {image!r} was not built here, so its repository was asked: {error} "
                f"Or run 'hpcdeploy build {image}'"
            ) from error
    if built.built_on:
        published = store.publications(built.sha256)
        if published:
            return _cached(published[0], cache)
        raise ConfigError(
            f"the image {image!r} was built on {built.built_on} and lies there only; bring it here with "
            f"'hpcdeploy build {image} --on {built.built_on} --fetch'"
        )
    return _file(Path(built.path), f"it was built there once; run 'hpcdeploy build {image}' again")


def fetch(located: Located, download: Callable[[PublishedImage, Path], None]) -> None:
    """Bring the image here, unless it is here: the file's name is its sha256, and it appears whole or not at all."""
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
            f"or {INSTANCE}NAME{f'; did you mean {close}?' if close else ''}"
        )
    job = Job(name=name, image=image, command=options.command or (), environment=options.environment, binds=options.binds)
    return Wanted(job=job, of_project=False)


def _in_registry(image: str, plain_http: SpeaksPlainHttp) -> Located:
    reference = parse_image(image)
    return Located(image=str(reference), plain_http=plain_http(reference.repository))


def _cached(published: PublishedImage, cache: Path) -> Located:
    return Located(image=str(cache / f"{published.sha256}.sif"), published=published)


def _file(path: Path, advice: str) -> Located:
    if not path.is_file():
        raise ConfigError(f"there is no image {path}: {advice}")
    return Located(image=str(path.absolute()))
