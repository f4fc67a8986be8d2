"""Describe the code and input files that a job uploads, for the plan of a run."""

from collections.abc import Callable
from dataclasses import dataclass

from hpcdeploy.parcel import Parcel
from hpcdeploy.scheduler.placing import Placement

Allow = Callable[[str], bool]
"""Ask the user to confirm something unusual."""


@dataclass(frozen=True, kw_only=True)
class Brought:
    """The files that a job uploads.

    Attributes:
        placements: The files and their destinations.
        notes: Their sizes, for the user.
        code_sha256: The checksum of the code snapshot; empty for none.
        commit: The commit that git reported for the code.
        dirty: The code differs from that commit; None if git did not report it.
    """

    placements: tuple[Placement, ...] = ()
    notes: tuple[str, ...] = ()
    code_sha256: str = ""
    commit: str = ""
    dirty: bool | None = False

    @property
    def parcels(self) -> tuple[Parcel, ...]:
        """The files to upload, without duplicates."""
        return tuple({one.parcel.path: one.parcel for one in self.placements}.values())
