"""How an image gets to a cluster."""

from hpcdeploy.frozen import frozen
from hpcdeploy.staged_files import StagedFile


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
