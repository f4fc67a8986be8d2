"""Compare two images that should be equal, and name the files that differ."""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from hpcdeploy.apptainer import sif_edit
from hpcdeploy.apptainer.build_folder import remove
from hpcdeploy.apptainer.packing import ENVIRONMENT, SquashfsTools
from hpcdeploy.apptainer.sif import read_object, read_sif
from hpcdeploy.errors import BuildError

_LINE = re.compile(r"(?P<about>[a-z-][rwxsStT-]{9} .*?) squashfs-root(?P<path>/.*?)?(?: -> (?P<link>.*))?")
"""A line of ``unsquashfs -lln``: mode, owner, size, time, path and the target of a link."""


def differences(first: Path, second: Path, tools: SquashfsTools, work: Path) -> Iterator[str]:
    """Yield a description of each difference between two images; nothing if their bytes are equal.

    Args:
        first: An image.
        second: Another one.
        tools: The squashfs tools.
        work: A folder that does not exist, with room for the files of one image.

    Raises:
        BuildError: An image cannot be unpacked.
        ConfigError: A file is not an image.
        OSError: A file cannot be read or written.
    """
    if _same_bytes(first, second):
        return
    found = [*_objects(first, second), *_files(first, second, tools, work)]
    yield from found or ["the header, the table of objects or the order of the files in the image"]


def _same_bytes(first: Path, second: Path) -> bool:
    if first.stat().st_size != second.stat().st_size:
        return False
    with first.open("rb") as one, second.open("rb") as other:
        while block := one.read(1 << 20):
            if block != other.read(1 << 20):
                return False
    return True


def _objects(first: Path, second: Path) -> Iterator[str]:
    """Yield the names of the texts in the two images that differ, such as the definition."""
    texts: list[dict[str, bytes]] = []
    for image in (first, second):
        with image.open("rb") as file:
            sif = read_sif(file, str(image))
            small = (item for item in sif.objects if item.kind != "partition")
            texts.append({item.name or item.kind: read_object(file, item, str(image)) for item in small})
    for name in sorted(texts[0].keys() | texts[1].keys()):
        if texts[0].get(name) != texts[1].get(name):
            yield f"{name} (in the image's header)"


def _files(first: Path, second: Path, tools: SquashfsTools, work: Path) -> Iterator[str]:
    listed = [_listing(image, tools) for image in (first, second)]
    contents = [_contents(image, tools, work) for image in (first, second)]
    for path in sorted(listed[0].keys() | listed[1].keys()):
        one, other = listed[0].get(path), listed[1].get(path)
        if one is None or other is None:
            yield f"{path} (only in the {'second' if one is None else 'first'} image)"
        elif one != other:
            yield f"{path} ({one} in the first image, {other} in the second)"
        elif contents[0].get(path) != contents[1].get(path):
            yield f"{path} (content)"


def _listing(image: Path, tools: SquashfsTools) -> dict[str, str]:
    """Return mode, owner, size, time and target of each file, by its path. The sizes of folders are left out."""
    found: dict[str, str] = {}
    for line in _run([tools.unsquashfs, "-lln", "-o", str(_start(image)), str(image)]).splitlines():
        match = _LINE.fullmatch(line)
        if match:
            about = " ".join(match["about"].split())
            shown = re.sub(r" [0-9]+ (?=[0-9]{4}-)", " ", about) if about.startswith("d") else about
            found[match["path"] or "/"] = shown + (f" -> {match['link']}" if match["link"] else "")
    return found


def _contents(image: Path, tools: SquashfsTools, work: Path) -> dict[str, str]:
    """Return the sha256 of each regular file, by its path. The files are unpacked to `work`, which is removed."""
    try:
        _run(
            [
                tools.unsquashfs,
                "-no-progress",
                "-no-xattrs",
                "-ignore-errors",
                "-d",
                str(work),
                "-o",
                str(_start(image)),
                str(image),
            ]
        )
        found: dict[str, str] = {}
        for folder, inner, names in os.walk(work):
            for name in inner:
                if not (Path(folder) / name).is_symlink():
                    (Path(folder) / name).chmod(0o700)
            for name in names:
                path = Path(folder) / name
                if path.is_file() and not path.is_symlink():
                    path.chmod(0o600)
                    with path.open("rb") as file:
                        found[f"/{path.relative_to(work)}"] = hashlib.file_digest(file, "sha256").hexdigest()
        return found
    finally:
        remove(work)


def _start(image: Path) -> int:
    try:
        with image.open("rb") as file:
            return sif_edit.read_head(file.fileno())[1]
    except sif_edit.UnfitSifError as error:
        raise BuildError(f"{image} cannot be compared: {error}") from error


def _run(words: list[str]) -> str:
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=ENVIRONMENT,
        check=False,
    )
    # Exit code 2: files were written, but something that only root may do failed, such as devices and owners.
    if done.returncode not in (0, 2):
        raise BuildError(
            f"{words[0]} failed with exit code {done.returncode}: {done.stderr.decode(errors='replace')[-300:].strip()}"
        )
    return done.stdout.decode(errors="replace")
