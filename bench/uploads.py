"""Compare uploading an image in a submission with ``scp``, directly and with the delay of a distant cluster.

There are two results: the times of the whole processes, and the times of the transfer alone. The latter are the times of the
whole processes minus those of processes that transfer no data.
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
    """Compare submitting a held job, whose image is only on this machine, with copying the same file by ``scp``.

    With the delay, the image has a tenth of the size. Afterwards the record has the previous image again.
    """
    path = place.project / "new.sif"
    nothing = place.project / "nothing"
    nothing.touch()
    for way, size in zip(ways, (megabytes, max(1, megabytes // 10)), strict=True):
        place.reach(lab, way)
        write_sif(path, size)
        taken = [_carried(place, lab, way, path, nothing) for _ in range(pairs + 1)][
            1:
        ]  # the first measurement only fills caches
        whole = [(ours, theirs) for ours, theirs, _, _ in taken]
        beyond = [(ours.beyond(none), theirs.beyond(copied)) for ours, theirs, none, copied in taken]
        yield compared(f"hpcdeploy submit with {size} MB to upload{way.words}", f"scp{way.words}", whole)
        yield compared(
            f"upload of {size} MB without the submission{way.words}", f"scp without that of an empty file{way.words}", beyond
        )


def _carried(place: Place, lab: Lab, way: Way, path: Path, nothing: Path) -> tuple[Taken, Taken, Taken, Taken]:
    """Measure hpcdeploy and scp with the image, then hpcdeploy and scp without data to transfer."""

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
