"""What an image file says of itself, read without Apptainer: its definition, labels, tests, scripts and environment.

Apptainer writes what ``apptainer inspect --all`` prints into the image at build time, as an object of the name
``inspect-metadata.json``, and the configuration of a Docker or OCI base as ``oci-config.json`` (its
``internal/pkg/build/assemblers/sif.go`` and ``internal/app/apptainer/inspect.go``). Older images hold their labels as an
object of their own, or nothing but the definition.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from hpcdeploy.apptainer.sif import Sif, SifObject, read_object, read_sif
from hpcdeploy.definition.grammar import read_definition
from hpcdeploy.errors import ConfigError, DefinitionError
from hpcdeploy.json_text import read_json

METADATA = "inspect-metadata.json"
OCI_CONFIG = "oci-config.json"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """An image's header and objects, and what its metadata say; empty where they say nothing.

    ``environment`` are the scripts that a container reads at its start, by their path. ``oci`` is the configuration of the
    OCI image that the file was made from, as that image had it.
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
    """Read an open image; raises `ConfigError` for a file that is none, is damaged, or has metadata that are no JSON."""
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
                f"{name} is damaged: its object {item.id} ({item.name or item.kind}) is no JSON: {error}"
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
    """Read an image of `size` bytes of which only the beginning is here.

    Apptainer writes the texts before the file system. Raises as `read_contents` does, also for a text that is not whole in
    `head`.
    """
    return read_contents(_Head(head, size), name)


class _Head(io.BytesIO):
    """The beginning of a file that says how long the whole one is."""

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
    """Return a section of the last stage, which is the one that the image holds."""
    try:
        stages = read_definition(definition)
    except DefinitionError:
        return ""
    return stages[-1].section(name).strip() if stages else ""


def _table(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
