"""A stand-in for ``pixi`` in the lab's base image, where no real one can be fetched. It says so wherever it speaks.

It does for real, on top of py-rattler, what a definition file asks of pixi: ``info``, ``install``, ``shell-hook``, ``list``
and ``run``, from a real ``pixi.toml`` and ``pixi.lock``; it solves nothing, builds nothing, installs of PyPI's packages and
of the workspace's own the pure Python ones, and refuses everything else. It reads manifests
with code of its own, not with hpcdeploy's: it plays the other side, and a misreading must not hide on both.
It imports nothing but the standard library, py-rattler, tomli and itself, because that is what the image holds.
"""

VERSION = "0.1.0"
DESCRIPTION = "hpcdeploy lab stand-in for pixi, not pixi"


class StandInError(Exception):
    """What was asked for failed, as it would with pixi; the message is for people."""

    exit_code = 1


class RefusedError(StandInError):
    """Only the real pixi can do what was asked for."""

    exit_code = 2

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; this is the {DESCRIPTION}, and the real pixi is needed for that")
