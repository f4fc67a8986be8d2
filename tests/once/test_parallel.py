"""A submission that uploads a large file in parallel, cut off on the way: one job, the file whole, little sent twice."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench.ways import ways
from hpcdeploy.cluster import Cluster, SchedulerName, TransportName
from hpcdeploy.flows.submit import plan_run
from hpcdeploy.remote import parallel_upload
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.staged_files import Delivery, StagedFile
from hpcdeploy.store import Store
from hpcdeploy.whole_file import sha256_of
from hpcdeploy_lab.inside import inside
from tests.once import client
from tests.once.asking import jobs_by_run, wait_for_scripts
from tests.once.breaking import CRASHED, PATIENCE, Outcome, ended, resume, told
from tests.once.conftest import HELD, Place
from tests.once.peers import kill_whoever_comes_to
from tests.once.planned import Planned
from tests.once.points import Point, points, share_of
from tests.once.proxy import Cut, Proxy

KINDS = {
    "cut after bytes to the login node": 4,
    "client killed after bytes to the login node": 3,
    "client and master killed after bytes to the login node": 1,
    "receiver killed after bytes to the login node": 3,
    "logins killed after bytes to the login node": 3,
    "resumed elsewhere after bytes to the login node": 2,
}
"""How many points of each kind there are, on both schedulers together, and with both who speak SSH."""

SIZE = parallel_upload.LARGE + 1
AT_ONCE = 3
LOST = 9_000_000
"""Bytes that were on their way when a connection broke, and come again: a window of 2 MiB in each channel, and buffers."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """The long way to the lab, and who is to speak SSH over it."""

    place: Place
    port: int
    speaker: TransportName
    scheduler: SchedulerName

    def through(self, proxy: Proxy) -> Cluster:
        return replace(self.place.cluster, ssh_config=str(proxy.ssh_config), transport=self.speaker)


@pytest.fixture(scope="module")
def far(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Give the port at which the lab's SSH server is a long way off."""
    with ways(place.lab, tmp_path_factory.mktemp("ways")) as (_, distant):
        [port] = [line.split()[1] for line in distant.config.read_text().splitlines() if line.strip().startswith("Port ")]
        yield int(port)


def planned(way: Way, folder: Path, cluster: Cluster) -> Planned:
    """Plan a run that uploads a new large image."""
    image = folder / "own.sif"
    image.write_bytes(os.urandom(SIZE))
    sha256 = sha256_of(image)
    path = f"{cluster.images_folder}/{sha256}.sif"
    staged = StagedFile(sha256=sha256, size=SIZE, path=path, what="the image", source=str(image))
    delivery = Delivery(sha256=sha256, size=SIZE, upload=staged)
    run = plan_run(HELD, cluster, way.scheduler, delivery, now=0)
    return Planned(run=run, cluster=cluster, script=submission(run, HELD, cluster, delivery), uploads=(staged,))


def kill_over_there(place: Place, point: Point, made: Planned) -> bool:
    """Kill one of the scripts that receive the image, or the logins that they belong to with all that runs in them."""
    name = f"*/.{made.uploads[0].sha256}*.lock"
    scripts = f"pids=($(find /proc/[0-9]*/fd -lname '{name}' 2>/dev/null | cut -d/ -f3 | sort -u)); [ ${{#pids[@]}} -gt 0 ]"
    if point.kind.startswith("receiver"):
        kill = f"kill -KILL ${{pids[{int(point.where * 1000)} % ${{#pids[@]}}]}}"
    else:
        # All at once: of those whose login is gone already, something else is the parent.
        kill = 'kill -KILL $(ps -o ppid= -p "${pids[*]}" | sort -u) "${pids[@]/#/-}"'
    return inside(place.lab, ["bash", "-c", f"{scripts} && {kill}"], timeout=30).returncode == 0


def what_came(place: Place, made: Planned) -> list[int]:
    """Return the sizes of the pieces of the image that lie over there: records that are listed, or the whole so far."""
    sha256, images = made.uploads[0].sha256, f"{place.root}/images"
    line = f"cat {images}/.{sha256}.ranges || stat -c '0 %s ;' {images}/.{sha256}.parcel {images}/{sha256}.sif"
    found = inside(place.lab, ["bash", "-c", line], user=place.lab.user, timeout=30).stdout.decode()
    rows = [line.split() for line in found.splitlines()]
    spans = {(int(row[0]), int(row[1])) for row in rows if len(row) == 3}
    return [length for _, length in spans]


def is_parallel(place: Place, made: Planned) -> bool:
    """Tell whether a parallel upload has begun, and has not ended; its first records may still be on their way."""
    file = f"{place.root}/images/.{made.uploads[0].sha256}.records"
    return inside(place.lab, ["test", "-e", file], user=place.lab.user, timeout=30).returncode == 0


def sent_through(proxy: Proxy) -> int:
    """Count the bytes that went up, once all connections have ended."""
    end = time.monotonic() + PATIENCE
    while len(proxy.passed) < proxy.begun:
        assert time.monotonic() < end, "a connection lasts"
        time.sleep(0.05)
    return sum(up for up, _ in proxy.passed)


def resume_counted(way: Way, made: Planned, store: Store, folder: Path) -> tuple[str, int]:
    """Resume a submission over the long way; return the job's number and how many bytes were sent."""
    folder.mkdir()
    with Proxy(way.place.lab, folder, (), server=way.port) as proxy:
        job = resume(replace(way.place, cluster=way.through(proxy)), made.run, store)
        return job, sent_through(proxy)


def break_one(way: Way, point: Point, folder: Path, record: Path) -> tuple[Outcome, list[str]]:
    """Break one submission, resume it where that is needed, and say what came to pass that should not have."""
    place, store, wrong = way.place, Store(record), list[str]()
    on_the_way = threading.Event()
    folder.mkdir()

    def break_it() -> None:
        if point.kind.startswith(("receiver", "logins")) and not kill_over_there(place, point, made):
            wrong.append(f"{point}, {way.speaker}: there was no process to kill")
        if point.kind.startswith("client"):
            process.kill()
        if "master" in point.kind:
            kill_whoever_comes_to(proxy.port)
        on_the_way.set()

    at = int((0.02 + 0.96 * point.where) * SIZE)
    instead = None if point.kind.startswith("cut") else break_it
    again, twice = "", 0
    with Proxy(place.lab, folder, [Cut(up=at, late=point.late, instead=instead)], server=way.port) as proxy:
        made = planned(way, folder, way.through(proxy))
        process = client.start(made, record, folder / "said")
        if point.kind.startswith("resumed"):
            assert on_the_way.wait(PATIENCE)
            again, twice = resume_counted(way, made, store, folder / "beside")
        last = ended(process, folder / "said")
        code, said = last or (process.exitcode or CRASHED, "")
        if code == 0 and (sent := sent_through(proxy) + twice) > SIZE + LOST:
            wrong.append(f"{point}, {way.speaker}: {sent} bytes were sent")
    if code:
        came = what_came(place, made)
        if sum(came) < SIZE // parallel_upload.CHANNELS and not is_parallel(place, made):
            wrong.append(f"{point}, {way.speaker}: not in parallel, but {came}")
        again, sent = resume_counted(way, made, store, folder / "again")
        if sent > SIZE - sum(came) + LOST:
            wrong.append(f"{point}, {way.speaker}: {came} had come, and {sent} bytes were sent again")
    [known] = store.find([made.run.id])
    if not known.run.job_id or again not in ("", known.run.job_id):
        wrong.append(f"{point}, {way.speaker}: on record is job {known.run.job_id!r}, resumed as {again!r}; {said}")
    return Outcome(point=point, planned=made, exit_code=code, said=said, cuts=proxy.cut), wrong


def lies_there(place: Place, made: Planned) -> list[str]:
    """List what there is of an image over there, and the sha256 of the whole."""
    sha256 = made.uploads[0].sha256
    line = f"cd {place.root}/images && ls -A | grep {sha256}; sha256sum <{sha256}.sif"
    return inside(place.lab, ["bash", "-c", line], user=place.lab.user, timeout=60).stdout.decode().split()[:-1]


def test_a_large_file_uploaded_in_parallel_that_is_cut_off_anywhere_is_whole_in_the_end_and_has_one_job(
    place: Place, far: int, seed: str, tmp_path: Path, say: Callable[[str], None]
) -> None:
    record = tmp_path / "runs.db"
    schedulers = place.cluster.schedulers

    def break_at(pair: tuple[int, Point]) -> tuple[Outcome, list[str]]:
        number, point = pair
        speaker: TransportName = "openssh" if number % 2 or "master" in point.kind else "paramiko"
        scheduler = schedulers[number // 2 % len(schedulers)]
        way = Way(place=place, port=far, speaker=speaker, scheduler=scheduler)
        return break_one(way, point, tmp_path / str(number), record)

    kinds = share_of(KINDS)
    chosen = points(f"{seed} parallel", kinds)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes, wrongs = zip(*pool.map(break_at, enumerate(chosen)), strict=True)
    wait_for_scripts(place.lab, place.root)
    found = {run: jobs for scheduler in schedulers for run, jobs in jobs_by_run(place.lab, scheduler).items()}
    counts = [len(found.get(one.run.id, ())) for one in outcomes]
    resumed = sum(bool(one.exit_code) for one in outcomes)
    say(told("in parallel", seed, outcomes, counts, resumed, counts.count(0)))
    assert [line for lines in wrongs for line in lines] == []
    assert counts == [1] * len(outcomes)
    assert Counter(one.point.kind for one in outcomes) == kinds
    for one in outcomes:
        sha256 = one.planned.uploads[0].sha256
        assert lies_there(place, one.planned) == [f".{sha256}.lock", f"{sha256}.sif", sha256]
