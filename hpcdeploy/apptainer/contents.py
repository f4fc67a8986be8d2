"""Read the metadata of an image file without Apptainer: definition, labels, tests, scripts and environment.

A build stores two JSON objects in the image (Apptainer, ``internal/pkg/build/assemblers/sif.go`` and
``internal/app/apptainer/inspect.go``):

- ``inspect-metadata.json``: the data of ``apptainer inspect --all``
- ``oci-config.json``: the configuration of the base image, if the base is a Docker or OCI image

An older image has an object that only contains its labels, or only the definition.
"""

import io
from collections.abc import Mapping
from dataclasses import field
from typing import BinaryIO, cast

from hpcdeploy.apptainer.sif import Sif, SifObject, read_object, read_sif
from hpcdeploy.checked_values import read_json
from hpcdeploy.definition.grammar import read_definition
from hpcdeploy.errors import ConfigError, DefinitionError
from hpcdeploy.frozen import frozen

METADATA = "inspect-metadata.json"
OCI_CONFIG = "oci-config.json"


@frozen
class Contents:
    """An image's header, objects and metadata. A value that the image does not have is empty.

    Attributes:
        sif: The header and the table of objects.
        definition: The text of the definition file from which the image was built.
        labels: The values of the labels, by name.
        test: The shell code of ``%test``.
        runscript: The shell code that ``apptainer run`` runs.
        startscript: The shell code that ``apptainer instance start`` runs.
        help: The text of ``apptainer run-help``.
        environment: The texts of the shell scripts that a container reads when it starts, by their path in the image.
        apps: The names of the SCIF apps in the image, sorted.
        oci: The JSON configuration of the Docker or OCI image on which the image is based.
    """

    sif: Sif
    definition: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    test: str = ""
    runscript: str = ""
    startscript: str = ""
    help: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    apps: tuple[str, ...] = ()
    oci: Mapping[str, object] = field(default_factory=dict)


def read_contents(file: BinaryIO, name: str) -> Contents:
    """Read the metadata of an open image; `name` is the image in messages.

    Raises:
        ConfigError: The file is not an image or is damaged, or a text object is not valid JSON or is too large.
        OSError: The file cannot be read.
    """
    sif = read_sif(file, name)

    def text(item: SifObject | None) -> str:
        return read_object(file, item, name).decode(errors="replace").rstrip("\0") if item else ""

    def table(item: SifObject | None) -> Mapping[str, object]:
        if item is None:
            return {}
        try:
            value = read_json(text(item) or "{}")
        except ValueError as error:
            raise ConfigError(
                f"{name} is damaged: its object {item.id} ({item.name or item.kind}) is not JSON: {error}"
            ) from error
        return _table(value)

    attributes = _table(_table(table(_named(sif, METADATA)).get("data")).get("attributes"))
    definition = text(_of_kind(sif, "definition")) or _text(attributes.get("deffile"))
    labels = {**table(_of_kind(sif, "labels")), **_table(attributes.get("labels"))}
    return Contents(
        sif=sif,
        definition=definition,
        labels={key: _text(value) for key, value in sorted(labels.items())},
        test=_text(attributes.get("test")) or _section(definition, "test"),
        runscript=_text(attributes.get("runscript")) or _section(definition, "runscript"),
        startscript=_text(attributes.get("startscript")) or _section(definition, "startscript"),
        help=_text(attributes.get("helpfile")) or _section(definition, "help"),
        environment={key: _text(value) for key, value in _table(attributes.get("environment")).items()},
        apps=tuple(sorted(_table(attributes.get("apps")))),
        oci=table(_named(sif, OCI_CONFIG)),
    )


def read_head(head: bytes, size: int, name: str) -> Contents:
    """Read the metadata of an image of `size` bytes from its first bytes, which are `head`.

    Apptainer writes the metadata before the file system, so the first bytes usually contain all metadata. If `head` ends
    inside an object, a truncated JSON object is an error, but a truncated definition is returned without an error.

    Raises:
        ConfigError: The image is damaged, or `head` ends inside the table of objects or a JSON object.
    """
    return read_contents(_Head(head, size), name)


class _Head(io.BytesIO):
    """The first bytes of a file that reports the size of the whole file."""

    def __init__(self, head: bytes, size: int) -> None:
        super().__init__(head)
        self._size = size

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._size if whence == io.SEEK_END else super().seek(offset, whence)


def _named(sif: Sif, name: str) -> SifObject | None:
    return next((item for item in sif.objects if item.name == name and item.kind == "json"), None)


def _of_kind(sif: Sif, kind: str) -> SifObject | None:
    return next((item for item in sif.objects if item.kind == kind), None)


def _section(definition: str, name: str) -> str:
    """Return a section of the definition's last stage, which becomes the image; empty if the definition is malformed."""
    try:
        stages = read_definition(definition)
    except DefinitionError:
        return ""
    return stages[-1].section(name).strip() if stages else ""


def _table(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
