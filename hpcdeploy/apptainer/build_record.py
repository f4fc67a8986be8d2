"""Read and write the record of a built image: ``NAME.json`` in the folder of the image ``NAME.sif``."""

import json
import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from hpcdeploy.apptainer.sif import HEAD, architecture_in
from hpcdeploy.checked_values import read_json, whole_number
from hpcdeploy.errors import BuildError, ConfigError
from hpcdeploy.image import BuiltImage, Definition
from hpcdeploy.regular_file import LARGEST_TEXT, UnsuitableFileError, read_regular
from hpcdeploy.whole_file import sha256_of, write_whole

SUFFIX = ".json"
_SHA256 = re.compile(r"[0-9a-f]{64}")


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


def read_record(image: Path, *, inputs: str = "") -> BuiltImage | None:
    """Return the record of an image file.

    The result is None in these cases:

    - The image or the record does not exist.
    - `inputs` is given, and the record has other inputs.
    - The image has another size or sha256 than the record, so the record belongs to another image.

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
    if (inputs and built.inputs != inputs) or image.stat().st_size != built.size or sha256_of(image) != built.sha256:
        return None
    return built


def check_output(image: Path, *, force: bool, advice: str = "use -o, or overwrite it with --force") -> None:
    """Check that a new image and its record would overwrite only files that hpcdeploy wrote, unless `force` is set.

    hpcdeploy wrote an existing image if the image's record has the size and sha256 of the image.

    Raises:
        ConfigError: The image or its record is a file that hpcdeploy did not write; the message contains `advice`.
    """
    if force:
        return
    record = record_path(image)
    try:
        known = read_record(image)
        if known is None and record.exists():
            read_image(read_json(read_regular(record, LARGEST_TEXT).decode()), str(record))
    except (BuildError, ValueError, OSError):
        raise ConfigError(f"{record} exists, and is not the record of an image; {advice}") from None
    if known is None and image.exists():
        raise ConfigError(f"{image} exists, and is not an image that hpcdeploy built; {advice}")


def describe(definition: Definition, image: Path, version: str) -> BuiltImage:
    """Return the values of the record of `image`, which was just built from `definition`.

    `version` is the name and version of the program that built the image, such as ``apptainer 1.4.5``.
    """
    return BuiltImage(
        name=definition.name,
        sha256=sha256_of(image),
        size=image.stat().st_size,
        inputs=definition.inputs,
        apptainer=version,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        path=str(image),
        base=definition.base,
        architecture=_architecture(image),
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
            # Records of earlier releases lack some of these.
            added = {name: values.get(name) for name in ("base", "architecture")}
            return BuiltImage(
                **{name: str(text) for name, text in texts.items()},
                size=size,
                **{name: text for name, text in added.items() if isinstance(text, str)},
            )
    raise BuildError(f"{where} is not the record of an image: {repr(values)[:500]}; remove it and build again")
