"""Describe a file that a cluster needs and only this machine or its registry has, identified by its sha256."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """One file to upload: an image, a code snapshot, an input.

    Attributes:
        sha256: Its checksum (64 hex digits).
        size: Its size in bytes.
        path: Its path on the cluster: relative to the cluster's root, or starting with ``/`` or a variable.
        what: Its description for people ("the image train.sif").
        source: The absolute path of a file of this machine, or an image's ``oras://REPOSITORY@sha256:MANIFEST``.
        becomes: The path, relative to the root, of the result on the cluster, such as an unpacked folder. If it exists, no
            upload is needed.
    """

    sha256: str
    size: int
    path: str
    what: str
    source: str
    becomes: str = ""
