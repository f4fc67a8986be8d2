"""List, prune and verify what hpcdeploy keeps on this machine to build faster."""

import hashlib
from pathlib import Path

from hpcdeploy.frozen import frozen


@frozen
class LocalCache:
    """The folders of the cache on this machine.

    Attributes:
        root: The folder that contains all of them.
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
    def verified(self) -> Path:
        """The recorded checksums of images (`hpcdeploy.apptainer.verified_files`)."""
        return self.root / "verified"

    @property
    def downloads(self) -> Path:
        """The downloads of package managers, with one folder for each image of a project."""
        return self.root / "downloads"

    def downloads_of(self, project: Path, image: str) -> Path:
        """Return the folder for the downloads of an image of the project in the folder `project`."""
        return self.downloads / downloads_name(project, image)


def downloads_name(project: Path, image: str) -> str:
    """Return the name of a folder for downloads.

    Each image of each project has its own folder, because the steps of a build can write there. So a project of another
    person cannot change what the next build of your own project reads.
    """
    return hashlib.sha256(f"{project.resolve()}\0{image}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
