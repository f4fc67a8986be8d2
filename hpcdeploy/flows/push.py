"""Push a built image to its repositories, with tags from git."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hpcdeploy.errors import AuthenticationError, ConfigError, HpcdeployError, RegistryError
from hpcdeploy.frozen import frozen
from hpcdeploy.image import BuiltImage, ImageSettings, PublishedImage
from hpcdeploy.progress import Progress, ignore_progress
from hpcdeploy.registry.client import Registry
from hpcdeploy.registry.manifest import annotate
from hpcdeploy.registry.reference import size_warning
from hpcdeploy.store import Store
from hpcdeploy.tags import GitFacts, tags_beside_others, tags_for


@frozen
class Pushed:
    """A published image, and the tags that it got in its repository (`PublishedImage.repository`)."""

    image: PublishedImage
    tags: tuple[str, ...]


@frozen
class Refused:
    """A repository (``HOST/PATH``) that rejected the image, and the error."""

    repository: str
    error: HpcdeployError


def repositories_of(settings: ImageSettings, named: Sequence[str]) -> tuple[str, ...]:
    """Return the repositories for an image: `named` if it is not empty, else the repositories of the image's settings.

    Raises:
        ConfigError: `named` is empty, and the settings have no repository.
    """
    targets = tuple(named) or settings.repositories
    if not targets:
        raise ConfigError(
            f"the image {settings.name!r} has no repository; set 'repository' in its settings, or use --repository"
        )
    return targets


def destinations(
    settings: ImageSettings,
    git: GitFacts | None,
    *,
    repositories: Sequence[str] = (),
    tags: Sequence[str] = (),
    images: Sequence[ImageSettings] = (),
) -> Mapping[str, tuple[str, ...]]:
    """Return the repositories for an image, each with the tags that it gets there.

    Args:
        settings: The image's settings.
        git: The state of git; None if it is not available.
        repositories: Repositories (``HOST/PATH``) that replace the repositories of the settings.
        tags: Tags that replace all others. If `tags` is empty, the tags come from `git` (`hpcdeploy.tags.tags_for`), or the
            only tag is ``latest`` if `git` is None. If these tags include ``latest``, the settings' tags are added.
        images: All images of the project. If several of them share a repository, each tag there contains the name of its
            image (`tags_beside_others`).

    Raises:
        ConfigError: There is no repository, or another image of the project would get one of the tags in a repository.
    """
    targets = repositories_of(settings, repositories)
    return {target: tuple(tags) or _tags_in(target, settings, images, git) for target in targets}


def push(
    built: BuiltImage,
    to: Mapping[str, Sequence[str]],
    store: Store,
    registry_of: Callable[[str], Registry],
    *,
    git: GitFacts | None,
    warn: Callable[[str], None],
    progress: Progress = ignore_progress,
) -> list[Pushed | Refused]:
    """Push `built`, whose file is at ``built.path``, to each repository.

    The manifest has OCI's standard annotations. Some of them describe the state of git. Therefore the digest of the manifest
    is the same only for the same image and the same state of git. If a repository rejects the image, the push continues with
    the next repository.

    Args:
        built: The image to push.
        to: The repositories (``HOST/PATH``), each with the image's tags there (`destinations`).
        store: The record of runs and images, to which each push is added.
        registry_of: Returns the client for a repository (``HOST/PATH``).
        git: The state of git, for the annotations; None if it is not available.
        warn: Called before the first upload, once with each warning about a registry that rejects images of this size.
        progress: Receives the number of bytes sent so far, and the size of the image in bytes.

    Returns:
        One result for each repository.

    Raises:
        ConfigError: The image's file does not exist, or a tag is invalid.
    """
    path = Path(built.path)
    if not built.path or not path.is_file():
        raise ConfigError(
            f"the file of the image {built.name!r} is not on this machine (expected at {built.path or 'a recorded path'}); "
            "run 'hpcdeploy build'"
        )
    annotations = annotate(
        revision=git.sha if git and not git.dirty else "",
        source=git.source if git else "",
        version=git.version if git else "",
        base_name=built.base,
    )
    registries = {target: registry_of(target) for target in to}
    for warning in dict.fromkeys(size_warning(registry.reference, built.size) for registry in registries.values()):
        if warning:
            warn(warning)
    done: list[Pushed | Refused] = []
    for target, registry in registries.items():
        tags = tuple(to[target])
        try:
            image = registry.push(
                path, sha256=built.sha256, created=built.created, tags=tags, annotations=annotations, progress=progress
            )
        except (RegistryError, AuthenticationError) as error:
            done.append(Refused(repository=target, error=error))
            continue
        store.published(image, when=int(time.time()))
        done.append(Pushed(image=image, tags=tags))
    return done


def refuse_same_tags(images: Sequence[ImageSettings], tags: Sequence[str]) -> None:
    """Raise `ConfigError` if there are `tags` and two of `images` share a repository.

    Both images would get the same tags there.
    """
    for number, one in enumerate(images if tags else ()):
        for other in images[number + 1 :]:
            for repository in set(one.repositories) & set(other.repositories):
                raise ConfigError(
                    f"the images {one.name!r} and {other.name!r} share the repository {repository}, so the tag {tags[0]} "
                    "would only refer to the image that is pushed last; use one repository for each image, or omit --tag"
                )


def _tags_in(
    repository: str, settings: ImageSettings, images: Sequence[ImageSettings], git: GitFacts | None
) -> tuple[str, ...]:
    """Return an image's tags in `repository`; raise `ConfigError` if another image would get one of them."""
    by_git = tags_for(git) if git else ("latest",)
    plain = _with_own(by_git, settings)
    others = [image for image in images if repository in image.repositories and image.name != settings.name]
    if not others or repository not in settings.repositories:
        return plain
    tags = tags_beside_others(plain, settings.name)
    for name, theirs in ((image.name, _with_own(by_git, image)) for image in others):
        for tag in set(tags).intersection(tags_beside_others(theirs, name)):
            raise ConfigError(
                f"the images {settings.name!r} and {name!r} share the repository {repository}, and both would get "
                f"the tag {tag!r}; give each image its own repository, or rename one of them"
            )
    return tags


def _with_own(tags: tuple[str, ...], settings: ImageSettings) -> tuple[str, ...]:
    """Add the tags of the settings to `tags`, but only if ``latest`` is among them."""
    return tuple(dict.fromkeys((*tags, *settings.tags))) if "latest" in tags else tags
