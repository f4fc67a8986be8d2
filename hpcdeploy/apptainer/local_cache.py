"""List, remove and verify what hpcdeploy keeps on this machine to build faster."""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from hpcdeploy.apptainer.build_folder import remove
from hpcdeploy.apptainer.build_record import record_path
from hpcdeploy.apptainer.downloads import ABOUT, FILES
from hpcdeploy.apptainer.image_cache import DAMAGED, ImageCache
from hpcdeploy.apptainer.verified_files import VerifiedFiles
from hpcdeploy.cache_items import CacheItem
from hpcdeploy.checked_values import read_json
from hpcdeploy.frozen import frozen
from hpcdeploy.image import BuiltImage
from hpcdeploy.regular_file import LARGEST_TEXT, read_regular
from hpcdeploy.whole_file import sha256_of

_DAMAGED = ".damaged"
"""The suffix of an image of an environment whose content differed from its record."""

BUILD_PARTS = ("context", "tmp", "secrets", "bin", "code", "mark", "direct")
"""The parts of a build's folder that are removed before and after the build. An interrupted build leaves them."""

SECOND_PARTS = ("builds", "environments", "image", "files", "verified")
"""The parts of the folder of a second build, which is compared with the first one (`hpcdeploy.flows.reproducible`)."""

_PARTS = (*BUILD_PARTS, *SECOND_PARTS)


@frozen
class LocalCache:
    """The cache on this machine.

    Attributes:
        root: The folder that contains all of its folders (`hpcdeploy.folders.cache_folder`).
    """

    root: Path

    @property
    def builds(self) -> Path:
        """The folder for unfinished builds, with one folder and one lock for each key."""
        return self.root / "builds"

    @property
    def images(self) -> Path:
        """The built images, by key (`hpcdeploy.apptainer.image_cache`)."""
        return self.root / "images"

    @property
    def environments(self) -> Path:
        """The images without code, by the key of the environment."""
        return self.root / "environments"

    @property
    def verified(self) -> Path:
        """The recorded checksums of images (`hpcdeploy.apptainer.verified_files`)."""
        return self.root / "verified"

    @property
    def downloads(self) -> Path:
        """The downloads of package managers, with one folder for each image of a project."""
        return self.root / "downloads"

    @property
    def direct_downloads(self) -> Path:
        """The folder for the downloads of builds without Apptainer.

        All projects share it, because no command of a project writes there, and each file is compared with its checksum.
        """
        return self.downloads / "direct"

    def downloads_of(self, project: Path, image: str) -> Path:
        """Return the folder for the downloads of an image of the project in the folder `project`."""
        return self.downloads / downloads_name(project, image)


def downloads_name(project: Path, image: str) -> str:
    """Return the name of a folder for downloads.

    Each image of each project has its own folder, because the steps of a build can write there. So a project of another
    person cannot change what the next build of your own project reads.
    """
    return hashlib.sha256(f"{project.resolve()}\0{image}".encode("utf-8", "surrogateescape")).hexdigest()[:32]


def list_items(cache: LocalCache) -> tuple[CacheItem, ...]:
    """Return what the cache keeps. Files that disappear meanwhile are left out."""
    return (*_images(cache), *_environments(cache), *_damaged(cache), *_downloads(cache), *_unfinished(cache))


def remove_item(cache: LocalCache, item: CacheItem) -> str:
    """Remove an item of `list_items`; return its new verdict. An item that a build uses is kept."""
    with _unused(_lock_of(cache, item)) as unused:
        if not unused:
            return "used"
        paths = _paths_of(cache, item)
        if not any(path.exists() for path in paths):
            return "gone"
        for path in paths:
            if path.is_dir():
                remove(path)
            else:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        return "failed" if any(path.exists() for path in paths) else "removed"


def verify_images(cache: LocalCache, *, dry_run: bool = False) -> Iterator[CacheItem]:
    """Compare each image with its recorded checksum, and yield it with the verdict.

    Every image is read, even if it has not changed since it was last verified. A damaged image is moved aside, unless
    `dry_run` is set.
    """
    for item in (*_images(cache), *_environments(cache)):
        with _unused(_lock_of(cache, item)) as unused:
            path = _paths_of(cache, item)[0]
            if not unused:
                yield _with(item, "used")
                continue
            try:
                intact = item.kind != "damaged" and sha256_of(path) == _about(record_path(path)).get("sha256")
            except OSError:
                if not path.exists():  # a site's purge removed it
                    continue
                intact = False
            if not intact and not dry_run:
                _move_aside(cache, item)
            yield _with(item, "intact" if intact else ("damaged" if dry_run else "moved"))
    if not dry_run:
        VerifiedFiles(cache.verified).remove_stale()


def _move_aside(cache: LocalCache, item: CacheItem) -> None:
    path = _paths_of(cache, item)[0]
    if item.kind == "environment":
        path.replace(path.with_suffix(_DAMAGED))
        record_path(path).unlink(missing_ok=True)
    else:
        ImageCache(cache.images, VerifiedFiles(cache.verified)).move_aside(path.stem)


def _environments(cache: LocalCache) -> Iterator[CacheItem]:
    for path in _listed(cache.environments, "*.sif"):
        with suppress(OSError):
            status = path.stat()
            item = CacheItem(
                kind="environment",
                name=path.name,
                size=status.st_blocks * 512,
                used=int(max(status.st_atime, status.st_mtime)),
                environment=path.stem,
            )
            yield _with(item, "free" if _is_unused(_lock_of(cache, item)) else "used")


def _images(cache: LocalCache) -> Iterator[CacheItem]:
    entries = {entry.inputs: entry for entry in ImageCache(cache.images, VerifiedFiles(cache.verified)).entries()}
    for path in _listed(cache.images, "*.sif"):
        item = _image_item(path, entries.get(path.stem))
        if item:
            yield _with(item, "free" if _is_unused(_lock_of(cache, item)) else "used")


def _image_item(path: Path, entry: BuiltImage | None) -> CacheItem | None:
    """Return the item of an image; None if the file is gone. An image without a record is damaged."""
    with suppress(OSError):
        status = path.stat()
        size = status.st_blocks * 512 if status.st_nlink == 1 else 0
        if entry is None:
            return CacheItem(kind="damaged", name=path.name, size=size, used=int(status.st_mtime), key=path.stem)
        return CacheItem(
            kind="image",
            name=path.name,
            size=size,
            used=int(record_path(path).stat().st_mtime),
            image=entry.name,
            key=entry.inputs,
            environment=entry.environment,
        )
    return None


def _damaged(cache: LocalCache) -> Iterator[CacheItem]:
    for path in _listed(cache.images / DAMAGED, "*.sif"):
        with suppress(OSError):
            status = path.stat()
            yield CacheItem(
                kind="damaged", name=f"{DAMAGED}/{path.name}", size=status.st_blocks * 512, used=int(status.st_ctime)
            )
    for path in _listed(cache.environments, f"*{_DAMAGED}"):
        yield CacheItem(kind="damaged", name=path.name, size=_size_of(path), used=_time_of(path), environment=path.stem)


def _downloads(cache: LocalCache) -> Iterator[CacheItem]:
    for folder in _listed(cache.downloads, "*"):
        if not (folder / FILES).is_dir():
            continue
        about = _about(folder / ABOUT)
        item = CacheItem(
            kind="downloads",
            name=folder.name,
            size=_size_of(folder / FILES),
            used=_time_of(folder / ABOUT),
            image=about.get("image", ""),
            project=about.get("project", ""),
        )
        yield _with(item, "free" if _is_unused(_lock_of(cache, item)) else "used")


def _unfinished(cache: LocalCache) -> Iterator[CacheItem]:
    for folder in _listed(cache.builds, "*"):
        left = [folder / part for part in _PARTS if (folder / part).exists()]
        if left:
            size = sum(map(_size_of, left))
            item = CacheItem(kind="unfinished", name=folder.name, size=size, used=_time_of(folder))
            yield _with(item, "free" if _is_unused(_lock_of(cache, item)) else "used")
    day_ago = time.time() - 86400
    for path in (*_listed(cache.images, ".*"), *_listed(cache.environments, ".*")):
        if path.is_file() and 0 < _time_of(path) < day_ago:
            yield CacheItem(kind="unfinished", name=path.name, size=_size_of(path), used=_time_of(path))


def _paths_of(cache: LocalCache, item: CacheItem) -> tuple[Path, ...]:
    match item.kind:
        case "downloads":
            folder = cache.downloads / item.name
            return folder / FILES, folder / ABOUT  # the lock file stays, because a build may wait for it
        case "unfinished" if not item.name.startswith("."):
            return tuple(cache.builds / item.name / part for part in _PARTS)
        case "environment":
            return cache.environments / item.name, record_path(cache.environments / item.name)
        case "damaged" if item.environment and not item.key:
            return (cache.environments / item.name,)
        case "unfinished":
            return cache.images / item.name, cache.environments / item.name
        case _:
            return cache.images / item.name, record_path(cache.images / item.name)


def _lock_of(cache: LocalCache, item: CacheItem) -> Path:
    """Return the lock file of the build that may use an item."""
    if item.kind == "downloads":
        return cache.downloads / item.name / "lock"
    if item.kind == "unfinished" and not item.name.startswith("."):
        return cache.builds / item.name / "lock"
    return cache.builds / (item.key or item.environment or item.name.lstrip("."))[:16] / "lock"


@contextmanager
def _unused(lock: Path) -> Iterator[bool]:
    """Hold a build's lock during the block; yield False if a build holds it. The lock may not exist."""
    try:
        file = lock.open("r+")
    except OSError:
        yield True
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def _is_unused(lock: Path) -> bool:
    with _unused(lock) as unused:
        return unused


def _with(item: CacheItem, verdict: str) -> CacheItem:
    return replace(item, verdict=verdict)


def _listed(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern)) if folder.is_dir() else []
    except OSError:
        return []


def _about(path: Path) -> dict[str, str]:
    try:
        values = read_json(read_regular(path, LARGEST_TEXT))
        return {name: str(value) for name, value in values.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _time_of(path: Path) -> int:
    try:
        return int(path.stat().st_mtime)
    except OSError:
        return 0


def _size_of(path: Path) -> int:
    """Return the space that a file or a folder takes, in bytes; files that disappear meanwhile are left out."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += os.lstat(f"{folder}/{name}").st_blocks * 512
    if not path.is_dir():
        with suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total
