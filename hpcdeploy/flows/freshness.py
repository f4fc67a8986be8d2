"""Record the inputs of a build, and compare them with the project later, to find out whether an image is up to date."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, field, replace
from pathlib import Path

from hpcdeploy import __version__
from hpcdeploy.checked_values import read_json
from hpcdeploy.config.project import ONLY_IMAGE, Project
from hpcdeploy.errors import BuildError, ConfigError, HpcdeployError
from hpcdeploy.frozen import frozen
from hpcdeploy.image import EPOCH, BuiltImage, Definition, ImageSettings, PublishedImage
from hpcdeploy.known_files import KnownFiles, remembering
from hpcdeploy.regular_file import open_regular
from hpcdeploy.source import OciConfig
from hpcdeploy.store import Store
from hpcdeploy.templates import every_template

_WITHOUT_EFFECT = frozenset({"name", "repositories", "tags", "secrets"})
"""Settings without effect on the image's content: its name, where it is published, and where secrets are read."""

_PLAIN = "source."
"""Prefix of settings whose values are recorded and shown. Other settings may contain a token, so only their sha256 is
recorded.
"""


@frozen
class BuildInputs:
    """The inputs of one build.

    Attributes:
        inputs: One sha256 of all inputs (`Definition.inputs`). The other attributes tell which input changed.
        version: The version of hpcdeploy that made the definition.
        given: Names and values of the build arguments in the command.
        settings: The image's settings by key: the value as JSON, or the sha256 of that JSON (`settings_of`).
        files: The sha256 of each file that was read or copied, by path. The path is relative to the project's folder if the
            file is in it. ``" x"`` follows the sha256 of an executable file that was copied.
        asked: The answers of registries, by image reference.
        bases: The digests of the base images, by reference.
        architecture: The architecture that the image was built for; empty if `inputs` is not a key, because an earlier
            release recorded it.
        epoch: The time of all files of the image, in seconds since 1970.
    """

    inputs: str
    version: str = __version__
    given: tuple[tuple[str, str], ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, OciConfig] = field(default_factory=dict)
    bases: Mapping[str, str] = field(default_factory=dict)
    architecture: str = ""
    epoch: int = EPOCH

    def written(self) -> str:
        """Return the inputs as JSON."""
        return json.dumps({**asdict(self), "asked": {name: config.values() for name, config in self.asked.items()}})

    @staticmethod
    def read(text: str) -> "BuildInputs":
        """Parse the output of `written`.

        Raises:
            BuildError: `text` is malformed.
        """
        try:
            values = read_json(text)
            return BuildInputs(
                inputs=values["inputs"],
                version=values["version"],
                given=tuple((name, value) for name, value in values["given"]),
                settings=dict(values["settings"]),
                files=dict(values["files"]),
                asked={name: OciConfig.of(config) for name, config in values["asked"].items()},
                bases=dict(values.get("bases", {})),  # earlier releases recorded no keys
                architecture=str(values.get("architecture", "")),
                epoch=int(values.get("epoch", EPOCH)),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BuildError("the record of a build's inputs cannot be read; run 'hpcdeploy build' again") from error


def inputs_of(definition: Definition, settings: ImageSettings, project: Path, known: KnownFiles) -> BuildInputs:
    """Return the inputs of a `definition`.

    Args:
        definition: The definition.
        settings: The image's settings.
        project: The project's folder.
        known: The checksums of the files that were read while the definition was made.
    """
    return BuildInputs(
        inputs=definition.inputs,
        given=definition.given,
        settings=settings_of(settings),
        files={**files_read(project, known), **_copied(definition, project)},
        asked=dict(definition.asked),
        bases=dict(definition.bases),
        architecture=definition.key_architecture,
        epoch=definition.epoch,
    )


def bases_before(store: Store, project: Path, image: str) -> Mapping[str, str]:
    """Return the digests of the base images of an image's last build, by reference; none if they are not recorded."""
    built = store.latest_build(project, image)
    noted = store.latest_inputs(project, built) if built else None
    try:
        return BuildInputs.read(noted).bases if noted else {}
    except BuildError:
        return {}


def note_build(store: Store, project: Path, image: BuiltImage, inputs: BuildInputs, known: KnownFiles) -> None:
    """Record the inputs of an image's latest build, and the checksums of its files."""
    store.built_from(project, image, inputs.written())
    store.know_files(project, image.name, known.written())


def settings_of(settings: ImageSettings) -> dict[str, str]:
    """Return an image's settings by key. The value is JSON, or the sha256 of that JSON if it may contain a token."""
    values = json.loads(json.dumps(asdict(settings)))
    if settings.platform is None:  # as in the records of releases without this setting
        del values["platform"]
    source = {"kind": type(settings.source).__name__.removesuffix("Source").lower(), **values.pop("source")}
    flat = {**values, **{f"{_PLAIN}{key}": value for key, value in source.items()}}
    return {key: _shown(key, value) for key, value in flat.items() if key not in _WITHOUT_EFFECT}


def files_read(project: Path, known: KnownFiles) -> dict[str, str]:
    """Return the sha256 of all files that were read, and of the project's own definition templates, by path."""
    for template in every_template(project):
        if template.own and template.shipped and template.name.startswith("defs/"):
            with suppress(OSError):
                known.sha256(template.own)
    return {_name(path, project): sha256 for path, sha256 in known.read.items()}


def changes(before: BuildInputs, after: BuildInputs, image: str) -> Iterator[str]:
    """Yield a description of each difference between the settings and files of two builds of `image`."""
    where = "image" if image == ONLY_IMAGE else f"images.{image}"
    kinds = tuple(inputs.settings.get(f"{_PLAIN}kind", "").strip('"') for inputs in (before, after))
    replaced = kinds[0] != kinds[1]
    if replaced:
        yield f"{where}.{kinds[1]} instead of {where}.{kinds[0]}"
    for key in sorted(before.settings.keys() | after.settings.keys()):
        if replaced and key.startswith(_PLAIN):
            continue  # settings of another kind
        old, new = before.settings.get(key, ""), after.settings.get(key, "")
        if old != new:
            shown = key.replace(_PLAIN, f"{kinds[1]}.").replace("_", "-")
            plain = key.startswith(_PLAIN) and key in before.settings and key in after.settings
            yield f"{where}.{shown} {f'({old} before, {new} now)' if plain else 'changed'}"
    for name in sorted(before.files.keys() | after.files.keys()):
        if before.files.get(name) != after.files.get(name):
            what = "changed" if name in before.files and name in after.files else "is new"
            yield f"{name} {what if name in after.files else 'was removed'}"


def _copied(definition: Definition, project: Path) -> dict[str, str]:
    executable = 0o111
    return {
        _name(file.source, project): f"{file.sha256}{' x' if file.mode & executable else ''}" for file in definition.files
    }


def _shown(key: str, value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if key.startswith(_PLAIN) else hashlib.sha256(text.encode()).hexdigest()


def _name(path: Path, project: Path) -> str:
    absolute = path.absolute()
    root = next((root for root in (project.absolute(), project.resolve()) if absolute.is_relative_to(root)), None)
    return str(absolute.relative_to(root) if root else absolute)


_MOST = 8
"""Maximum number of changes in one message."""

_HEAD = 1 << 18
"""Number of bytes at the beginning of a ``.sif`` in which its labels are searched (256 KiB).

A SIF file's table of objects ends at 32 KiB. The definition and the labels follow, and are usually small.
"""

_LONGEST = 80
"""Maximum length of a label's value in a message, in characters."""

_NOT_BUILT = "the image {!r} was not built here: it is not known whether it is up to date"
_NOT_NOTED = (
    "the record has no inputs for the image {0!r}, so changes since its build are not detected; "
    "'hpcdeploy build {0}' records them"
)

_LABELS = "io.github.hpcdeploy."
_OF_HPCDEPLOY = f"{_LABELS}version"


Labels = Callable[[], Mapping[str, str]]
"""Return the labels of the image that would be used."""


@frozen
class Freshness:
    """The result of a comparison of an image with its project.

    Attributes:
        changes: Descriptions of the changes since the image was built.
        notes: Reasons why there may be changes that are not known. Without changes and notes, the image is up to date.
    """

    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class _OtherImageError(HpcdeployError):
    """The new definition needs the configuration of an image that was not queried for the last build."""


def freshness(
    settings: ImageSettings, project: Path, store: Store, *, learn: bool = True, labels: Labels = dict
) -> Freshness | None:
    """Compare the inputs of an image's last build with the current files in the folder `project`.

    No registry is queried, because a moved tag of a base image is not a change of the project. Files that did not change
    since the last comparison are not read again.

    Args:
        settings: The image's settings.
        project: The project's folder.
        store: The record.
        learn: Record the checksums of files that were read, so that the next comparison is faster.
        labels: Returns the labels of the image in its registry. Called if the record has no build of the image.

    Returns:
        The result; None if the record has no build of the image, and its labels are not hpcdeploy's.
    """
    built = store.latest_build(project, settings.name)
    if built is None:
        published = _hpcdeploy_labels(labels())
        return _by_labels(published, "", settings, project, _NOT_BUILT.format(settings.name)) if published else None
    noted = store.latest_inputs(project, built)
    if noted is None:
        return _by_labels(_labels(built), built.inputs, settings, project, _NOT_NOTED.format(built.name))
    known = KnownFiles(store.known_files(project, settings.name))
    found = _compared(BuildInputs.read(noted), settings, project, known)
    if learn and known.learned and not found.changes:
        with suppress(ConfigError):  # a record that cannot be written is not an error here
            store.know_files(project, settings.name, known.written())
    return found


def check_image(image: str, project: Project, store: Store, *, refuse: bool, labels: Labels = dict) -> tuple[str, ...]:
    """Return the notes to print before `image` is used.

    A note says that the image is older than the project, or that it is unknown whether the image is older. Only images of
    the project are checked.

    Args:
        image: The name or path of the image.
        project: The project.
        store: The record.
        refuse: Raise an error if the image is older than the project.
        labels: Returns the labels of the image in its registry. Called if the record has no build of the image.

    Raises:
        ConfigError: The image is older than the project and `refuse` is set. The message lists the changes.
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
        raise ConfigError(f"{older}; run 'hpcdeploy build {image}', or use it anyway with --allow-stale")
    return (f"{older}; run 'hpcdeploy build {image}' to rebuild it", *found.notes)


def labels_of_published(published: PublishedImage, head: Callable[[PublishedImage, int], bytes]) -> Mapping[str, str]:
    """Return the labels of a ``.sif`` in a registry; none if they cannot be read. `head` downloads its first bytes."""
    from hpcdeploy.apptainer.contents import read_head

    try:
        return read_head(head(published, _HEAD), published.size, published.reference).labels
    except HpcdeployError:
        return {}


def labels_of_file(path: Path) -> Mapping[str, str]:
    """Return the labels of a ``.sif`` on this machine; none if it does not exist or cannot be read."""
    from hpcdeploy.apptainer.contents import read_contents

    try:
        with open_regular(path) as file:
            return read_contents(file, str(path)).labels
    except (OSError, ConfigError):
        return {}


def listed(changed: tuple[str, ...]) -> str:
    """Return at most `_MOST` changes as one text, with the number of the other changes."""
    more = f" and {len(changed) - _MOST} more" if len(changed) > _MOST else ""
    return ", ".join(changed[:_MOST]) + more


def _compared(before: BuildInputs, settings: ImageSettings, project: Path, known: KnownFiles) -> Freshness:
    try:
        with remembering(known):
            definition = _generate(settings, project, before.asked, before.given)
            if before.architecture:  # the bases are those of the last build, because no registry is queried
                from hpcdeploy.flows.bases import with_keys  # imported only for an image whose inputs are recorded

                bases = tuple(before.bases.items())
                definition = with_keys(definition, bases, machine=before.architecture, epoch=before.epoch)
            after = inputs_of(definition, settings, project, known)
    except (HpcdeployError, OSError) as error:
        return Freshness(changes=tuple(_changes_before_error(error, before, settings, project, known)))
    if after.inputs == before.inputs:
        return Freshness()
    changed = tuple(changes(before, after, settings.name))
    if before.version != __version__ and not changed:
        # Each release writes its own version into the definition.
        upgraded = f"hpcdeploy {__version__} may build the image {settings.name!r} differently from {before.version}"
        return Freshness(notes=(upgraded,))
    return Freshness(changes=changed or ("the definition changed",))


def _changes_before_error(
    error: Exception, before: BuildInputs, settings: ImageSettings, project: Path, known: KnownFiles
) -> Iterator[str]:
    """Yield the changes of settings and files that were found before `error` stopped the new definition, and the error."""
    read = {name: sha256 for name, sha256 in files_read(project, known).items() if name in before.files}
    files = {**before.files, **{name: before.files[name].replace(before.files[name][:64], read[name]) for name in read}}
    after = replace(before, settings=settings_of(settings), files=files)
    yield from changes(before, after, settings.name)
    if not isinstance(error, _OtherImageError):
        yield f"the definition can no longer be made ({error})"


def _generate(
    settings: ImageSettings, project: Path, asked: Mapping[str, OciConfig], given: tuple[tuple[str, str], ...]
) -> Definition:
    from hpcdeploy.flows.generate import generate  # imported only for an image whose inputs are recorded

    def answer(reference: str) -> OciConfig:
        if reference not in asked:
            raise _OtherImageError(f"it starts from {reference}, unlike the last build")
        return asked[reference]

    return generate(settings, project, image_config=answer, build_args=given)


def _by_labels(before: Mapping[str, str], inputs: str, settings: ImageSettings, project: Path, unknown: str) -> Freshness:
    """Compare an image whose build inputs are not recorded with its project, by the labels that hpcdeploy wrote into it.

    Args:
        before: The image's labels that hpcdeploy wrote.
        inputs: The sha256 of all inputs in the image's record (`BuildInputs.inputs`); empty without a record.
        settings: The image's settings.
        project: The project's folder.
        unknown: The note if `before` is empty, or if the definition cannot be made.
    """
    if not before:
        return Freshness(notes=(unknown,))
    try:
        definition = _generate(settings, project, {}, ())
    except (HpcdeployError, OSError) as error:
        return Freshness(notes=(f"{unknown} ({error})",))
    if definition.inputs == inputs:
        return Freshness()
    from hpcdeploy.definition.checking import check_definition

    last = check_definition(definition.text, dict(definition.build_args))[-1]
    lines = (line.strip().partition(" ") for line in last.section("labels").splitlines())
    after = _hpcdeploy_labels({name: value.strip() for name, _, value in lines})
    return Freshness(
        changes=tuple(
            f"the label {name} ({before.get(name, 'none')[:_LONGEST]} in the image, {after.get(name, 'none')} now)"
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        )
    )


def _hpcdeploy_labels(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name.startswith(_LABELS) and name != _OF_HPCDEPLOY}


def _labels(built: BuiltImage) -> dict[str, str]:
    # An image that a cluster built is not on this machine.
    return {} if built.built_on else _hpcdeploy_labels(labels_of_file(Path(built.path)))
