"""Push: publish a built image in its repositories, under the tags that git gives it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy.errors import AuthenticationError, ConfigError, HpcdeployError, RegistryError
from hpcdeploy.image import BuiltImage, ImageSettings, PublishedImage
from hpcdeploy.progress import Progress, ignore_progress
from hpcdeploy.registry.client import Registry
from hpcdeploy.registry.limits import size_warning
from hpcdeploy.registry.manifest import annotate
from hpcdeploy.store import Store
from hpcdeploy.tags import GitFacts, tags_beside_others, tags_for


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What was published where, and under which tags besides its digest."""

    image: PublishedImage
    tags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A repository (``HOST/PATH``) that did not take the image, and why."""

    repository: str
    error: HpcdeployError


def repositories_of(settings: ImageSettings, named: Sequence[str]) -> tuple[str, ...]:
    """Say where an image is pushed: where `named`, or else where its settings say; raises `ConfigError` for nowhere."""
    targets = tuple(named) or settings.repositories
    if not targets:
        raise ConfigError(
            f"the image {settings.name!r} has no repository; set 'repository' in its settings, or use --repository"
        )
    return targets


def push(
    built: BuiltImage,
    settings: ImageSettings,
    store: Store,
    registry_of: Callable[[str], Registry],
    *,
    git: GitFacts | None,
    warn: Callable[[str], None],
    repositories: Sequence[str] = (),
    tags: Sequence[str] = (),
    images: Sequence[ImageSettings] = (),
    progress: Progress = ignore_progress,
) -> list[Pushed | Refused]:
    """Publish `built`, whose file is at ``built.path``, in each of `repositories` (none: the settings' own).

    `tags` replace those that `git` gives; without both the tag is ``latest``, and beside ``latest`` stand the settings' own.
    In a repository of its settings that others of `images`, the project's, name too, the tags bear the image's name
    (`tags_beside_others`). The manifest says what the image is in OCI's standard annotations; the same image pushed twice
    has the same digest. Before the first upload `warn` is told of each repository that is known to refuse an image of this
    size. A repository that refuses, or cannot be reached, is told of in the result, and the next one is gone on with. Raises
    `ConfigError` for no repository, no file, a tag that is none, or one that another image has there too.
    """
    targets = repositories_of(settings, repositories)
    path = Path(built.path)
    if not built.path or not path.is_file():
        raise ConfigError(
            f"the file of the image {settings.name!r} is not at {built.path or '(nowhere)'}; run 'hpcdeploy build'"
        )
    chosen = {target: tuple(tags) or _tags_in(target, settings, images, git) for target in targets}
    annotations = annotate(
        revision=git.sha if git and not git.dirty else "",
        source=git.source if git else "",
        version=git.version if git else "",
        base_name=built.base,
    )
    registries = {target: registry_of(target) for target in chosen}
    for warning in dict.fromkeys(size_warning(registry.reference, built.size) for registry in registries.values()):
        if warning:
            warn(warning)
    done: list[Pushed | Refused] = []
    for target, registry in registries.items():
        try:
            image = registry.push(
                path,
                sha256=built.sha256,
                created=built.created,
                tags=chosen[target],
                annotations=annotations,
                progress=progress,
            )
        except (RegistryError, AuthenticationError) as error:
            done.append(Refused(repository=target, error=error))
            continue
        store.published(image, when=int(time.time()))
        done.append(Pushed(image=image, tags=chosen[target]))
    return done


def refuse_same_tags(images: Sequence[ImageSettings], tags: Sequence[str]) -> None:
    """Raise `ConfigError` where `tags`, given by a person, would go to one repository for several of `images`."""
    for number, one in enumerate(images if tags else ()):
        for other in images[number + 1 :]:
            for repository in set(one.repositories) & set(other.repositories):
                raise ConfigError(
                    f"the images {one.name!r} and {other.name!r} share the repository {repository}, where --tag {tags[0]} "
                    "would be the one and then the other; give each its own repository, or leave the tags to git"
                )


def _tags_in(
    repository: str, settings: ImageSettings, images: Sequence[ImageSettings], git: GitFacts | None
) -> tuple[str, ...]:
    by_git = tags_for(git) if git else ("latest",)
    plain = _with_own(by_git, settings)
    others = [image for image in images if repository in image.repositories and image.name != settings.name]
    if not others or repository not in settings.repositories:
        return plain
    own = tags_beside_others(plain, settings.name)
    for name, theirs in ((image.name, _with_own(by_git, image)) for image in others):
        for tag in set(own).intersection(tags_beside_others(theirs, name)):
            raise ConfigError(
                f"the images {settings.name!r} and {name!r} share the repository {repository}, and both would be {tag!r} "
                "there; give each its own repository, or another name"
            )
    return own


def _with_own(tags: tuple[str, ...], settings: ImageSettings) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*tags, *settings.tags))) if "latest" in tags else tags
