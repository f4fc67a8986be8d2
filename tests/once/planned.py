"""What a client is given: a module of its own, since the client's process imports it too."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hpcdeploy.cluster import Cluster
from hpcdeploy.run import Run
from hpcdeploy.staged_files import StagedFile


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A run that is to be submitted, the script that does it, and what that may ask for.

    ``library`` has other texts for files of the folder ``login/``, by their names: a script that is broken on purpose.
    """

    run: Run
    cluster: Cluster
    script: str
    uploads: tuple[StagedFile, ...] = ()
    library: Mapping[str, str] = field(default_factory=dict)
