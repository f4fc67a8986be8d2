"""Whether an image is that of the project as it is now: its inputs are compared with those of its last build."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hpcdeploy import __version__
from hpcdeploy.config.project import Project
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.errors import ConfigError, HpcdeployError
from hpcdeploy.flows.build_inputs import BuildInputs, changes, files_read, inputs_of, settings_of
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import BuiltImage, Definition, ImageSettings
from hpcdeploy.known_files import KnownFiles, remembering
from hpcdeploy.source import OciConfig
from hpcdeploy.store import Store

_MOST = 8
"""Changes that one message lists."""

_LABELS = "io.github.hpcdeploy."
_OF_HPCDEPLOY = f"{_LABELS}version"


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """What changed since an image was built (nothing: it is the project's as it is now), and what is not known of it."""

    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class _OtherImageError(HpcdeployError):
    """The definition starts from an image that the last build did not ask about."""


def freshness(settings: ImageSettings, project: Path, store: Store, *, learn: bool = True) -> Freshness | None:
    """Compare what the last build of an image was made from with the project in the folder `project` now.

    No registry is asked: that a tag was moved is no change of the project. Files that did not change since the last build,
    or since this was last asked, are not read again; what was learned of them is noted if `learn`. None where the image was
    not built from here.
    """
    built = store.latest_build(project, settings.name)
    if built is None:
        return None
    noted = store.latest_inputs(project, built)
    if noted is None:
        return _without_inputs(built, settings, project)
    known = KnownFiles(store.known_files(project, settings.name))
    found = _compared(BuildInputs.read(noted), settings, project, known)
    if learn and known.learned and not found.changes:
        store.know_files(project, settings.name, known.written())
    return found


def check_image(image: str, project: Project, store: Store, *, refuse: bool) -> tuple[str, ...]:
    """Return what a person should know before `image` is used: that it is older than the project, or that nobody knows.

    What is no image of the project is not looked at. Raises `ConfigError` with what changed if it is older and `refuse`.
    """
    if image not in project.images:
        return ()
    found = freshness(project.images[image], project.root, store)
    if found is None:
        return (f"the image {image!r} was not built here: whether it is that of the project as it is now is unknown",)
    if not found.changes:
        return found.notes
    older = f"the image {image!r} is older than the project: {listed(found.changes)}"
    if refuse:
        raise ConfigError(f"{older}; run 'hpcdeploy build {image}', or use it as it is with --allow-stale")
    return (f"{older}; 'hpcdeploy build {image}' builds it again", *found.notes)


def listed(changed: tuple[str, ...]) -> str:
    """Return changes as one text, the first of many."""
    more = f" and {len(changed) - _MOST} more" if len(changed) > _MOST else ""
    return ", ".join(changed[:_MOST]) + more


def _compared(before: BuildInputs, settings: ImageSettings, project: Path, known: KnownFiles) -> Freshness:
    try:
        with remembering(known):
            definition = _generate(settings, project, before.asked, before.given)
            after = inputs_of(definition, settings, project, known)
    except (HpcdeployError, OSError) as error:
        return Freshness(changes=tuple(_until(error, before, settings, project, known)))
    if after.inputs == before.inputs:
        return Freshness()
    changed = tuple(changes(before, after, settings.name))
    if before.version != __version__ and not changed:
        # Each release writes its own version into the definition.
        upgraded = f"hpcdeploy {__version__} may build the image {settings.name!r} otherwise than {before.version} did"
        return Freshness(notes=(upgraded,))
    return Freshness(changes=changed or ("the definition changed",))


def _until(
    error: Exception, before: BuildInputs, settings: ImageSettings, project: Path, known: KnownFiles
) -> Iterator[str]:
    """Yield what changed as far as it was looked at before the definition could not be made, and why it could not."""
    read = {name: sha256 for name, sha256 in files_read(project, known).items() if name in before.files}
    files = {**before.files, **{name: before.files[name].replace(before.files[name][:64], read[name]) for name in read}}
    after = replace(before, settings=settings_of(settings), files=files)
    yield from changes(before, after, settings.name)
    if not isinstance(error, _OtherImageError):
        yield f"the definition cannot be made now ({error})"


def _generate(
    settings: ImageSettings, project: Path, asked: Mapping[str, OciConfig], given: tuple[tuple[str, str], ...]
) -> Definition:
    def answer(reference: str) -> OciConfig:
        if reference not in asked:
            raise _OtherImageError(f"it starts from {reference}, which the last build did not")
        return asked[reference]

    return generate(settings, project, image_config=answer, build_args=given)


def _without_inputs(built: BuiltImage, settings: ImageSettings, project: Path) -> Freshness:
    """Compare as far as the image itself says what it was made from: by hpcdeploy's own labels in it."""
    unknown = f"the record does not say what the image {built.name!r} was built from, so changes since then are not seen"
    advice = f"'hpcdeploy build {built.name}' notes it"
    before = _labels(built)
    if not before:
        return Freshness(notes=(f"{unknown}; {advice}",))
    try:
        definition = _generate(settings, project, {}, ())
    except (HpcdeployError, OSError) as error:
        return Freshness(notes=(f"{unknown} ({error}); {advice}",))
    if definition.inputs == built.inputs:
        return Freshness()
    last = check_definition(definition.text, dict(definition.build_args))[-1]
    lines = (line.strip().partition(" ") for line in last.section("labels").splitlines())
    after = {name: value.strip() for name, _, value in lines if name.startswith(_LABELS) and name != _OF_HPCDEPLOY}
    return Freshness(
        changes=tuple(
            f"the label {name} ({before.get(name, 'none')} in the image, {after.get(name, 'none')} now)"
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        )
    )


def _labels(built: BuiltImage) -> dict[str, str]:
    from hpcdeploy.apptainer.contents import read_contents

    if built.built_on:  # it does not lie here
        return {}
    try:
        with Path(built.path).open("rb") as file:
            labels = read_contents(file, built.path).labels
    except (OSError, ConfigError):
        return {}
    return {name: value for name, value in labels.items() if name.startswith(_LABELS) and name != _OF_HPCDEPLOY}
