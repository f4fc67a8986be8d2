"""What only this machine has, or a registry that only it reaches, and a cluster needs: files known by their sha256."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """One file to be brought: an image, a snapshot of code, an input.

    ``sha256`` (64 hex digits) and ``size`` (bytes) are the file's; ``path`` is its place on the cluster, relative to the
    cluster's root, or from ``/`` or a variable on; ``what`` names it for people ("the image train.sif"). ``source`` is where
    its bytes are: the absolute path of a file of this machine, or an image's ``oras://REPOSITORY@sha256:MANIFEST``.
    ``becomes`` is the path, relative to the root, of what is made of it there; where that is, it need not be brought.
    """

    sha256: str
    size: int
    path: str
    what: str
    source: str
    becomes: str = ""
