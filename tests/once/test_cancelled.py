"""A run that nobody is sure of is cancelled: no job of it is left, and none is ever made, whoever tries."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import SchedulerName
from hpcdeploy.errors import ConfigError, SchedulerError, UncertainSubmissionError
from hpcdeploy.flows import follow
from hpcdeploy.flows import submit as flow
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.job import Array, Predecessor
from hpcdeploy.remote.cancellation import find_or_prevent_script
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import Run, RunStatus, State
from hpcdeploy.store import Store
from hpcdeploy.transport.connect import open_transport
from hpcdeploy_lab.inside import inside
from tests.once import test_after, test_parcels
from tests.once.asking import alive_by_run, jobs_by_run, wait_for_scripts
from tests.once.breaking import AT_ONCE, break_one, measure
from tests.once.conftest import Place
from tests.once.planned import Planned
from tests.once.points import CANCELLED, points, share_of
from tests.once.test_after import first
from tests.once.test_answers import BOTH, DOWN, call, folder_of, jobs_of, on_login_node

__all__ = ["first"]


@pytest.fixture
def connections() -> Iterator[Connections]:
    with Connections(open_transport) as opened:
        yield opened


def on_record(planned: Planned, store: Store) -> RunStatus:
    """Note a run as a client does that then says nothing more."""
    store.add(planned.run, planned.script, planned.uploads)
    return store.find([planned.run.id])[0]


def cancelled(place: Place, known: RunStatus, connections: Connections, store: Store) -> RunStatus:
    """Cancel a run; return what is on record then."""
    done = cancel([known], lambda _: connections.to(place.cluster), store)
    assert [run.id for run in done] == [known.run.id]
    return store.find([known.run.id])[0]


def alive(place: Place, run: Run) -> set[str]:
    return {job for name, jobs in alive_by_run(place.lab, run.scheduler).items() if name.startswith(run.id) for job in jobs}


def nothing_more_comes_of(place: Place, planned: Planned, connections: Connections, store: Store) -> None:
    """Try all ways in which a run may still be submitted."""
    before = jobs_of(place, planned)
    for words in ((), ("again",), ("bring",)):
        said = call(place, planned, *words)
        assert (said.code, said.job) == (15, ""), said.words
        assert said.words.count(f"run {planned.run.id} was cancelled, and is not submitted any more") == 1
    with pytest.raises(SchedulerError, match=r"was cancelled, and is not submitted any more.*\n?.*hpcdeploy cancel"):
        flow.resume(planned.run, planned.script, connections.to(place.cluster), store)
    known = store.find([planned.run.id])[0]
    with pytest.raises(ConfigError, match="was cancelled before it was submitted"):
        flow.check_resumable(known)
    assert jobs_of(place, planned) == before
    assert alive(place, planned.run) == set()


@BOTH
def test_a_run_that_was_never_begun_over_there_never_will_be(
    place: Place, scheduler: SchedulerName, connections: Connections, store: Store
) -> None:
    planned = place.planned(scheduler, array=Array(size=3))
    known = cancelled(place, on_record(planned, store), connections, store)
    assert (known.ended, known.state, known.exit_code, known.run.job_id) == (True, State.CANCELLED, 1, "")
    assert {task.reason for task in known.tasks} == {"before it was submitted"}
    nothing_more_comes_of(place, planned, connections, store)
    assert jobs_of(place, planned) == set()
    assert follow.status([known], lambda _: connections.to(place.cluster), store).statuses == (known,)
    [asked] = follow.wait([known], lambda _: connections.to(place.cluster), store)
    assert asked.statuses == (known,)
    assert store.latest(alive=True) == []
    assert cancel([known], lambda _: connections.to(place.cluster), store) == []


@BOTH
@pytest.mark.parametrize("folder", ["there", "lost"])
def test_a_job_whose_answer_was_lost_is_found_and_cancelled(
    place: Place, scheduler: SchedulerName, folder: str, connections: Connections, store: Store
) -> None:
    planned = place.planned(scheduler, place.broken("after"))
    known = on_record(planned, store)
    assert call(place, planned).code not in {0, 15}
    [job] = jobs_of(place, planned)
    if folder == "lost":
        on_login_node(place, f"rm -r {folder_of(place, planned)}")
    after = cancelled(place, known, connections, store)
    assert after.run.job_id == job
    assert alive(place, planned.run) == set()
    *_, asked = follow.wait([after], lambda _: connections.to(place.cluster), store, first=0.3)
    assert asked.statuses[0].state is State.CANCELLED
    assert call(place, planned, "again").already
    assert jobs_of(place, planned) == {job}


@BOTH
def test_a_scheduler_that_is_down_leaves_all_as_it_was(
    place: Place, scheduler: SchedulerName, connections: Connections, store: Store
) -> None:
    planned = place.planned(scheduler, place.broken("after"))
    known = on_record(planned, store)
    assert call(place, planned).code not in {0, 15}
    [job] = jobs_of(place, planned)
    on_login_node(place, f"rm -f {folder_of(place, planned)}/events.log")  # in which HTCondor notes the job's number
    down = replace(place.cluster, setup=(DOWN[scheduler].format(root=place.root),))
    with pytest.raises(UncertainSubmissionError, match=f"cannot query the scheduler.*hpcdeploy cancel {planned.run.id}"):
        cancel([known], lambda _: connections.to(down), store)
    assert store.find([planned.run.id]) == [known]
    assert on_login_node(place, f"ls {folder_of(place, planned)}/cancelled || true") == ""
    assert alive(place, planned.run) == {job}
    again = flow.resume(planned.run, planned.script, connections.to(place.cluster), store)
    assert (again.run.job_id, again.already) == (job, True)


@BOTH
def test_a_run_whose_cancelling_its_scheduler_did_not_hear_of_has_no_mark_of_it(
    place: Place, scheduler: SchedulerName, connections: Connections, store: Store
) -> None:
    planned = place.planned(scheduler)
    on_record(planned, store)
    run = flow.resume(planned.run, planned.script, connections.to(place.cluster), store).run
    down = replace(place.cluster, setup=(DOWN[scheduler].format(root=place.root),))
    with pytest.raises(SchedulerError, match="did not cancel"):
        cancel(store.find([run.id]), lambda _: connections.to(down), store)
    assert on_login_node(place, f"ls {folder_of(place, planned)}/cancelled || true") == ""
    assert alive(place, run) == {run.job_id}


@BOTH
def test_a_call_that_died_once_it_had_left_its_mark_is_made_again(
    place: Place, scheduler: SchedulerName, connections: Connections, store: Store
) -> None:
    planned = place.planned(scheduler, place.broken("after"))
    known = on_record(planned, store)
    assert call(place, planned).code not in {0, 15}
    [job] = jobs_of(place, planned)
    on_login_node(place, f"touch {folder_of(place, planned)}/cancelled")
    with pytest.raises(SchedulerError, match=f"cancelled.*hpcdeploy cancel {planned.run.id}' to record the cancellation"):
        flow.resume(planned.run, planned.script, connections.to(place.cluster), store)
    assert store.find([planned.run.id]) == [known], "the record is still uncertain"
    assert cancelled(place, known, connections, store).run.job_id == job
    assert alive(place, planned.run) == set()
    assert jobs_of(place, planned) == {job}


@BOTH
@pytest.mark.parametrize("locks", ["hold", "do not hold"])
def test_a_submission_that_is_alive_meanwhile_leaves_no_live_job(
    place: Place, scheduler: SchedulerName, locks: str, connections: Connections, store: Store
) -> None:
    # It sleeps where it has looked for the mark and not yet submitted; longer than anybody waits where its lock is not seen.
    slow = f"{place.root}/slow-{scheduler}-{len(locks)}"
    seconds = 4 if locks == "hold" else 12
    stands = f"printf '#!/bin/sh\\nsleep {seconds}\\n' >{slow}/sync; " + (
        "" if locks == "hold" else f"printf '#!/bin/sh\\n' >{slow}/flock; "
    )
    on_login_node(place, f"mkdir -p {slow}; {stands} chmod 0755 {slow}/*")
    planned = place.planned(scheduler, (f"export PATH={slow}:$PATH",))
    known = on_record(planned, store)
    submission = threading.Thread(target=call, args=(place, planned))
    submission.start()
    run = folder_of(place, planned)
    on_login_node(place, f"for _ in $(seq 300); do [ -e {run}/submitting ] && break; sleep 0.1; done")
    after = cancelled(place, known, connections, store)
    submission.join()
    assert alive(place, planned.run) == set()
    jobs = jobs_of(place, planned)
    assert len(jobs) == 1, "it was submitted behind the mark"
    if locks == "hold":
        assert after.run.job_id == jobs.pop()
    else:
        assert after.state is State.CANCELLED


@BOTH
def test_a_submission_that_is_alive_for_long_is_said_to_be_and_sees_the_mark(place: Place, scheduler: SchedulerName) -> None:
    planned = place.planned(scheduler)
    run = folder_of(place, planned)
    holding = threading.Thread(target=on_login_node, args=(place, f"mkdir -p {run} && flock {run}/lock sleep 5"))
    holding.start()
    on_login_node(
        place, f"for _ in $(seq 100); do [ ! -e {run}/lock ] || flock --nonblock {run}/lock true || break; sleep 0.1; done"
    )
    script = find_or_prevent_script(place.cluster, planned.run, lock_timeout=1)
    said = inside(place.lab, ["bash", "-s"], user=place.lab.user, stdin=script.encode())
    assert said.returncode == 13
    assert b"is still at work after 1 s" in said.stderr
    assert call(place, planned).code == 15
    holding.join()
    again = inside(place.lab, ["bash", "-s"], user=place.lab.user, stdin=script.encode())
    assert b'"job_id": ""' in again.stdout, again.stderr
    assert jobs_of(place, planned) == set()


@BOTH
def test_a_run_that_was_cut_off_while_its_image_was_brought_is_cancelled_once_that_has_changed(
    place: Place, scheduler: SchedulerName, tmp_path: Path, connections: Connections, store: Store
) -> None:
    (tmp_path / "own").mkdir()
    planned = test_parcels.planned(place, scheduler, tmp_path / "own", (), Path(str(place.cluster.ssh_config)))
    known = on_record(planned, store)
    assert call(place, planned, "bring").code == 14
    image = Path(planned.uploads[0].source)
    right = image.read_bytes()
    image.write_bytes(right[::-1])

    def resume() -> None:
        flow.resume(planned.run, planned.script, connections.to(place.cluster), store, uploads=planned.uploads)

    with pytest.raises(ConfigError, match=rf"has changed since the job was planned.*hpcdeploy cancel {planned.run.id}$"):
        resume()
    assert cancelled(place, known, connections, store).state is State.CANCELLED
    image.write_bytes(right)
    with pytest.raises(SchedulerError, match="was cancelled"):
        resume()
    nothing_more_comes_of(place, planned, connections, store)


def test_a_job_that_comes_after_its_run_was_cancelled_does_nothing(
    place: Place, connections: Connections, store: Store
) -> None:
    planned = place.planned("slurm", place.broken("late 14"))
    known = on_record(planned, store)
    assert call(place, planned).code == 13
    run = folder_of(place, planned)
    on_login_node(place, f"rm {run}/unanswered")
    assert cancelled(place, known, connections, store).state is State.CANCELLED
    on_login_node(
        place, f'for _ in $(seq 100); do [ -n "$(squeue -h -n {planned.run.id} -o %F)" ] && break; sleep 0.2; done'
    )
    [late] = alive(place, planned.run)
    log = f"{run}/logs/0.err"
    on_login_node(
        place, f"scontrol release {late}; for _ in $(seq 300); do grep -q cancelled {log} && break; sleep 0.1; done"
    )
    assert f"job {late}: run {planned.run.id} was cancelled; nothing to do" in on_login_node(place, f"cat {log}")
    on_login_node(
        place, f'for _ in $(seq 300); do [ -n "$(squeue -h -n {planned.run.id} -o %F)" ] || break; sleep 0.1; done'
    )
    assert alive(place, planned.run) == set()
    assert on_login_node(place, f"ls {run}/tasks; ls {run}/id || true") == ""


def test_a_run_of_several_arrays_of_which_some_were_submitted_is_cancelled_as_a_whole(
    place: Place, connections: Connections, store: Store
) -> None:
    planned = place.planned("slurm", place.broken("after"), array=Array(size=5))
    known = on_record(planned, store)
    run = folder_of(place, planned)
    on_login_node(place, f"mkdir -p {run} && echo 2 >{run}/part-size")
    assert call(place, planned).code not in {0, 15}
    [job] = jobs_of(place, planned)
    after = cancelled(place, known, connections, store)
    assert (after.run.job_id, after.run.part) == (job, 2)
    assert [task.state for task in after.tasks] == [State.PENDING] * 2 + [State.CANCELLED] * 3
    assert alive(place, planned.run) == set()
    *_, asked = follow.wait([after], lambda _: connections.to(place.cluster), store, first=0.3)
    [status] = asked.statuses
    assert status.ended
    assert [task.state for task in status.tasks] == [State.CANCELLED] * 5
    said = call(place, planned, "again")
    assert (said.code, said.job) == (15, "")
    assert alive(place, planned.run) == set()


@pytest.mark.parametrize("how", ["after", "never"])
def test_a_run_that_waits_for_another_on_htcondor_is_cancelled_with_its_dagman(
    place: Place, first: Predecessor, how: str, connections: Connections, store: Store
) -> None:
    planned = test_after.plan(place, first, place.broken(how))
    known = on_record(planned, store)
    assert call(place, planned).code not in {0, 15}
    run = folder_of(place, planned)
    on_login_node(place, f"rm -f {run}/unanswered")
    after = cancelled(place, known, connections, store)
    if how == "after":
        assert {after.run.job_id} == jobs_of(place, planned)
    else:
        assert after.state is State.CANCELLED
        on_login_node(place, f"cd {run} && condor_submit job.dag.condor.sub")
        ours = f"condor_q -constraint 'HpcdeployRun == \"{planned.run.id}\"' -af ClusterId"
        on_login_node(place, f'for _ in $(seq 300); do [ -n "$({ours})" ] || exit 0; sleep 0.2; done; exit 1')
        assert on_login_node(place, f"ls {run}/events.log || true") == "", "DAGMan submitted the job"
        assert "the run was cancelled" in on_login_node(place, f"cat {run}/job.dag.dagman.log")
    assert alive(place, planned.run) == set()


@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_a_submission_cut_off_anywhere_and_cancelled_then_is_no_live_job_and_never_becomes_one(
    place: Place, scheduler: SchedulerName, seed: str, tmp_path: Path, say: Callable[[str], None]
) -> None:
    def plan(_folder: Path, setup: tuple[str, ...], ssh_config: Path) -> Planned:
        return place.planned(scheduler, setup, ssh_config)

    chosen = points(f"{seed} {scheduler} cancelled", share_of(CANCELLED))
    (tmp_path / "whole").mkdir()
    whole = measure(place, plan, tmp_path / "whole")
    record = tmp_path / "runs.db"
    store = Store(record)

    def break_and_cancel(number: int) -> tuple[Planned, str]:
        planned = break_one(place, plan, chosen[number], whole, tmp_path / f"{scheduler}-{number}", record).planned
        # At once: what was left alone on the login node may be at work.
        if not store.knows(planned.run.id):
            return planned, "forgotten"
        [known] = store.find([planned.run.id])
        with Connections(open_transport) as connections:
            for _ in range(3):
                try:
                    cancelled(place, known, connections, store)
                except UncertainSubmissionError:
                    time.sleep(5)
                else:
                    return planned, "sure" if known.run.job_id else "unsure"
        return planned, "never sure"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(break_and_cancel, range(len(chosen))))
    wait_for_scripts(place.lab, place.root)
    left = alive_by_run(place.lab, scheduler)
    assert [planned for planned, _ in done if left.get(planned.run.id)] == []
    there = jobs_by_run(place.lab, scheduler)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        codes = list(pool.map(lambda one: call(place, one[0], "again").code if one[1] == "unsure" else None, done))
    say(
        f"{scheduler}, HPCDEPLOY_SEED={seed}: {len(chosen)} points, {dict(Counter(how for _, how in done))}; "
        f"exit codes of later submissions {dict(Counter(codes))}"
    )
    assert {how for _, how in done} <= {"sure", "unsure", "forgotten"}
    assert set(codes) <= {None, 0, 15}
    assert "unsure" in {how for _, how in done}
    for (planned, how), code in zip(done, codes, strict=True):
        if how == "unsure":
            [known] = store.find([planned.run.id])
            assert code == (0 if known.run.job_id else 15), (known, code)
    assert alive_by_run(place.lab, scheduler).keys().isdisjoint(planned.run.id for planned, _ in done)
    again = jobs_by_run(place.lab, scheduler)
    assert all(again.get(planned.run.id, set()) == there.get(planned.run.id, set()) for planned, _ in done)
