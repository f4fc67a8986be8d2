"""Describe the files that a job needs on the cluster: the uploads, their paths on the cluster, and the image."""

from collections.abc import Sequence

from hpcdeploy import shell
from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.frozen import frozen


@frozen
class StagedFile:
    """A file that is uploaded for a job: an image, a snapshot of code, or an input.

    Attributes:
        sha256: The checksum of the file (64 hex digits).
        size: The size of the file in bytes.
        path: The path of the file on the cluster. It is relative to the cluster's root, or begins with ``/`` or a variable.
        what: The name of the file in messages, such as "the image train.sif".
        source: The origin of the bytes: the absolute path of a file on this machine, or the reference of an image,
            ``oras://REPOSITORY@sha256:MANIFEST``.
        becomes: The folder into which the file is unpacked, relative to the cluster's root. If this folder exists, the file
            is not uploaded. Empty if the file is not unpacked.
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
        place: The path in the container: absolute, or relative to the working folder.
        is_folder: Whether the upload is an archive of a folder, which is unpacked at `place`.
        is_code: Whether the upload is the job's code, whose path the variable ``HPCDEPLOY_CODE`` contains.
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

    An archive that is unpacked on the login node is removed afterwards. An archive that HTCondor transfers to the worker
    gets another name, because it must not be removed.

    Args:
        sha256: The checksum of the upload.
        is_folder: Whether the upload is an archive of a folder.
        is_code: Whether the upload is the job's code.
        mounts: Whether jobs can mount folders of the cluster (`can_mount`).
    """
    folder = "code" if is_code else "inputs"
    return f"{folder}/{sha256}{('.tar' if mounts else '.archive') if is_folder else ''}"


def placing_values(placements: Sequence[Placement], outputs: Sequence[str], *, mounts: bool) -> dict[str, object]:
    """Return the template values that provide `placements` in the container and gather `outputs`. The values are quoted.

    If nothing can be mounted, the program's files exist only on the worker, so `outputs` must be gathered there.

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

    If `reference`, `place` and `upload` are not set, the image must already be in the cluster's cache.

    Attributes:
        sha256: The checksum of the image file, or the digest of the manifest for a ``docker://`` image (64 hex digits).
        reference: The address from which Apptainer pulls the image (``oras://...@sha256:...``); empty if the image is not
            pulled.
        size: The size of the image file in bytes; 0 if unknown.
        host: The host of the image's registry; empty without `reference`.
        port: The port of the image's registry.
        plain_http: Whether the registry uses HTTP without TLS.
        in_job: Whether the image is fetched on the compute node: from `place` if that is set, else from `reference`.
        place: For an image that an HTCondor worker fetches: its ``docker://`` address, its URL, or its path on CVMFS. Empty
            for other images.
        upload: The image as an upload, which is used if the image is not or cannot be pulled; None for none.
        untested: The image's ``%test`` did not run where it was built, so it runs on the login node before the first job.
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
    untested: bool = False

    @property
    def fetched_from(self) -> str:
        """The address from which a worker fetches the image; empty if HTCondor sends the image to the worker."""
        return self.place or (self.reference if self.in_job else "")

    @property
    def arrives_as(self) -> str:
        """The name of the image file in the job's folder on the worker if HTCondor transfers it from a URL; else empty."""
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
