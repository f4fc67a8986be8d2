"""The inputs of a build as the record keeps them, so that a later command can list what changed since."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hpcdeploy import __version__
from hpcdeploy.config.project import ONLY_IMAGE
from hpcdeploy.errors import BuildError
from hpcdeploy.image import BuiltImage, Definition, ImageSettings
from hpcdeploy.json_text import read_json
from hpcdeploy.known_files import KnownFiles
from hpcdeploy.source import OciConfig
from hpcdeploy.store import Store
from hpcdeploy.templates import every_template

_WITHOUT_EFFECT = frozenset({"name", "repositories", "tags", "secrets"})
"""Settings that say where an image is published, or where a secret lies: they change nothing in it."""

_PLAIN = "source."
"""Prefix of settings whose values are shown. The others may contain a token, so the record has only their sha256."""


@dataclass(frozen=True, kw_only=True)
class BuildInputs:
    """The inputs of one build.

    ``inputs`` is the definition's own sha256 of all (`Definition.inputs`); the rest tells what changed when that did.
    ``settings`` are the image's settings by key, ``files`` the sha256 of the project's files by path (relative to the
    project's folder where they lie in it), with `` x`` behind it for an executable one. ``given`` are the build arguments of
    the command, ``asked`` what registries answered.
    """

    inputs: str
    version: str = __version__
    given: tuple[tuple[str, str], ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, OciConfig] = field(default_factory=dict)

    def written(self) -> str:
        """Return this as JSON."""
        return json.dumps({**asdict(self), "asked": {name: config.values() for name, config in self.asked.items()}})

    @staticmethod
    def read(text: str) -> "BuildInputs":
        """Read what `written` wrote; `BuildError` for anything else."""
        try:
            values = read_json(text)
            return BuildInputs(
                inputs=values["inputs"],
                version=values["version"],
                given=tuple((name, value) for name, value in values["given"]),
                settings=dict(values["settings"]),
                files=dict(values["files"]),
                asked={name: OciConfig.of(config) for name, config in values["asked"].items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BuildError("the record of a build's inputs cannot be read; run 'hpcdeploy build' again") from error


def inputs_of(definition: Definition, settings: ImageSettings, project: Path, known: KnownFiles) -> BuildInputs:
    """Return the inputs of a `definition` that was made while `known` noted what was read in the folder `project`."""
    return BuildInputs(
        inputs=definition.inputs,
        given=definition.given,
        settings=settings_of(settings),
        files={**files_read(project, known), **_copied(definition, project)},
        asked=dict(definition.asked),
    )


def note_build(store: Store, project: Path, image: BuiltImage, inputs: BuildInputs, known: KnownFiles) -> None:
    """Note what the latest build of an image was made from, and what is known of its files."""
    store.built_from(project, image, inputs.written())
    store.know_files(project, image.name, known.written())


def settings_of(settings: ImageSettings) -> dict[str, str]:
    """Return an image's settings by key, each as JSON, or as a sha256 where the value may contain a token."""
    values = json.loads(json.dumps(asdict(settings)))
    source = {"kind": type(settings.source).__name__.removesuffix("Source").lower(), **values.pop("source")}
    flat = {**values, **{f"{_PLAIN}{key}": value for key, value in source.items()}}
    return {key: _shown(key, value) for key, value in flat.items() if key not in _WITHOUT_EFFECT}


def files_read(project: Path, known: KnownFiles) -> dict[str, str]:
    """Return the sha256 of all files that were read, and of the project's own templates of definitions, by path."""
    for template in every_template(project):
        if template.own and template.shipped and template.name.startswith("defs/"):
            with suppress(OSError):
                known.sha256(template.own)
    return {_name(path, project): sha256 for path, sha256 in known.read.items()}


def changes(before: BuildInputs, after: BuildInputs, image: str) -> Iterator[str]:
    """Yield in words what differs between two builds' settings and files."""
    where = "image" if image == ONLY_IMAGE else f"images.{image}"
    kinds = tuple(inputs.settings.get(f"{_PLAIN}kind", "").strip('"') for inputs in (before, after))
    replaced = kinds[0] != kinds[1]
    if replaced:
        yield f"{where}.{kinds[1]} in place of {where}.{kinds[0]}"
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
            yield f"{name} {what if name in after.files else 'is gone'}"


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
