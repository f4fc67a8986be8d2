"""Measure large numbers: ten thousand tasks in one submission, and a thousand runs in one query."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count

from bench.pairs import Pair, Taken, compare, take
from bench.place import CLUSTER, Place
from bench.subjects import HELD
from bench.ways import Way
from hpcdeploy.run import Run
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab

SUBMIT = """
cd "$1" && printf '#!/bin/sh\\ntrue\\n' >crowd.sh || exit
i=0
while [ "$i" -lt "$2" ]; do
    sbatch --parsable --hold --output=/dev/null --job-name="crowd-$i" crowd.sh || exit
    i=$((i + 1))
done
"""


def sweeping(place: Place, lab: Lab, *, tasks: int, pairs: int) -> Pair:
    """Compare submitting a sweep of many tasks, each with other parameters, with submitting one task."""
    values = place.project / "values.csv"
    values.write_text("rate,name\n" + "".join(f"0.{number},it's {number}\n" for number in range(tasks)), encoding="utf-8")

    def many() -> Taken:
        return place.hpcdeploy(*HELD, "--sweep-file", str(values), "--", "train", "--rate={rate}", "{name}")

    def one() -> Taken:
        return place.hpcdeploy(*HELD, "--", "train", "--rate=0.1", "it's 1")

    pair = compare(f"hpcdeploy submit, {tasks} tasks", "hpcdeploy submit, 1 task", many, one, pairs=pairs)
    _cancel(lab)
    return pair


def asking(place: Place, lab: Lab, ways: Sequence[Way], *, runs: int, pairs: int) -> Iterator[Pair]:
    """Compare querying the states of many runs with ``ssh HOST squeue``; both open a new connection."""
    made = inside(lab, ["sh", "-c", SUBMIT, "sh", lab.scratch, str(runs)], user=lab.user)
    made.check_returncode()
    store = place.store()
    for number, job in zip(count(), made.stdout.decode().split()):
        run = Run(
            id=f"crowd-{number}",
            job="crowd",
            cluster=CLUSTER,
            scheduler="slurm",
            image="default",
            sha256=place.image.sha256,
            tasks=1,
            command=("true",),
            submitted=number,
            job_id=job,
            folder=f"{place.root}/runs/crowd-{number}",
        )
        store.add(run, "")
        store.submitted(run)
    for way in ways:
        place.reach(lab, way)
        bare = ["ssh", "-F", str(way.config), lab.host, "squeue"]
        names = f"hpcdeploy status, {runs} runs{way.words}", f"ssh HOST squeue{way.words}"
        yield compare(*names, lambda: place.hpcdeploy("status", "--all"), partial(take, bare), pairs=pairs)
    _cancel(lab)


def _cancel(lab: Lab) -> None:
    """Cancel held jobs, so that they do not affect later measurements."""
    inside(lab, ["scancel", f"--user={lab.user}"]).check_returncode()
