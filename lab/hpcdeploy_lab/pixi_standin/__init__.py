"""A stand-in for ``pixi`` in the lab's base image, where the real one cannot be downloaded. All of its output mentions this.

On top of py-rattler, it really does what a definition file needs of pixi: ``info``, ``install``, ``shell-hook``, ``list``
and ``run``, with a real ``pixi.toml`` and ``pixi.lock``. It neither solves nor builds. From PyPI and from the workspace it
installs only pure Python packages; it rejects everything else.

It has its own manifest parser instead of hpcdeploy's, so that the tests detect a parser error on either side. It imports
only the standard library, py-rattler, tomli and itself, because the image contains nothing else.
"""

VERSION = "0.1.0"
DESCRIPTION = "hpcdeploy lab stand-in for pixi, not pixi"


class StandInError(Exception):
    """A failure that pixi would have too; the message is for people."""

    exit_code = 1


class RefusedError(StandInError):
    """A request that only the real pixi supports."""

    exit_code = 2

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; this is the {DESCRIPTION}, and this requires the real pixi")
