"""A stand-in for ``pixi`` in the lab's base image, because the lab cannot download the real pixi.

``pixi --version``, ``pixi info`` and refusals state that it is a stand-in. It uses py-rattler, and implements the commands
of pixi that a definition file needs: ``info``, ``install``, ``shell-hook``, ``list`` and ``run``, for a real ``pixi.toml``
and ``pixi.lock``. It cannot solve an environment or build a package. From PyPI and from the workspace it installs only pure
Python packages; it rejects all other packages.

The stand-in does not use hpcdeploy's parser of manifests, but its own, so that the tests detect an error in either parser.
It imports only the standard library, py-rattler, tomli and itself, because the image contains no other Python package.
"""

VERSION = "0.1.0"
DESCRIPTION = "hpcdeploy lab stand-in for pixi, not pixi"


class StandInError(Exception):
    """A failure that the real pixi would report too; the message is for people."""

    exit_code = 1


class RefusedError(StandInError):
    """A request that only the real pixi supports."""

    exit_code = 2

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; this is the {DESCRIPTION}, and this requires the real pixi")
