"""Bringing an image from this machine to the cluster, as a submission does it, against ``scp``; near and far."""

from collections.abc import Iterator, Sequence

from bench.pairs import Pair, Taken, compare, take
from bench.place import Place, write_sif
from bench.subjects import HELD
from bench.ways import Way
from hpcdeploy.lab.inside import inside
from hpcdeploy.lab.state import Lab


def uploading(place: Place, lab: Lab, ways: Sequence[Way], *, megabytes: int, pairs: int) -> Iterator[Pair]:
    """Compare submitting a held job whose image was built here, and pushed nowhere, with copying that file.

    The far way is given a tenth to carry. After the measurement the image on record is the one of before.
    """
    for way, size in zip(ways, (megabytes, max(1, megabytes // 10)), strict=True):
        place.reach(lab, way)
        yield _compare(place, lab, way, megabytes=size, pairs=pairs)
    place.note(place.image)


def _compare(place: Place, lab: Lab, way: Way, *, megabytes: int, pairs: int) -> Pair:
    path = place.project / "new.sif"
    copy = f"{lab.scratch}/copied"
    write_sif(path, megabytes)

    def ours() -> Taken:
        built = place.rebuild(path)
        taken = place.hpcdeploy(*HELD, "--", "true")
        inside(lab, ["rm", f"{place.root}/images/{built.sha256}.sif"]).check_returncode()
        return taken

    def theirs() -> Taken:
        taken = take(["scp", "-q", "-F", str(way.config), str(path), f"{lab.host}:{copy}"])
        inside(lab, ["rm", copy]).check_returncode()
        return taken

    try:
        return compare(f"hpcdeploy submit, {megabytes} MB to bring{way.words}", f"scp{way.words}", ours, theirs, pairs=pairs)
    finally:
        path.unlink()
