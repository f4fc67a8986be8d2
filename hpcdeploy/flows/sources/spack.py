"""Prepare an image from a Spack environment: read ``spack.yaml``, the files that it names, and ``spack.lock``."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hpcdeploy.architecture import Architecture
from hpcdeploy.boundary import Boundary
from hpcdeploy.definition import guard
from hpcdeploy.definition.spack import CHECK, ENVIRONMENT, RECIPES_NAMESPACE, SpackRecipe, render_spack, spack_arguments
from hpcdeploy.environments.microarchitectures import check_family
from hpcdeploy.environments.spack import Configuration, SpackEnvironment, expanded, read_environment
from hpcdeploy.environments.spack_lock import SpackLock, read_lock
from hpcdeploy.environments.spack_specs import SpecList
from hpcdeploy.environments.spack_view import ViewPlan, plan_views
from hpcdeploy.environments.spack_yaml import Mirror
from hpcdeploy.errors import DefinitionError, EnvironmentFileError
from hpcdeploy.flows.sources.contract import Prepared, Request
from hpcdeploy.flows.sources.spack_files import (
    LOCK,
    MANIFEST,
    Shipment,
    environment_place,
    find_files,
    recipe,
    repositories,
    ship,
    ship_named,
)
from hpcdeploy.flows.sources.spack_notes import SpackFacts, notes_of, target_of
from hpcdeploy.flows.sources.staging import copied_files, read_text
from hpcdeploy.frozen import frozen
from hpcdeploy.known_files import digest_of
from hpcdeploy.plain_text import nearest
from hpcdeploy.source import SpackSource


@frozen
class Ready:
    """The recipe of an image, and the files that its build needs.

    Attributes:
        recipe: The content of the image.
        shipped: The files and folders in ``recipe.shipped``.
        check: The script that runs before every command; None for none.
        notes: Messages for the user.
    """

    recipe: SpackRecipe
    shipped: tuple[Shipment, ...]
    check: Shipment | None
    notes: tuple[str, ...]

    @property
    def all_shipped(self) -> tuple[Shipment, ...]:
        """All files and folders that the build needs, except those of the setting ``files``."""
        return (*self.shipped, *((self.check,) if self.check else ()))


def prepare(request: Request[SpackSource]) -> Prepared:
    """Make the definition of a Spack environment.

    Raises:
        EnvironmentFileError: An environment file is missing, malformed, or outside the project.
        DefinitionError: A file is missing, or the credentials of a mirror are incomplete.
        TemplateError: A template is broken.
    """
    ready = recipe_and_notes(request)
    all_files = (file for one in ready.all_shipped for file in one.files)
    return Prepared(
        text=render_spack(ready.recipe, overrides=request.project),
        files=(*{file.staged: file for file in all_files}.values(), *copied_files(request.settings, request.project)),
        arguments=spack_arguments(ready.recipe),
        secrets=request.source.secrets,
        notes=ready.notes,
    )


def recipe_and_notes(request: Request[SpackSource]) -> Ready:
    """Return the image's recipe, which is the same for a definition and a Dockerfile, and the files that it needs.

    Raises:
        EnvironmentFileError: An environment file is missing, malformed, or outside the project.
        DefinitionError: A file is missing, or the credentials of a mirror are incomplete.
    """
    source, project = request.source, request.project
    boundary = Boundary(project)
    facts = _read(source, boundary, request.settings.architecture)
    place = environment_place(boundary.project / source.environment, facts.files.named)
    facts = replace(facts, views=_views(facts.configurations, place))
    own = [
        ship(project, f"{source.environment}/{name}", f"{place}/{name}", "'spack'")
        for name in ((MANIFEST,) if facts.lock is None else (MANIFEST, LOCK))
    ]
    own += ship_named(boundary, source.environment, facts.files.named, place)
    repos = list(repositories(boundary, source.repos))
    recipes = [recipe(project, number, path) for number, (_, path) in enumerate(source.recipes)]
    _check_repos(source, facts.configurations)
    shipped = (*own, *(repo for repo, _ in repos), *recipes)
    mirrors = [mirror for one in facts.configurations for mirror in one.mirrors]
    target, views = facts.target, facts.views
    wanted = SpackRecipe(
        settings=request.settings,
        source=source,
        target=target.name,
        shipped=tuple(one.destination for one in shipped),
        environment=place,
        options=(*target.options, *((views.option,) if views.option else ())),
        view=views.default,
        view_in_manifest=not views.option,
        views=tuple(root for _, root in views.roots if not root.startswith(f"{ENVIRONMENT}/")),
        repos=tuple(repo.destination for repo, _ in repos),
        recipes=tuple(
            (package, one.destination.removesuffix("/package.py"))
            for (package, _), one in zip(source.recipes, recipes, strict=True)
        ),
        credentials=tuple(name for mirror in mirrors for name in mirror.variables),
        container=facts.manifest.container,
        lock_sha256=digest_of(project / source.environment / LOCK) if facts.lock is not None else "",
        recipes_namespace=_namespace(source, facts.lock),
    )
    return Ready(
        recipe=wanted,
        shipped=shipped,
        check=ship(project, source.check, CHECK, "'check'") if source.check else None,
        notes=(*notes_of(request.settings, facts), *_credentials(request, mirrors)),
    )


def _manifest(folder: Path, within: Boundary) -> SpackEnvironment:
    path = folder / MANIFEST
    if not path.exists():
        raise EnvironmentFileError(
            f"{folder} has no Spack environment, because {MANIFEST} is missing; set the environment's folder in the image's "
            "'spack' settings, or create an environment with 'spack env create -d .'"
        )
    return read_environment(read_text(path, within), str(path))


def _read(source: SpackSource, boundary: Boundary, architecture: Architecture) -> SpackFacts:
    """Read the environment and all files that it includes, and choose its target.

    Raises:
        EnvironmentFileError: A file is missing or malformed.
    """
    folder = boundary.project / source.environment
    manifest = _manifest(folder, boundary)
    files = find_files(source.environment, manifest, boundary)
    specs = expanded(manifest, files.configurations)
    lock = _lock(folder, manifest, specs, boundary)
    for path, included in files.locks if lock is None else ():  # otherwise the lock file has their packages too
        _check_kernels(included, path)
        for name in included.targets:
            check_family(name, path, architecture)
    return SpackFacts(
        manifest=manifest,
        files=files,
        specs=specs,
        target=target_of(source.target, manifest, files.configurations, specs, lock, architecture),
        above=files.above(source.environment),
        lock=lock,
    )


def _views(configurations: Sequence[Configuration], place: str) -> ViewPlan:
    """Plan the views of an environment whose path in the image is `place`.

    A view is left out if its path belongs to the host while the image is built or used, such as a path in the user's home.
    """
    plan = plan_views([one.view for one in configurations if not one.when], place)
    lost = []
    for name, root in plan.roots:
        try:
            if not guard.destination(root).is_relative_to("/home") and not root.startswith("/root/"):
                continue
        except DefinitionError:
            pass
        lost.append((name, root))
    return replace(plan, roots=tuple(view for view in plan.roots if view not in lost), lost=(*plan.lost, *lost))


_OTHER_KERNELS = ("darwin", "freebsd", "windows")
"""Platforms of Spack without Linux (``lib/spack/spack/platforms``). The platform ``cray`` of earlier releases is Linux."""


def _lock(folder: Path, manifest: SpackEnvironment, specs: SpecList, within: Boundary) -> SpackLock | None:
    path = folder / LOCK
    if not path.exists():
        return None
    lock = read_lock(read_text(path, within), str(path))
    _check_kernels(lock, str(path))
    required = dict.fromkeys(root.package for root in specs.roots if root.certain and root.package)
    missing = [name for name in required if name not in lock.roots]
    if missing:
        raise EnvironmentFileError(
            f"{path} does not lock {', '.join(missing)}, which {manifest.file} requires; run 'spack concretize' in {folder}"
        )
    return lock


def _check_kernels(lock: SpackLock, file: str) -> None:
    others = [name for name in lock.kernels if name in _OTHER_KERNELS]
    if others:
        raise EnvironmentFileError(
            f"{file} is for {' and '.join(others)}, but an image needs packages for linux; run 'spack concretize --force' "
            f"in the build image, or remove {file}"
        )


def _check_repos(source: SpackSource, configurations: Sequence[Configuration]) -> None:
    if (source.repos or source.recipes) and any(one.drops_repos for one in configurations):
        raise EnvironmentFileError(
            "spack.yaml has 'repos::', which excludes all other repositories, including the image's own 'repos' and "
            "'recipes'; write 'repos:' in spack.yaml"
        )


def _namespace(source: SpackSource, lock: SpackLock | None) -> str:
    """Return the namespace for the repository of 'recipes'. With a lock file, this is the namespace of the locked packages.

    Raises:
        EnvironmentFileError: The packages were locked from Spack's own repository, or from several repositories.
    """
    if lock is None or not source.recipes:
        return RECIPES_NAMESPACE
    locked = {package: lock.namespaces[package] for package, _ in source.recipes if package in lock.namespaces}
    builtin = [package for package, namespace in locked.items() if namespace == "builtin"]
    if builtin:
        raise EnvironmentFileError(
            f"spack.lock has {', '.join(builtin)} from Spack's own repository ('builtin'), so the recipe in 'recipes' "
            "would not be used. Concretize again with the recipe in a repository of your own, or remove spack.lock"
        )
    several = sorted(set(locked.values()))
    if len(several) > 1:
        raise EnvironmentFileError(
            f"spack.lock has the packages of 'recipes' from several repositories ({', '.join(several)}); "
            "add these repositories to 'repos' instead"
        )
    return next(iter(locked.values()), RECIPES_NAMESPACE)


def _credentials(request: Request[SpackSource], mirrors: Sequence[Mirror]) -> Iterator[str]:
    """Check the credentials of mirrors, and yield a note on each mirror that is used without credentials.

    Raises:
        DefinitionError: 'secrets' has only some of a mirror's variables, or lacks variables of the mirror to push to; or
            that mirror does not exist or requires signed packages.
    """
    source = request.source
    described = {secret.name for secret in request.settings.secrets}
    by_name = {mirror.name: mirror for mirror in mirrors}
    if source.push_cache and source.push_cache not in by_name:
        raise DefinitionError(
            f"'push-cache' names the mirror {source.push_cache!r}, which spack.yaml does not have; "
            f"{nearest(source.push_cache, tuple(by_name))}"
        )
    for mirror in by_name.values():
        missing = [name for name in mirror.variables if name not in source.secrets]
        pushed = mirror.name == source.push_cache
        if pushed and mirror.signed and not mirror.url.startswith("oci://"):
            raise DefinitionError(
                f"packages for the mirror {mirror.name!r} must be signed, but a build has no key; write "
                "'signed: false' for that mirror, or use an oci:// cache"
            )
        if missing and (pushed or len(missing) < len(mirror.variables) or described & set(missing)):
            raise DefinitionError(
                f"the mirror {mirror.name!r} reads its credentials from {' and '.join(mirror.variables)}, but 'secrets' of "
                f"'spack' lacks {' and '.join(missing)}; describe each secret in the image's 'secrets', and add its name to "
                "'secrets' of 'spack'"
            )
        if missing:
            yield f"the cache {mirror.name} is used without credentials: the secret {' or '.join(missing)} is not set"
