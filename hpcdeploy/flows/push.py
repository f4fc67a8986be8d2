"""Push: publish a built image in its repositories, under the tags that git gives it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy.errors import ConfigError
from hpcdeploy.image import BuiltImage, ImageSettings, PublishedImage
from hpcdeploy.progress import Progress, ignore_progress
from hpcdeploy.registry.client import Registry
from hpcdeploy.registry.limits import size_warning
from hpcdeploy.registry.manifest import annotate
from hpcdeploy.store import Store
from hpcdeploy.tags import GitFacts, tags_for


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What was published where, and under which tags besides its digest."""

    image: PublishedImage
    tags: tuple[str, ...]


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
    progress: Progress = ignore_progress,
) -> list[Pushed]:
    """Publish `built`, whose file is at ``built.path``, in each of `repositories` (none: the settings' own).

    `tags` replace those that `git` gives; without both the tag is ``latest``. The manifest says what the image is in OCI's
    standard annotations; the same image pushed twice has the same digest. Before the first upload `warn` is told of each
    repository that is known to refuse an image of this size. Raises `ConfigError` for no repository or no file, and what
    the registry raises.
    """
    targets = tuple(repositories) or settings.repositories
    if not targets:
        raise ConfigError(
            f"the image {settings.name!r} has no repository; set 'repository' in its settings, or say --repository"
        )
    path = Path(built.path)
    if not built.path or not path.is_file():
        raise ConfigError(
            f"the file of the image {settings.name!r} is not at {built.path or '(nowhere)'}; run 'hpcdeploy build'"
        )
    chosen = tuple(tags) or (tags_for(git) if git else ("latest",))
    annotations = annotate(
        revision=git.sha if git and not git.dirty else "",
        source=git.source if git else "",
        version=git.version if git else "",
        base_name=built.base,
    )
    registries = [registry_of(repository) for repository in targets]
    for warning in dict.fromkeys(size_warning(registry.reference, built.size) for registry in registries):
        if warning:
            warn(warning)
    done: list[Pushed] = []
    for registry in registries:
        image = registry.push(
            path, sha256=built.sha256, created=built.created, tags=chosen, annotations=annotations, progress=progress
        )
        store.published(image, when=int(time.time()))
        done.append(Pushed(image=image, tags=chosen))
    return done
