"""Bringing an image from this machine to the cluster, as a submission does it, against ``scp``; near and far.

Told twice: as whole processes, and as the rate, by what either takes longer than where it carries nothing.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.pairs import Pair, Taken, compared, take
from bench.place import Place, write_sif
from bench.subjects import HELD
from bench.ways import Way
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab


def uploading(place: Place, lab: Lab, ways: Sequence[Way], *, megabytes: int, pairs: int) -> Iterator[Pair]:
    """Compare submitting a held job whose image was built here, and pushed nowhere, with copying that file.

    The far way is given a tenth to carry. After the measurement the image on record is the one of before.
    """
    path = place.project / "new.sif"
    nothing = place.project / "nothing"
    nothing.touch()
    for way, size in zip(ways, (megabytes, max(1, megabytes // 10)), strict=True):
        place.reach(lab, way)
        write_sif(path, size)
        taken = [_carried(place, lab, way, path, nothing) for _ in range(pairs + 1)][1:]  # the first does not count
        whole = [(ours, theirs) for ours, theirs, _, _ in taken]
        beyond = [(ours.beyond(none), theirs.beyond(copied)) for ours, theirs, none, copied in taken]
        yield compared(f"hpcdeploy submit, {size} MB to bring{way.words}", f"scp{way.words}", whole)
        yield compared(
            f"bringing {size} MB, beyond the submission{way.words}", f"scp, beyond an empty file{way.words}", beyond
        )


def _carried(place: Place, lab: Lab, way: Way, path: Path, nothing: Path) -> tuple[Taken, Taken, Taken, Taken]:
    """Take the time of our way to carry the file and of theirs, and of both where nothing is to be carried."""

    def copy(file: Path) -> Taken:
        return take(["scp", "-q", "-F", str(way.config), str(file), f"{lab.host}:{lab.scratch}/copied"])

    built = place.rebuild(path)
    ours = place.hpcdeploy(*HELD, "--", "true")
    inside(lab, ["rm", f"{place.root}/images/{built.sha256}.sif"]).check_returncode()
    theirs = copy(path)
    place.note(place.image)
    none = place.hpcdeploy(*HELD, "--", "true")
    empty = copy(nothing)
    inside(lab, ["rm", f"{lab.scratch}/copied"]).check_returncode()
    return ours, theirs, none, empty
