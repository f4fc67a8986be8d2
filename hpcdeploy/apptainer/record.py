"""The record of a built image: JSON beside the file, under the same name."""

import json
import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from hpcdeploy.errors import BuildError
from hpcdeploy.image import BuiltImage, Definition
from hpcdeploy.json_text import read_json
from hpcdeploy.regular_file import LARGEST_TEXT, UnsuitableFileError, read_regular
from hpcdeploy.whole_file import sha256_of, write_whole
from hpcdeploy.whole_number import whole_number

SUFFIX = ".json"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def record_path(image: Path) -> Path:
    """Return where the record of an image lies."""
    return image.with_suffix(SUFFIX)


def write_record(image: BuiltImage) -> BuiltImage:
    """Write the record beside the image, by rename; give the image back."""
    path = record_path(Path(image.path))
    values = {name: value for name, value in asdict(image).items() if name not in ("path", "built_on", "cached_on")}
    write_whole(path, json.dumps(values, indent=2) + "\n")
    return image


def read_record(image: Path, *, inputs: str = "") -> BuiltImage | None:
    """Return what is recorded of an image file; None where that is nothing, of other inputs, or of another file."""
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


def describe(definition: Definition, image: Path, version: str) -> BuiltImage:
    """Tell of an image file that was just built from `definition` by the Apptainer of `version`."""
    return BuiltImage(
        name=definition.name,
        sha256=sha256_of(image),
        size=image.stat().st_size,
        inputs=definition.inputs,
        apptainer=version,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        path=str(image),
        base=definition.base,
    )


def read_image(values: object, where: str) -> BuiltImage:
    """Check values that were read from JSON; `BuildError` names `where` they came from."""
    if isinstance(values, dict):
        texts = {name: values.get(name) for name in ("name", "sha256", "inputs", "apptainer", "created")}
        size = whole_number(values.get("size"))
        digests = all(_SHA256.fullmatch(str(texts[name])) for name in ("sha256", "inputs"))
        if all(isinstance(text, str) for text in texts.values()) and size is not None and digests:
            base = values.get("base")
            return BuiltImage(
                **{name: str(text) for name, text in texts.items()}, size=size, base=base if isinstance(base, str) else ""
            )
    raise BuildError(f"{where} is not the record of an image: {repr(values)[:500]}; remove it and build again")
