"""Read and write the record of a built image: ``NAME.json`` in the folder of the image ``NAME.sif``."""

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hpcdeploy import __version__
from hpcdeploy.apptainer.sif import HEAD, architecture_in
from hpcdeploy.checked_values import read_json, whole_number
from hpcdeploy.errors import BuildError, ConfigError
from hpcdeploy.image import BuiltImage, Definition, Toolchain
from hpcdeploy.regular_file import LARGEST_TEXT, UnsuitableFileError, read_regular
from hpcdeploy.whole_file import sha256_of, write_whole

SUFFIX = ".json"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_TOOLS = 32


def record_path(image: Path) -> Path:
    """Return the path of an image's record."""
    return image.with_suffix(SUFFIX)


def write_record(image: BuiltImage) -> BuiltImage:
    """Write the record of `image` to `record_path`, atomically; return `image`.

    Raises:
        OSError: The record cannot be written.
    """
    path = record_path(Path(image.path))
    values = {name: value for name, value in asdict(image).items() if name not in ("path", "built_on", "cached_on")}
    write_whole(path, json.dumps(values, indent=2) + "\n")
    return image


Checksum = Callable[[Path], str]
"""Return the sha256 of an image, such as `hpcdeploy.apptainer.verified_files.VerifiedFiles.sha256`."""


def read_record(image: Path, *, inputs: Collection[str] = (), sha256: Checksum | None = sha256_of) -> BuiltImage | None:
    """Return the record of an image file.

    The result is None in these cases:

    - The image or the record does not exist.
    - `inputs` is given, and the inputs in the record are none of them.
    - The image has another size or sha256 than the record, so the record belongs to another image. If `sha256` is None,
      only the size is compared.

    Raises:
        BuildError: The record is malformed, too large, or not a regular file.
        OSError: The record or the image cannot be read.
    """
    path = record_path(image)
    if not path.is_file() or not image.is_file():
        return None
    try:
        values = read_json(read_regular(path, LARGEST_TEXT).decode())
    except (ValueError, UnsuitableFileError) as error:
        raise BuildError(f"{path} is not the record of an image: {error}; remove it and build again") from error
    built = replace(read_image(values, str(path)), path=str(image))
    if (inputs and built.inputs not in inputs) or image.stat().st_size != built.size:
        return None
    return built if sha256 is None or sha256(image) == built.sha256 else None


def check_output(
    image: Path,
    *,
    force: bool,
    advice: str = "use -o, or overwrite it with --force",
    sha256: Checksum = sha256_of,
) -> None:
    """Check that a new image and its record would overwrite only files that hpcdeploy wrote, unless `force` is set.

    hpcdeploy wrote an existing image if the image's record has the size and sha256 of the image.

    Raises:
        ConfigError: The image or its record is a file that hpcdeploy did not write; the message contains `advice`.
    """
    if force:
        return
    record = record_path(image)
    try:
        known = read_record(image, sha256=sha256)
        if known is None and record.exists():
            read_image(read_json(read_regular(record, LARGEST_TEXT).decode()), str(record))
    except (BuildError, ValueError, OSError):
        raise ConfigError(f"{record} exists, and is not the record of an image; {advice}") from None
    if known is None and image.exists():
        raise ConfigError(f"{image} exists, and is not an image that hpcdeploy built; {advice}")


def describe(
    definition: Definition,
    image: Path,
    toolchain: Toolchain,
    *,
    untested: bool = False,
    sha256: Checksum = sha256_of,
) -> BuiltImage:
    """Return the values of the record of `image`, which was just built from `definition`.

    Args:
        definition: The definition.
        image: The image file.
        toolchain: What built the image.
        untested: The image has a ``%test`` that did not run.
        sha256: Computes the checksum of the image.
    """
    return BuiltImage(
        name=definition.name,
        sha256=sha256(image),
        size=image.stat().st_size,
        inputs=definition.inputs,
        apptainer=toolchain.program,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        path=str(image),
        base=definition.base,
        environment=definition.environment,
        builder=toolchain.builder,
        tools=(("hpcdeploy", __version__), *toolchain.tools),
        architecture=_architecture(image),
        untested=untested,
    )


def _architecture(image: Path) -> str:
    with image.open("rb") as file:
        return architecture_in(file.read(HEAD))


def read_image(values: object, where: str) -> BuiltImage:
    """Convert values from JSON to an image. `where` is the file or the machine that they come from, for messages.

    Raises:
        BuildError: The values are malformed.
    """
    if isinstance(values, dict):
        texts = {name: values.get(name) for name in ("name", "sha256", "inputs", "apptainer", "created")}
        size = whole_number(values.get("size"))
        digests = all(_SHA256.fullmatch(str(texts[name])) for name in ("sha256", "inputs"))
        if all(isinstance(text, str) for text in texts.values()) and size is not None and digests:
            image = BuiltImage(
                name=str(texts["name"]),
                sha256=str(texts["sha256"]),
                size=size,
                inputs=str(texts["inputs"]),
                apptainer=str(texts["apptainer"]),
                created=str(texts["created"]),
            )
            return replace(image, **_later_fields(values))
    raise BuildError(f"{where} is not the record of an image: {repr(values)[:500]}; remove it and build again")


def _later_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that records of earlier releases lack; malformed values are left out."""
    texts = {name: values.get(name) for name in ("base", "architecture", "builder")}
    environment, tools = values.get("environment"), values.get("tools")
    pairs = [pair for pair in tools if isinstance(pair, list) and len(pair) == 2] if isinstance(tools, list) else []
    return {
        **{name: text for name, text in texts.items() if isinstance(text, str)},
        "untested": values.get("untested") is True,
        "environment": environment if isinstance(environment, str) and _SHA256.fullmatch(environment) else "",
        "tools": tuple((str(name), str(version)) for name, version in pairs[:_MOST_TOOLS]),
    }
