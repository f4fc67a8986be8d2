"""Describe the files that a job needs on the cluster: uploads, their paths there, and how its image gets there."""

from collections.abc import Sequence

from hpcdeploy import shell
from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.frozen import frozen


@frozen
class StagedFile:
    """A file that is uploaded for a job: an image, a snapshot of code, an input.

    Attributes:
        sha256: Its checksum, 64 hexadecimal digits.
        size: Its size in bytes.
        path: Its path on the cluster: relative to the cluster's root, or starting with ``/`` or a variable.
        what: Its name for messages ("the image train.sif").
        source: Where its bytes are: the absolute path of a file on this machine, or an image's
            ``oras://REPOSITORY@sha256:MANIFEST``.
        becomes: The path, relative to the root, of the folder that it is unpacked to; if that exists, the file is not
            needed.
    """

    sha256: str
    size: int
    path: str
    what: str
    source: str
    becomes: str = ""


@frozen
class Placement:
    """An upload of a job, and its path in the container.

    Attributes:
        upload: The file.
        place: The path: absolute, or relative to the working folder.
        is_folder: The upload is an archive that must be unpacked there.
        is_code: It is the folder that ``HPCDEPLOY_CODE`` names.
    """

    upload: StagedFile
    place: str
    is_folder: bool
    is_code: bool = False


def can_mount(scheduler: SchedulerName, cluster: Cluster) -> bool:
    """Tell whether a job on `cluster` can mount a folder of the cluster at any path in its container."""
    return scheduler == "slurm" or cluster.htcondor_container == "apptainer"


def staged_path(sha256: str, *, is_folder: bool, is_code: bool, mounts: bool) -> str:
    """Return the path of an upload on a cluster, below its root.

    An archive that is unpacked is removed afterwards. One that HTCondor transfers has another name, so that it stays.

    Args:
        sha256: The checksum of the upload.
        is_folder: It is an archive of a folder.
        is_code: It is the code.
        mounts: Jobs can mount folders of the cluster (`can_mount`).
    """
    folder = "code" if is_code else "inputs"
    return f"{folder}/{sha256}{('.tar' if mounts else '.archive') if is_folder else ''}"


def placing_values(placements: Sequence[Placement], outputs: Sequence[str], *, mounts: bool) -> dict[str, object]:
    """Return the template values that provide `placements` in the container and gather `outputs`; every word is quoted.

    Without mounts, the files that the program writes exist only on the worker, and must be gathered there.

    Raises:
        ConfigError: A path contains a NUL.
    """
    code = next((one.place for one in placements if one.is_code), None)
    unpacked = [one.upload.becomes for one in placements if one.upload.becomes]
    return {
        "gathering": () if mounts else tuple(map(shell.word, outputs)),
        "places": tuple(shell.word(one.place) for one in placements),
        "code_place": "" if code is None else shell.word(code) if code.startswith("/") else f'"$PWD"/{shell.word(code)}',
        "unpacked": tuple(shell.word(path) for path in dict.fromkeys(unpacked)),
        "mounted": tuple(
            (shell.word(one.upload.becomes or one.upload.path), shell.word(one.place), "folder" if one.is_folder else "file")
            for one in placements
            if mounts
        ),
        "carried": tuple((shell.word(one.upload.path), shell.word(_carried_as(one))) for one in placements if not mounts),
        "arriving": tuple(
            (shell.word(_carried_as(one)), shell.word(one.place)) for one in placements if not mounts and one.is_folder
        ),
    }


def _carried_as(placement: Placement) -> str:
    """Return the name under which HTCondor transfers an upload into the job's working folder."""
    return f"hpcdeploy-{placement.upload.sha256}.tar" if placement.is_folder else placement.place


@frozen
class Delivery:
    """How the image gets to the cluster.

    Without `reference`, `place` and `upload`, the image must already be in the cluster's cache.

    Attributes:
        sha256: The checksum of the image file.
        reference: The address to pull it from (``oras://...@sha256:...``); empty if it was never pushed.
        size: Its size in bytes.
        host: The host of its registry.
        port: The port of its registry.
        plain_http: The registry does not use TLS.
        in_job: It is pulled on the compute node, from `place` if that is set (HTCondor).
        place: An address that is not an ``oras://`` reference, or a path.
        upload: The image as an upload, for use if it cannot be pulled.
    """

    sha256: str
    reference: str = ""
    size: int = 0
    host: str = ""
    port: int = 443
    plain_http: bool = False
    in_job: bool = False
    place: str = ""
    upload: StagedFile | None = None

    @property
    def fetched_from(self) -> str:
        """The address that a worker gets the image from; empty if the image is sent to the worker."""
        return self.place or (self.reference if self.in_job else "")

    @property
    def arrives_as(self) -> str:
        """The file's name in the job's own folder on the worker, if HTCondor transfers it from a URL."""
        by_starter = self.place.startswith(("/", "docker://", "oras://"))
        return "" if by_starter else self.place.rpartition("/")[2]

    @property
    def pull_options(self) -> tuple[str, ...]:
        """The options of ``apptainer pull``."""
        return ("--disable-cache", *(("--no-https",) if self.plain_http else ()))

    @property
    def uploads(self) -> tuple[StagedFile, ...]:
        """The upload of the image, if there is one."""
        return () if self.upload is None else (self.upload,)
