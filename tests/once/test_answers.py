"""What the scheduler did and what the login node heard of it are two things: a run has one job all the same."""

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from hpcdeploy.cluster import SchedulerName
from hpcdeploy.job import Array
from hpcdeploy_lab.inside import inside
from tests.once.asking import cancel, jobs_by_run
from tests.once.breaking import behind_setup
from tests.once.conftest import Place
from tests.once.planned import Planned

BOTH = pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])

DOWN = {
    "slurm": "sed -E 's/^(SlurmctldPort|MessageTimeout)=.*/\\1=1/' /etc/slurm/slurm.conf >{root}/down.conf; "
    "export SLURM_CONF={root}/down.conf",
    "htcondor": "export _CONDOR_COLLECTOR_HOST=127.0.0.1:1 _CONDOR_SCHEDD_ADDRESS_FILE=/nowhere "
    "_CONDOR_SCHEDD_DAEMON_AD_FILE=/nowhere",
}
"""Settings with which a scheduler's commands find no server."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """What one call of the script ended with."""

    code: int
    job: str
    already: bool
    words: str


def call(place: Place, planned: Planned, *words: str) -> Said:
    """Run the script on the login node as a person would, in a session of its own."""
    ran = inside(
        place.lab,
        ["setsid", "--wait", "bash", "-s", *words],
        user=place.lab.user,
        stdin=planned.script.encode(),
        timeout=150,
    )
    line = next((one for one in ran.stdout.decode().splitlines() if one.startswith("HPCDEPLOY {")), "HPCDEPLOY {}")
    answer = json.loads(line.removeprefix("HPCDEPLOY "))
    return Said(
        code=ran.returncode,
        job=str(answer.get("job_id", "")),
        already=bool(answer.get("already")),
        words=ran.stderr.decode(),
    )


def jobs_of(place: Place, planned: Planned) -> set[str]:
    return jobs_by_run(place.lab, planned.run.scheduler).get(planned.run.id, set())


def on_login_node(place: Place, line: str) -> str:
    done = inside(place.lab, ["bash", "-c", line], user=place.lab.user, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def folder_of(place: Place, planned: Planned) -> str:
    return f"{place.root}/runs/{planned.run.id}"


def test_a_run_of_several_arrays_that_is_cut_off_again_and_again_has_each_of_them_once(place: Place, seed: str) -> None:
    chance = random.Random(seed)
    marks = f"{place.root}/parts"
    planned_runs: list[Planned] = []
    killed = 0
    for number in range(5):
        first = chance.randint(1, 260)
        trap = f"trap '((++counted != {first} + ${{mark##*-}} * 40)) || kill -KILL $$' DEBUG"
        once = f'mkdir "$mark" 2>/dev/null || continue; counted=0; set -T; {trap}; break'
        killing = f"for mark in {marks}-{number}-{{1..3}}; do {once}; done"
        planned = place.planned("slurm", behind_setup(killing), array=Array(size=5))
        on_login_node(place, f"mkdir -p {folder_of(place, planned)} && echo 2 >{folder_of(place, planned)}/part-size")
        codes = [call(place, planned, "again").code for _ in range(4)]
        assert codes[-1] == 0, codes
        killed += sum(code != 0 for code in codes)
        planned_runs.append(planned)
    assert killed > 0
    found = jobs_by_run(place.lab, "slurm")
    for planned in planned_runs:
        links = on_login_node(place, f"cd {folder_of(place, planned)} && for link in id id.2 id.4; do readlink $link; done")
        names = (planned.run.id, f"{planned.run.id}.2", f"{planned.run.id}.4")
        assert [found[name] for name in names] == [{job} for job in links.split()]
    cancel(
        place.lab, "slurm", {job for name, jobs in found.items() if name.startswith("once-") and "." in name for job in jobs}
    )


@BOTH
@pytest.mark.parametrize("how", ["lost", "mute", "denied"])
def test_a_job_whose_answer_was_lost_is_found(place: Place, scheduler: SchedulerName, how: str) -> None:
    planned = place.planned(scheduler, place.broken(how))
    first = call(place, planned)
    assert first.code == 0, first.words
    assert {first.job} == jobs_of(place, planned)
    assert call(place, planned).already


@BOTH
def test_a_request_that_arrives_after_its_time_is_waited_for(place: Place, scheduler: SchedulerName) -> None:
    planned = place.planned(scheduler, place.broken("late 8"))
    first = call(place, planned)
    assert first.code == 13
    assert "did not report whether it accepted the job" in first.words
    second = call(place, planned)
    assert second.code == 0, second.words
    assert second.already
    assert {second.job} == jobs_of(place, planned)


@BOTH
def test_a_scheduler_that_is_down_is_said_and_the_run_is_submitted_once_it_is_back(
    place: Place, scheduler: SchedulerName
) -> None:
    once = f"{place.root}/down-{scheduler}"
    down = f"if mkdir {once} 2>/dev/null; then {DOWN[scheduler].format(root=place.root)}; fi"
    planned = place.planned(scheduler, (down,))
    first = call(place, planned)
    assert first.code == 13, first.words
    assert jobs_of(place, planned) == set()
    second = call(place, planned)
    assert second.code == 0, second.words
    assert {second.job} == jobs_of(place, planned)


def test_accounting_that_does_not_answer_is_not_taken_for_no_job(place: Place) -> None:
    once = f"{place.root}/no-books"
    closed = (
        f"sed -E 's/^(AccountingStoragePort)=.*/\\1=1/' /etc/slurm/slurm.conf >{place.root}/books.conf; "
        f"export SLURM_CONF={place.root}/books.conf"
    )
    planned = place.planned("slurm", (f"if mkdir {once} 2>/dev/null; then {closed}; fi",))
    on_login_node(place, f"mkdir -p {folder_of(place, planned)} && date +%s >{folder_of(place, planned)}/submitting")
    first = call(place, planned)
    assert first.code == 13
    assert "cannot query the scheduler" in first.words
    assert jobs_of(place, planned) == set()
    second = call(place, planned)
    assert second.code == 0, second.words
    assert {second.job} == jobs_of(place, planned)


@BOTH
@pytest.mark.parametrize("loss", ["rm {run}/id", "rm {run}/id && : >{run}/submitting", "rm -r {run}"])
def test_a_file_system_that_lost_the_last_writes_makes_no_second_job(
    place: Place, scheduler: SchedulerName, loss: str
) -> None:
    planned = place.planned(scheduler)
    first = call(place, planned)
    on_login_node(place, loss.format(run=folder_of(place, planned)))
    second = call(place, planned, "again")
    assert second.already, second.words
    assert second.job == first.job
    assert {first.job} == jobs_of(place, planned)


@BOTH
def test_a_job_from_long_before_the_first_attempt_only_bears_the_name(place: Place, scheduler: SchedulerName) -> None:
    planned = place.planned(scheduler)
    old = call(place, planned).job
    run = folder_of(place, planned)
    on_login_node(place, f"rm -r {run} && mkdir {run} && echo $(($(date +%s) + 7200)) >{run}/submitting")
    new = call(place, planned)
    assert new.code == 0, new.words
    assert not new.already
    assert jobs_of(place, planned) == {old, new.job}


@BOTH
def test_two_calls_whose_locks_do_not_see_each_other_keep_one_job_and_take_the_other_back(
    place: Place, scheduler: SchedulerName
) -> None:
    blind = f"{place.root}/blind"
    on_login_node(
        place,
        f"mkdir -p {blind} && printf '#!/bin/sh\\n' >{blind}/flock && "
        f"printf '#!/bin/sh\\nsleep 0.7\\nexec /usr/bin/mv \"$@\"\\n' >{blind}/mv && chmod 0755 {blind}/*",
    )
    planned = place.planned(scheduler, (f"export PATH={blind}:$PATH",))
    said: list[Said] = []
    calls = [threading.Thread(target=lambda: said.append(call(place, planned))) for _ in range(2)]
    for one in calls:
        one.start()
    for one in calls:
        one.join()
    jobs = jobs_of(place, planned)
    assert [one.code for one in said] == [0, 0]
    assert len({one.job for one in said}) == 1
    assert len(jobs) == 2, "both were to submit"
    kept = said[0].job
    question = (
        f"squeue --noheader --states=PD --format=%F --name={planned.run.id}"
        if scheduler == "slurm"
        else f"condor_q -constraint 'HpcdeployRun == \"{planned.run.id}\" && JobStatus == 5' -af ClusterId"
    )
    assert on_login_node(place, question) == kept


def test_a_job_that_began_before_its_number_was_known_says_itself_that_it_is_the_runs(place: Place) -> None:
    once = f"{place.root}/began"
    down = f"if [ -e {once} ]; then {DOWN['slurm'].format(root=place.root)}; fi"
    planned = place.planned("slurm", (*place.broken("after"), down), held=False)
    assert call(place, planned).code != 0
    run = folder_of(place, planned)
    on_login_node(place, f"for _ in $(seq 300); do [ -L {run}/id ] && break; sleep 0.1; done; touch {once}")
    second = call(place, planned)
    assert second.code == 0, second.words
    assert {second.job} == jobs_of(place, planned)


def test_a_job_that_comes_too_late_finds_the_runs_job_and_goes(place: Place) -> None:
    planned = place.planned("slurm", place.broken("late 12"))
    assert call(place, planned).code == 13
    on_login_node(place, f"rm {folder_of(place, planned)}/unanswered")
    kept = call(place, planned).job
    wait = f"for _ in $(seq 600); do [ $(squeue -h -n {planned.run.id} -o %F | wc -l) = 2 ] && break; sleep 0.2; done"
    on_login_node(place, wait)
    [late] = jobs_of(place, planned) - {kept}
    run = folder_of(place, planned)
    on_login_node(
        place, f"scontrol release {late}; for _ in $(seq 300); do grep -q belongs {run}/logs/*.err && break; sleep 0.1; done"
    )
    assert f"job {late}: run {planned.run.id} belongs to job {kept}; nothing to do" in on_login_node(
        place, f"cat {run}/logs/*.err"
    )
    assert on_login_node(place, f"ls {run}/tasks") == ""


@BOTH
def test_a_disk_that_is_full_at_any_moment_leaves_one_job_or_says_that_there_is_none(
    place: Place, scheduler: SchedulerName, say: Callable[[str], None]
) -> None:
    sizes = [f"nr_inodes={number}" for number in range(5, 18)] + [f"size={number}k" for number in range(4, 24, 4)]
    runs = f"{place.root}/runs"
    called: list[tuple[str, Planned, Said, Said]] = []
    for size in sizes:
        planned = place.planned(scheduler)
        with disk(place, size):
            first = call(place, planned)
            assert inside(place.lab, ["mount", "-o", "remount,size=1m,nr_inodes=100", runs]).returncode == 0
            called.append((size, planned, first, call(place, planned)))
    found = jobs_by_run(place.lab, scheduler)
    cancel(place.lab, scheduler, {second.job for _, _, _, second in called if second.job})
    codes = [first.code for _, _, first, _ in called]
    say(f"{scheduler}: {len(sizes)} full disks, exit codes {dict(Counter(codes))}")
    for size, planned, first, second in called:
        assert first.code in {0, 10}, (size, first)
        assert first.code == 0 or "Nothing was submitted" in first.words or "cannot" in first.words, (size, first)
        assert second.code == 0, (size, second)
        assert second.already == (first.code == 0), (size, first, second)
        assert found[planned.run.id] == {second.job}, (size, first, second)
    assert {0, 10} <= set(codes)


@contextmanager
def disk(place: Place, options: str) -> Iterator[None]:
    """Lay a disk of that size over the folder of runs."""
    runs = f"{place.root}/runs"
    own = f"mode=0700,uid={place.lab.user},gid={place.lab.user}"
    line = f"mkdir -p {runs} && mount -t tmpfs -o {options},{own} tmpfs {runs}"
    assert inside(place.lab, ["bash", "-c", line]).returncode == 0
    try:
        yield
    finally:
        inside(place.lab, ["umount", "--lazy", runs])


@BOTH
def test_a_number_that_cannot_be_noted_is_answered_and_found_again(place: Place, scheduler: SchedulerName) -> None:
    planned = place.planned(scheduler, place.broken("full"))
    with disk(place, "size=1m,nr_inodes=60"):
        first = call(place, planned)
        assert first.code == 0, first.words
        assert "could not be recorded" in first.words
        on_login_node(place, f"rm {folder_of(place, planned)}/fill-*")
        second = call(place, planned)
        assert second.already, second.words
        assert {first.job} == {second.job} == jobs_of(place, planned)
        cancel(place.lab, scheduler, {first.job})
