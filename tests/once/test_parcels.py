"""A submission that brings files, cut off anywhere: one job or none, whole files only, and the code as it was."""

import hashlib
import os
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import SchedulerName
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.job_files import collect_uploads
from hpcdeploy.flows.submit import plan_run
from hpcdeploy.job import Code
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.shell_script import library_file
from hpcdeploy.staged_files import Delivery, StagedFile
from hpcdeploy.store import Store
from hpcdeploy.whole_file import sha256_of
from hpcdeploy_lab.inside import inside
from tests.once import client
from tests.once.asking import jobs_by_run, wait_for_scripts
from tests.once.breaking import AT_ONCE, Outcome, Plan, Whole, break_one, ended, measure, resume, told, wrongs
from tests.once.conftest import HELD, Place
from tests.once.planned import Planned
from tests.once.points import BRINGING, Point, points, share_of
from tests.once.proxy import Cut, Proxy

IMAGE_BYTES = 500_000
CODE_BYTES = 300_000


def planned(place: Place, scheduler: SchedulerName, folder: Path, setup: tuple[str, ...], ssh_config: Path) -> Planned:
    """Plan a run that uploads a new image and new code."""
    image, code = folder / "own.sif", folder / "code" / "unique"
    code.parent.mkdir()
    code.write_bytes(os.urandom(CODE_BYTES))
    image.write_bytes(os.urandom(IMAGE_BYTES))
    cluster = replace(place.cluster, setup=setup, ssh_config=str(ssh_config))
    sha256 = sha256_of(image)
    path = f"{cluster.images_folder}/{sha256}.sif"
    staged = StagedFile(sha256=sha256, size=IMAGE_BYTES, path=path, what="the image", source=str(image))
    delivery = Delivery(sha256=sha256, size=IMAGE_BYTES, upload=staged)
    job = replace(HELD, code=Code(source="code", destination="code"))
    brought = collect_uploads(job, folder, scheduler, cluster, archives=folder.parent / "archives", allow=lambda _: False)
    run = replace(plan_run(job, cluster, scheduler, delivery, now=0), code_sha256=brought.code_sha256)
    script = submission(run, job, cluster, delivery, placements=brought.placements)
    broken = folder / "upload.sh"
    library = {"upload.sh": broken.read_text()} if broken.exists() else {}
    return Planned(run=run, cluster=cluster, script=script, uploads=(staged, *brought.uploads), library=library)


def break_receiving(place: Place, plan: Plan, point: Point, folder: Path, record: Path) -> Outcome:
    """Kill the script that receives the image, or the one that receives the code, at one of its commands."""
    shipped = library_file("upload.sh")
    marks = " ".join(f"{place.root}/receiving-{folder.name}-{number}" for number in range(1 if point.where < 0.5 else 2))
    at = int(point.where % 0.5 * 2 * 60) + 1
    kill = (
        f"for mark in {marks}; do mkdir $mark 2>/dev/null || continue; [[ $mark == {marks.split()[-1]} ]] || break; "
        f"counted=0; set -T; trap '((++counted != {at})) || kill -KILL $$' DEBUG; break; done"
    )
    folder.mkdir(parents=True)
    (folder / "upload.sh").write_text(f"{kill}\n{shipped}")
    with Proxy(place.lab, folder, ()) as proxy:
        made = plan(folder, (), proxy.ssh_config)
        last = ended(client.start(made, record, folder / "said"), folder / "said")
    code, said = last or (1, "")
    return Outcome(point=point, planned=made, exit_code=code, said=said, cuts=0)


def two_at_once(place: Place, plan: Plan, point: Point, whole: Whole, folder: Path, record: Path) -> Outcome:
    """Let a person resume a submission that is still going on; half of the first clients lose their network."""
    folder.mkdir()
    cuts = [Cut(up=int(whole.up * (0.1 + point.where))), *[Cut(up=100)] * 9] if point.where < 0.5 else []
    with Proxy(place.lab, folder, cuts) as proxy:
        made = plan(folder, (), proxy.ssh_config)
        first = client.start(made, record, folder / "said")
        store = Store(record)
        while not store.knows(made.run.id):
            time.sleep(0.01)
        job = resume(place, made.run, store)
        last = ended(first, folder / "said")
    assert last, "the client crashed"
    [known] = store.find([made.run.id])
    assert known.run.job_id == job
    code, said = last
    return Outcome(point=point, planned=made, exit_code=0 if code else code, said=said, cuts=proxy.cut)


def lies_there(place: Place, plans: Iterable[Planned]) -> set[str]:
    """Return the sha256 of each parcel that the login node takes for there; it is what it is to be, or this fails."""
    line = f"cd {place.root} && find images code ! -path '*/.*' -type f -size +1k -print0 | xargs -0 sha256sum"
    there = inside(place.lab, ["bash", "-c", line], user=place.lab.user, timeout=60)
    content = {}
    for one in plans:
        with tarfile.open(one.uploads[1].source) as archive:
            file = archive.extractfile("unique")
            assert file
            content[one.run.code_sha256] = hashlib.sha256(file.read()).hexdigest()
    found = set()
    for row in there.stdout.decode().splitlines():
        sha256, _, path = row.partition("  ")
        name = path.split("/")[1].partition(".")[0]
        promised = content.get(name, sha256) if path.endswith("/unique") else name
        assert sha256 == promised, f"{path} is not what was sent"
        found.add(name)
    return found


def resume_elsewhen(place: Place, one: Planned, store: Store, there: set[str], *, rebuilt: bool) -> tuple[str, str]:
    """Resume a submission whose files have become others; return the job's number, and what was said before."""
    image = Path(one.uploads[0].source)
    (image.parent / "code" / "unique").write_bytes(os.urandom(CODE_BYTES))
    if not rebuilt:
        return resume(place, one.run, store), ""
    right = image.read_bytes()
    image.write_bytes(os.urandom(IMAGE_BYTES))
    try:
        job = resume(place, one.run, store)
    except ConfigError as error:
        assert one.uploads[0].sha256 not in there
        image.write_bytes(right)
        return resume(place, one.run, store), str(error)
    assert one.uploads[0].sha256 in there, "another image was taken for the one that was planned"
    return job, ""


@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_a_submission_that_brings_files_cut_off_anywhere_is_one_job_with_these_very_files_or_none(
    place: Place, scheduler: SchedulerName, seed: str, tmp_path: Path, say: Callable[[str], None]
) -> None:
    def plan(folder: Path, setup: tuple[str, ...], ssh_config: Path) -> Planned:
        return planned(place, scheduler, folder, setup, ssh_config)

    def break_at(pair: tuple[int, Point]) -> Outcome:
        number, point = pair
        folder = tmp_path / f"parcels-{scheduler}-{number}"
        match point.kind:
            case "receiving script killed at a command":
                return break_receiving(place, plan, point, folder, record)
            case "two clients at once":
                return two_at_once(place, plan, point, whole, folder, record)
            case _:
                return break_one(place, plan, point, whole, folder, record)

    record = tmp_path / "runs.db"
    (tmp_path / "whole").mkdir()
    whole = measure(place, plan, tmp_path / "whole")
    kinds = share_of(BRINGING)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(break_at, enumerate(points(f"{seed} {scheduler} brings", kinds))))
    store = Store(record)
    wait_for_scripts(place.lab, place.root)

    plans = {one.run.id: one.planned for one in outcomes}
    there = lies_there(place, plans.values())
    first = jobs_by_run(place.lab, scheduler)
    known = {status.run.id: status.run for status in store.latest() if status.run.id in plans}
    wrong = wrongs(outcomes, first, known)
    wrong += [
        f"a job without its files: {plans[one]}" for one in plans if first.get(one) and not _files(plans[one]) <= there
    ]

    left = [run.id for run in known.values() if not run.job_id]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        resumed = list(
            pool.map(
                lambda pair: resume_elsewhen(place, plans[pair[1]], store, there, rebuilt=pair[0] % 2 == 0), enumerate(left)
            )
        )
    second = jobs_by_run(place.lab, scheduler)
    there = lies_there(place, plans.values())
    for run_id, (job, said) in zip(left, resumed, strict=True):
        if second.get(run_id, set()) != {job} or not _files(plans[run_id]) <= there:
            wrong.append(f"resumed as job {job}, but there are {sorted(second.get(run_id, set()))}: {known[run_id]}")
        if said and "has changed since the job was planned" not in said:
            wrong.append(f"a resumed submission whose image has changed says {said!r}")

    counts = [len(second.get(run_id, set())) for run_id in plans]
    line = told(scheduler, seed, outcomes, counts, len(left), sum("lost" in line for line in wrong))
    say(f"{line}; images that had changed {sum(bool(said) for _, said in resumed)}")
    assert wrong == []
    assert Counter(one.point.kind for one in outcomes) == kinds
    assert all(count == 1 for run_id, count in zip(plans, counts, strict=True) if run_id in known)


def _files(plan: Planned) -> set[str]:
    return {staged.sha256 for staged in plan.uploads}
