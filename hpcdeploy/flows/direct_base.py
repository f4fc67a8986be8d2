"""Get the base image of a build without Apptainer: its configuration, its layers, and its C library."""

import fcntl
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from hpcdeploy.apptainer.downloads import ABOUT, FILES
from hpcdeploy.definition.base_images import mirrored, with_digest
from hpcdeploy.direct.archives import Archive
from hpcdeploy.direct.flattening import Flattened
from hpcdeploy.direct.layers import TarLayer
from hpcdeploy.environments.oci_layers import OciImage
from hpcdeploy.errors import BuildError
from hpcdeploy.flows.direct_plan import DirectPlan
from hpcdeploy.frozen import frozen
from hpcdeploy.image import PublishedImage
from hpcdeploy.private import own_folder
from hpcdeploy.whole_file import remove_parts, sha256_of, write_whole

_LIBC = ("lib/x86_64-linux-gnu/libc.so.6", "lib64/libc.so.6", "usr/lib64/libc.so.6", "usr/lib/libc.so.6")
_LIBC_SIZE = 32 << 20
_GLIBC = re.compile(rb"GNU C Library [^\n]{0,200}version (\d+\.\d+)")


@frozen
class DirectBuild:
    """How an image is built without Apptainer.

    Attributes:
        plan: What is built.
        downloads: The folder for layers and packages, its lock, and the time of its last use.
        keep: Keep the downloads for later builds. Otherwise the build's own folder has them, and `downloads` is not used.
        mirrors: Pairs of a registry and its mirror.
        is_chosen: The user chose this builder. Otherwise a build whose result may differ from Apptainer's is given up.
        note: What to tell the user about the choice of the builder.
    """

    plan: DirectPlan
    downloads: Path
    keep: bool = True
    mirrors: Sequence[tuple[str, str]] = ()
    is_chosen: bool = False
    note: str = ""


@contextmanager
def with_downloads(build: DirectBuild, folder: Path) -> Iterator[DirectBuild]:
    """Yield `build` with the folder in which the block may store downloads, and hold its lock.

    `hpcdeploy cache prune` removes no folder whose lock is held. `folder` is the build's own folder.
    """
    if not build.keep:
        yield replace(build, downloads=folder / FILES)
        return
    own_folder(build.downloads)
    with (build.downloads / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        remove_parts(build.downloads / ABOUT)
        write_whole(build.downloads / ABOUT, "{}\n")
        yield replace(build, downloads=build.downloads / FILES)


def base_image(build: DirectBuild, digests: Mapping[str, str], stack: ExitStack) -> tuple[OciImage, list[TarLayer]]:
    """Return the base image and its layers. Layers of a registry are downloaded once.

    Args:
        build: The plan and the builder's settings.
        digests: The digests of base images by reference. A reference that is missing is used with its tag.
        stack: Closes the files of the layers.

    Raises:
        BuildError: The archive is damaged.
        RegistryError: The image cannot be downloaded.
    """
    if build.plan.kind != "docker":
        archive = stack.enter_context(Archive(Path(build.plan.base), build.plan.kind))
        image = archive.image()
        openers: list[Callable[[], BinaryIO]] = [archive.opener(layer) for layer in image.layers]
    else:
        from hpcdeploy.registry.lookup import repository_of

        base = build.plan.base
        source = with_digest(base, digests[base]) if base in digests else base
        registry = repository_of(f"docker://{mirrored(source, build.mirrors)}")
        image, openers = registry.image(), []
        with _locked(build.downloads / "layers"):
            for layer in image.layers:
                path = build.downloads / "layers" / layer.digest.removeprefix("sha256:")
                if not path.is_file() or sha256_of(path) != path.name:
                    blob = PublishedImage(repository="", manifest="", sha256=path.name, size=layer.size)
                    registry.download(blob, path)
                openers.append(lambda path=path: path.open("rb"))  # type: ignore[misc]  # binds the loop's value
    layers = [
        TarLayer(opener, f"layer {number} of the base image", diff_id=layer.diff_id)
        for number, (layer, opener) in enumerate(zip(image.layers, openers, strict=True), 1)
    ]
    return image, layers


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder for downloads, so that two builds do not write the same file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_glibc(flattened: Flattened, wanted: str) -> None:
    """Raise `BuildError` if the image's C library is older than the packages need, as the definition's %post does."""
    if not wanted:
        return
    contents = (flattened.read(path, _LIBC_SIZE) for path in _LIBC)
    match = next((found for content in contents if content and (found := _GLIBC.search(content))), None)
    version = match[1].decode() if match else ""
    if tuple(map(int, version.split(".") if version else "0")) < tuple(map(int, wanted.split("."))):
        raise BuildError(
            f"the final base image has glibc {version or '(none)'}, but the packages are locked for glibc {wanted} or newer "
            "and would not start; set a newer image as 'final-base'"
        )
