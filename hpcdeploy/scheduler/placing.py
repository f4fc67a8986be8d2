"""Where a program finds what its job brought along: mounted where we start the container, sent where HTCondor does."""

from collections.abc import Sequence
from dataclasses import dataclass

from hpcdeploy import shell
from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.parcel import Parcel


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Something that a job brings along.

    ``place`` is absolute in the container, or relative to the working folder. ``is_folder`` says that the parcel is an
    archive, to be unpacked there. ``is_code`` says that it is what ``HPCDEPLOY_CODE`` names.
    """

    parcel: Parcel
    place: str
    is_folder: bool
    is_code: bool = False


def can_mount(scheduler: SchedulerName, cluster: Cluster) -> bool:
    """Tell whether a job on `cluster` can have a folder of the cluster at any place in its container."""
    return scheduler == "slurm" or cluster.htcondor_container == "apptainer"


def parcel_path(sha256: str, *, is_folder: bool, is_code: bool, mounts: bool) -> str:
    """Return where on a cluster, below its root, a parcel belongs.

    An archive that is to be unpacked is removed then; one that HTCondor is to send is another file, so that it stays.
    """
    folder = "code" if is_code else "inputs"
    return f"{folder}/{sha256}{('.tar' if mounts else '.archive') if is_folder else ''}"


def placing_values(placements: Sequence[Placement], outputs: Sequence[str], *, mounts: bool) -> dict[str, object]:
    """Give what the templates need to bring `placements` to their places, and `outputs` back; every word is quoted already.

    Where nothing is mounted, what the program makes lies on the worker alone, and has to be gathered there.
    """
    code = next((one.place for one in placements if one.is_code), None)
    unpacked = [one.parcel.becomes for one in placements if one.parcel.becomes]
    return {
        "gathering": () if mounts else tuple(map(shell.word, outputs)),
        "places": tuple(shell.word(one.place) for one in placements),
        "code_place": "" if code is None else shell.word(code) if code.startswith("/") else f'"$PWD"/{shell.word(code)}',
        "unpacked": tuple(shell.word(path) for path in dict.fromkeys(unpacked)),
        "mounted": tuple(
            (shell.word(one.parcel.becomes or one.parcel.path), shell.word(one.place), "folder" if one.is_folder else "file")
            for one in placements
            if mounts
        ),
        "carried": tuple((shell.word(one.parcel.path), shell.word(_carried_as(one))) for one in placements if not mounts),
        "arriving": tuple(
            (shell.word(_carried_as(one)), shell.word(one.place)) for one in placements if not mounts and one.is_folder
        ),
    }


def _carried_as(placement: Placement) -> str:
    """Return the name, in the job's working folder, that HTCondor brings a parcel as."""
    return f"hpcdeploy-{placement.parcel.sha256}.tar" if placement.is_folder else placement.place
