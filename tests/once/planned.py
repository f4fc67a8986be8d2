"""What a client is given: a module of its own, since the client's process imports it too."""

from dataclasses import dataclass
from pathlib import Path

from hpcdeploy.cluster import Cluster
from hpcdeploy.run import Run
from hpcdeploy.staged_files import StagedFile


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A run that is to be submitted, the script that does it, and what that may ask for.

    ``overrides`` is the folder of templates that count before the shipped ones.
    """

    run: Run
    cluster: Cluster
    script: str
    uploads: tuple[StagedFile, ...] = ()
    overrides: Path | None = None
