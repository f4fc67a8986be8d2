"""Write the notes on a Spack environment's image: choices, missing content, and what a later build may change."""

from collections.abc import Iterator, Sequence
from dataclasses import field

from hpcdeploy.architecture import AMD64, ARCHITECTURES, Architecture
from hpcdeploy.definition.spack import bases, spack_system
from hpcdeploy.environments.microarchitectures import is_foreign
from hpcdeploy.environments.spack import Configuration, SpackEnvironment, group_escapes, group_targets
from hpcdeploy.environments.spack_lock import SpackLock
from hpcdeploy.environments.spack_references import is_never, moving_versions
from hpcdeploy.environments.spack_specs import SpecList, targets_in
from hpcdeploy.environments.spack_target import Target, choose_target
from hpcdeploy.environments.spack_view import DEFAULT_VIEW, ViewPlan
from hpcdeploy.flows.sources.spack_files import Files
from hpcdeploy.frozen import frozen
from hpcdeploy.image import ImageSettings


@frozen
class SpackFacts:
    """A Spack environment, and the choices for its image.

    Attributes:
        manifest: The content of ``spack.yaml``.
        files: The files that the environment names, with their configurations.
        specs: The environment's specs, with matrices and lists expanded.
        target: The processor that the packages are compiled for.
        above: The paths in the configuration that are above the project's folder.
        views: The environment's views.
        lock: The environment's lock file; None if there is none.
    """

    manifest: SpackEnvironment
    files: Files
    specs: SpecList
    target: Target
    above: tuple[str, ...] = ()
    views: ViewPlan = field(default_factory=ViewPlan)
    lock: SpackLock | None = None

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """The configuration of the manifest and of its includes, highest precedence first."""
        return self.files.configurations


def target_of(
    wanted: str,
    manifest: SpackEnvironment,
    configurations: Sequence[Configuration],
    specs: SpecList,
    lock: SpackLock | None,
    architecture: Architecture = AMD64,
) -> Target:
    """Choose the processor that an environment's packages are compiled for.

    Raises:
        EnvironmentFileError: The targets contradict each other.
    """

    def foreign(spec: str) -> bool:
        return any(is_foreign(target, architecture) for target in targets_in(spec))

    return choose_target(
        wanted,
        [one.packages for one in configurations if not one.when],
        lock,
        conditional=[one.packages for one in configurations if one.when],
        specs=[root.spec for root in specs.roots if root.certain or not foreign(root.spec)],
        groups=group_targets(manifest),
        architecture=architecture,
    )


def notes_of(settings: ImageSettings, facts: SpackFacts) -> Iterator[str]:
    """Yield the notes on an image, the most important first."""
    yield from target_notes(facts)
    if facts.lock is None:
        yield (
            "there is no spack.lock, so the build chooses the versions, and a later build may choose other versions; run "
            "'spack concretize' and keep spack.lock"
        )
    yield from source_notes(facts)
    yield from _view_notes(facts.views)
    container, lock = facts.manifest.container, facts.lock
    if container and container.unused:
        yield (
            f"container: {', '.join(container.unused)} of spack.yaml is ignored; use the image's 'command', 'start' "
            "or the project's own defs/spack.def"
        )
    build, final = bases(settings, container)
    named = settings.final_base or (container and container.final)
    system = spack_system(build)
    if lock is not None and lock.systems and lock.systems != (system.name if system else "",):
        yield (
            f"spack.lock was made on {', '.join(lock.systems)}; if {build} does not have the same compilers and externals, "
            f"run 'spack concretize' in {build}"
        )
    if not named and not system:
        yield f"the final stage starts from {final}; if its C library is older than that of {build}, set 'final-base'"


def target_notes(facts: SpackFacts) -> Iterator[str]:
    """Yield notes on the processor that the packages are compiled for, and on packages with another target."""
    yield _target_note(facts.target)
    if facts.target.compilers:
        yield (
            f"{', '.join(facts.target.compilers)}: no target is added to a compiler's own 'require', because the compiler "
            "may be the build image's; add a target there if Spack compiles this compiler"
        )
    escaping = group_escapes(facts.manifest, facts.target.pinned) if facts.lock is None else ()
    if escaping:
        yield (
            f"{', '.join(escaping)}: a group's 'override' takes precedence over the image's target; set the target in its "
            "'require', or the build machine's own processor is used"
        )
    flags = facts.lock.flags if facts.lock else [found for one in facts.configurations for found in one.flags]
    if flags:
        words = ", ".join(dict.fromkeys(f"{flag} ({where})" for flag, where in flags))
        yield f"compiler flags name a processor, independent of the target: {words}; the image may not run on other machines"


def source_notes(facts: SpackFacts) -> Iterator[str]:
    """Yield notes on sources of the image that are not in the project, or that may change."""
    moving = tuple(moving_references(facts))
    if moving:
        yield f"a later build may find other sources: {', '.join(moving)}; use a release, a commit or a checksum"
    for path, locked in facts.files.locks if facts.lock is None else ():
        yield f"{path}: its locked packages are installed too, for {', '.join(locked.targets) or 'no target'}"
    conditions = dict.fromkeys(
        one.when
        for one in facts.configurations
        if one.when and not is_never(one.when) and (one.packages.settings or one.view)
    )
    if conditions and facts.lock is None:
        yield (
            f"files that are included only when {' or '.join(conditions)}: hpcdeploy ignores their views and their "
            "requirements for single packages, but Spack applies them"
        )
    if facts.above:
        yield f"{', '.join(facts.above)}: read from above the project's folder, in its git work tree"
    externals = dict.fromkeys(name for one in facts.configurations for name in one.externals)
    if externals:
        yield f"{', '.join(externals)}: 'externals' are searched in the images of both stages, not on this machine"
    elsewhere = dict.fromkeys(path for one in facts.configurations for path in one.references.elsewhere)
    if elsewhere:
        yield f"{', '.join(elsewhere)}: searched in the build stage's image, not on this machine"
    fetched = dict.fromkeys(address for one in facts.configurations for address in one.references.fetched)
    if fetched:
        yield f"{', '.join(fetched)}: downloaded while Spack builds, so their targets and views are not known here"


def moving_references(facts: SpackFacts) -> Iterator[str]:
    """Yield the references whose content may differ in a later build, such as a locked version without a commit."""
    if facts.lock is not None:
        versions: Sequence[str] = facts.lock.moving
    else:
        developed = {name for one in facts.configurations for name in one.developed}
        specs = [version for root in facts.specs.roots for version in moving_versions(root.spec)]
        required = [version for one in facts.configurations for version in one.moving]
        versions = [version for version in (*specs, *required) if version.partition("@")[0] not in developed]
    yield from dict.fromkeys(versions)
    yield from dict.fromkeys(reference for one in facts.configurations for reference in one.references.moving)


def _target_note(target: Target) -> str:
    but = f" but {', '.join(target.compilers)}" if target.compilers else ""
    text = f"all packages{but} are compiled for {target.name} ({target.source})"
    if target.pinned:
        text += f", also {', '.join(target.pinned)}, whose own 'require' replaces the general one"
    if target.others:
        text += f"; but {', '.join(f'{name} for {other}' for name, other in target.others)}, by its own 'require'"
    if target.name in (one.machine for one in ARCHITECTURES) and not target.others:
        return f"{text}, which every {target.name} processor runs; programs may be faster with a newer target"
    return f"{text}; these packages do not run on older processors"


def _view_notes(views: ViewPlan) -> Iterator[str]:
    if not views.default:
        yield "spack.yaml has 'view: false', so the image has no view, and PATH lacks the packages in /opt/software"
    if views.original and views.original != DEFAULT_VIEW:
        yield f"the view is at {DEFAULT_VIEW} instead of the path in spack.yaml ({views.original})"
    if views.roots:
        places = ", ".join(f"{name} ({root})" for name, root in views.roots)
        there = "" if views.original else f"; {DEFAULT_VIEW} is added, and the container's environment refers to it"
        yield f"the views of spack.yaml are in the image too: {places}{there}"
    if views.lost:
        places = ", ".join(f"{name} ({root})" for name, root in views.lost)
        yield f"{places}: these views are not in the image, because their path does not belong to the image"
