"""Whether an image is that of the project as it is now: its inputs are compared with those of its last build."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hpcdeploy import __version__
from hpcdeploy.config.project import Project
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.errors import ConfigError, HpcdeployError
from hpcdeploy.flows.build_inputs import BuildInputs, changes, files_read, inputs_of, settings_of
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import BuiltImage, Definition, ImageSettings, PublishedImage
from hpcdeploy.known_files import KnownFiles, remembering
from hpcdeploy.regular_file import open_regular
from hpcdeploy.source import OciConfig
from hpcdeploy.store import Store

_MOST = 8
"""Changes that one message lists."""

_HEAD = 1 << 18
"""Bytes of an image in which its labels are looked for: the table of objects ends at 32 KiB, and a definition is small."""

_LONGEST = 80

_NOT_BUILT = "the image {!r} was not built here: whether it is that of the project as it is now is unknown"
_NOT_NOTED = (
    "the record does not say what the image {0!r} was built from, so changes since then are not seen; "
    "'hpcdeploy build {0}' notes it"
)

_LABELS = "io.github.hpcdeploy."
_OF_HPCDEPLOY = f"{_LABELS}version"


Labels = Callable[[], Mapping[str, str]]
"""Gives the labels of the image that would be used."""


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """The changes since an image was built (none: the image is up to date), and notes on what is unknown."""

    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class _OtherImageError(HpcdeployError):
    """The definition starts from an image that the last build did not ask about."""


def freshness(
    settings: ImageSettings, project: Path, store: Store, *, learn: bool = True, labels: Labels = dict
) -> Freshness | None:
    """Compare what the last build of an image was made from with the project in the folder `project` now.

    No registry is asked what a base image is: that a tag was moved is no change of the project. Files that did not change
    since the last build, or since this was last asked, are not read again; what was learned of them is noted if `learn`.
    `labels` gives those of an image that was not built from here; None where they say nothing of that image.
    """
    built = store.latest_build(project, settings.name)
    if built is None:
        published = _own(labels())
        return _by_labels(published, "", settings, project, _NOT_BUILT.format(settings.name)) if published else None
    noted = store.latest_inputs(project, built)
    if noted is None:
        return _by_labels(_labels(built), built.inputs, settings, project, _NOT_NOTED.format(built.name))
    known = KnownFiles(store.known_files(project, settings.name))
    found = _compared(BuildInputs.read(noted), settings, project, known)
    if learn and known.learned and not found.changes:
        with suppress(ConfigError):  # a memory that cannot be written is no reason to fail
            store.know_files(project, settings.name, known.written())
    return found


def check_image(image: str, project: Project, store: Store, *, refuse: bool, labels: Labels = dict) -> tuple[str, ...]:
    """Return the notes to print before `image` is used: it is older than the project, or its age is unknown.

    What is no image of the project is not looked at. `labels` gives those of an image that was not built here. Raises
    `ConfigError` with what changed if it is older and `refuse`.
    """
    if image not in project.images:
        return ()
    found = freshness(project.images[image], project.root, store, labels=labels)
    if found is None:
        return (_NOT_BUILT.format(image),)
    if not found.changes:
        return found.notes
    older = f"the image {image!r} is older than the project: {listed(found.changes)}"
    if refuse:
        raise ConfigError(f"{older}; run 'hpcdeploy build {image}', or use it as it is with --allow-stale")
    return (f"{older}; 'hpcdeploy build {image}' builds it again", *found.notes)


def labels_of_published(published: PublishedImage, head: Callable[[PublishedImage, int], bytes]) -> Mapping[str, str]:
    """Return the labels of a ``.sif`` in a registry; none where they cannot be read. `head` gets its first bytes."""
    from hpcdeploy.apptainer.contents import read_head

    try:
        return read_head(head(published, _HEAD), published.size, published.reference).labels
    except HpcdeployError:
        return {}


def labels_of_file(path: Path) -> Mapping[str, str]:
    """Return the labels of a ``.sif`` on this machine; none where there is none, or it cannot be read."""
    from hpcdeploy.apptainer.contents import read_contents

    try:
        with open_regular(path) as file:
            return read_contents(file, str(path)).labels
    except (OSError, ConfigError):
        return {}


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


def _by_labels(before: Mapping[str, str], inputs: str, settings: ImageSettings, project: Path, unknown: str) -> Freshness:
    """Compare as far as the image itself says what it was made from: by hpcdeploy's own labels in it.

    `inputs` is what its record has of them (empty: there is none), `unknown` says what is missing.
    """
    if not before:
        return Freshness(notes=(unknown,))
    try:
        definition = _generate(settings, project, {}, ())
    except (HpcdeployError, OSError) as error:
        return Freshness(notes=(f"{unknown} ({error})",))
    if definition.inputs == inputs:
        return Freshness()
    last = check_definition(definition.text, dict(definition.build_args))[-1]
    lines = (line.strip().partition(" ") for line in last.section("labels").splitlines())
    after = _own({name: value.strip() for name, _, value in lines})
    return Freshness(
        changes=tuple(
            f"the label {name} ({before.get(name, 'none')[:_LONGEST]} in the image, {after.get(name, 'none')} now)"
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        )
    )


def _own(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name.startswith(_LABELS) and name != _OF_HPCDEPLOY}


def _labels(built: BuiltImage) -> dict[str, str]:
    return {} if built.built_on else _own(labels_of_file(Path(built.path)))  # else it does not lie here
