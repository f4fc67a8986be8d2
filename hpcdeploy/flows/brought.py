"""What a job brings along, as the plan of a run sees it."""

from collections.abc import Callable
from dataclasses import dataclass

from hpcdeploy.parcel import Parcel
from hpcdeploy.scheduler.placing import Placement

Allow = Callable[[str], bool]
"""Asks a person whether something surprising is meant."""


@dataclass(frozen=True, kw_only=True)
class Brought:
    """What a job brings along; ``notes`` say how large it is. ``commit`` and ``dirty`` are what git says of the code."""

    placements: tuple[Placement, ...] = ()
    notes: tuple[str, ...] = ()
    code_sha256: str = ""
    commit: str = ""
    dirty: bool | None = False

    @property
    def parcels(self) -> tuple[Parcel, ...]:
        """Each file that is to be there, once."""
        return tuple({one.parcel.path: one.parcel for one in self.placements}.values())
