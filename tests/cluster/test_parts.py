"""A run that is larger than a site lets an array be: several jobs, and still one run."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.files import load_project
from hpcdeploy.errors import SchedulerError, UncertainSubmissionError
from hpcdeploy.flows import follow
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.flows.submit import plan_run, resume, submit
from hpcdeploy.job import AfterKind, Array, Job, Predecessor
from hpcdeploy.parameters import Parameters
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.run import Run, RunStatus, State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy.transport.connect import open_transport
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import output_of, wait_for
from tests.cluster.no_container import runs_containers, without_container
from tests.labs import StartLab

SIZE = 4
TASKS = 10
SWEEP = Job(
    name="sweep",
    image="test",
    command=("sh", "-c", "echo {letter} $HPCDEPLOY_TASK; exit $(( HPCDEPLOY_TASK == 5 ))"),
    array=Array(size=TASKS, parameters=Parameters(names=("letter",), rows=tuple((letter,) for letter in "abcdefghij"))),
)


@dataclass
class Site:
    lab: Lab
    cluster: Cluster
    connections: Connections
    store: Store
    delivery: Delivery

    def ask(self, command: str) -> list[str]:
        return inside(self.lab, ["bash", "-c", command], user=self.lab.user).stdout.decode().split()

    def jobs(self, run: Run) -> set[str]:
        names = ",".join([run.id, *(f"{run.id}.{first}" for first in range(SIZE, TASKS, SIZE))])
        return set(self.ask(f"squeue --noheader --states=all --name={names} --format=%F"))

    def plan(self, job: Job) -> tuple[Run, str]:
        run = plan_run(job, self.cluster, "slurm", self.delivery, now=time.time())
        return run, submission(run, job, self.cluster, self.delivery)

    def submit(self, job: Job, *, after: tuple[Predecessor, ...] = ()) -> Run:
        run = plan_run(job, self.cluster, "slurm", self.delivery, now=time.time())
        script = submission(run, job, self.cluster, self.delivery, after=after)
        return submit(run, script, self.connections.to(self.cluster), self.store).run


@pytest.fixture(scope="module")
def small(start_lab: StartLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Path]]:
    """Run a lab of these tests' own, whose Slurm takes few tasks in an array."""
    folder = tmp_path_factory.mktemp("small")
    with start_lab(folder, max_array_size=SIZE) as lab:
        yield lab, folder


@pytest.fixture
def site(small: tuple[Lab, Path], lab: Lab, delivery: Delivery, tmp_path: Path) -> Iterator[Site]:
    own, folder = small
    cluster = load_project(tmp_path, {"XDG_STATE_HOME": str(folder), "HOME": str(tmp_path)}, optional=True).clusters["lab"]
    if not runs_containers(own):
        cluster = without_container(cluster, own)
    with Connections(open_transport) as connections:
        yield Site(own, cluster, connections, Store(tmp_path / "runs.db"), delivery)


def test_a_run_in_parts_is_one_run_with_every_task_in_its_place(site: Site) -> None:
    run = site.submit(SWEEP)
    assert run.part == SIZE
    assert [part.tasks for part in run.parts] == [4, 4, 2]
    assert site.jobs(run) == {part.job_id for part in run.parts}
    status = wait_for(run, site.cluster, site.connections, site.store)
    assert [task.task for task in status.tasks] == list(range(TASKS))
    assert [task.exit_code for task in status.tasks] == [0] * 5 + [1] + [0] * 4
    assert status.state is State.FAILED
    said = [output_of(status, site.cluster, site.connections, task) for task in range(TASKS)]
    assert said == [f"{letter} {task}\n" for task, letter in enumerate("abcdefghij")]
    assert site.store.find([run.id])[0].run == run


def test_the_smaller_of_slurms_two_limits_counts(site: Site) -> None:
    fewer = "scontrol() { command scontrol \"$@\" | sed 's/^SchedulerParameters .*/&,max_array_tasks=3,x/'; }"
    limited = replace(site, cluster=replace(site.cluster, setup=(fewer,)))
    run = limited.submit(replace(SWEEP, command=("true",)))
    assert [part.tasks for part in run.parts] == [3, 3, 3, 1]
    assert wait_for(run, site.cluster, site.connections, site.store).state is State.COMPLETED


@pytest.mark.parametrize(
    ("limit", "parts"),
    [("1", [1, 1, 1]), ("4000001", [3]), ("(null)", [3]), ("0", [3])],
    ids=["one", "most", "null", "none"],
)
def test_an_odd_limit_of_a_site_makes_no_odd_run(limit: str, parts: list[int], site: Site) -> None:
    odd = f"scontrol() {{ command scontrol \"$@\" | sed 's/^MaxArraySize .*/MaxArraySize            = {limit}/'; }}"
    limited = replace(site, cluster=replace(site.cluster, setup=(odd,)))
    run = limited.submit(Job(name="odd", image="test", command=("sh", "-c", "exit $HPCDEPLOY_TASK"), array=Array(size=3)))
    assert [part.tasks for part in run.parts] == parts
    status = wait_for(run, site.cluster, site.connections, site.store)
    assert [task.exit_code for task in status.tasks] == [0, 1, 2]


def test_where_the_limit_cannot_be_asked_for_one_array_is_tried_and_slurms_own_words_are_said(site: Site) -> None:
    silent = replace(site, cluster=replace(site.cluster, setup=("scontrol() { return 1; }",)))
    few = Job(name="few", image="test", command=("true",), array=Array(size=SIZE))
    run = silent.submit(few)
    assert wait_for(run, site.cluster, site.connections, site.store).state is State.COMPLETED
    with pytest.raises(SchedulerError, match="Invalid job array specification"):
        silent.submit(SWEEP)


def test_a_part_whose_note_was_lost_is_found_again_and_not_submitted_twice(site: Site) -> None:
    run, script = site.plan(replace(SWEEP, slurm=(("hold", True),)))
    first = submit(run, script, site.connections.to(site.cluster), site.store)
    # As a call leaves it that was cut off behind the second part's sbatch.
    for lost in ("id.4", "id.8"):
        assert inside(site.lab, ["rm", f"{first.run.folder}/{lost}"], user=site.lab.user).returncode == 0
    again = resume(run, script, site.connections.to(site.cluster), site.store)
    assert (first.already, again.already) == (False, True)
    assert again.run == first.run
    assert site.jobs(run) == {part.job_id for part in first.run.parts}
    cancel([RunStatus(run=first.run, tasks=(), asked=0)], lambda _: site.connections.to(site.cluster), site.store)


def test_a_part_that_is_refused_is_submitted_later_and_the_others_are_left_alone(site: Site) -> None:
    room = f"{site.lab.scratch}/room"
    full = f"""sbatch() {{
      [ "${{*: -1}}" != .8 ] || [ -e {room} ] || {{ echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2 && return 1; }}
      command sbatch "$@"
    }}"""
    crowded = replace(site, cluster=replace(site.cluster, setup=(full,)))
    run, script = crowded.plan(replace(SWEEP, slurm=(("hold", True),)))
    with pytest.raises(UncertainSubmissionError, match=r"(?s)QOSMaxSubmit.*tasks 0 to 7 are submitted.*--resume"):
        submit(run, script, crowded.connections.to(crowded.cluster), crowded.store)
    before = site.jobs(run)
    assert len(before) == 2
    assert inside(site.lab, ["touch", room], user=site.lab.user).returncode == 0
    mended = resume(run, script, crowded.connections.to(crowded.cluster), crowded.store).run
    assert {part.job_id for part in mended.parts[:2]} == before
    assert site.jobs(run) == {part.job_id for part in mended.parts}

    later = plan_run(SWEEP, site.cluster, "slurm", site.delivery, now=time.time())
    text = submission(
        later, SWEEP, site.cluster, site.delivery, after=[Predecessor(kind="afterany", run_id=run.id, tasks=TASKS)]
    )
    waiting = submit(later, text, site.connections.to(site.cluster), site.store).run
    [said] = set(site.ask(f"squeue --noheader --jobs={waiting.parts[0].job_id} --format=%E"))
    assert all(part.job_id in said for part in mended.parts)
    known = [RunStatus(run=one, tasks=(), asked=0) for one in (waiting, mended)]
    assert cancel(known, lambda _: site.connections.to(site.cluster), site.store)


def test_cancel_ends_every_part_and_a_throttle_is_the_whole_runs(site: Site) -> None:
    slow = replace(SWEEP, command=("sleep", "600"), array=replace(SWEEP.array or Array(size=1), throttle=2))
    run = site.submit(slow)
    known = [RunStatus(run=run, tasks=(), asked=0)]
    until = time.monotonic() + 120
    asked = follow.status(known, lambda _: site.connections.to(site.cluster), site.store).statuses[0]
    while sum(task.state is State.RUNNING for task in asked.tasks) < 2:
        assert time.monotonic() < until, asked
        time.sleep(0.5)
        asked = follow.status(known, lambda _: site.connections.to(site.cluster), site.store).statuses[0]
    time.sleep(3)
    asked = follow.status(known, lambda _: site.connections.to(site.cluster), site.store).statuses[0]
    assert [task.state for task in asked.tasks] == [State.RUNNING] * 2 + [State.PENDING] * 8
    cancel(known, lambda _: site.connections.to(site.cluster), site.store)
    ended = wait_for(run, site.cluster, site.connections, site.store)
    assert {task.state for task in ended.tasks} == {State.CANCELLED}


def test_of_a_run_whose_first_part_failed_while_others_go_on_what_follows_a_good_end_is_refused(site: Site) -> None:
    slow = "case $HPCDEPLOY_TASK in 1) exit 7 ;; [8-9]) sleep 600 ;; esac"
    other = site.submit(replace(SWEEP, name="slow", command=("sh", "-c", slow)))
    *_, last = other.parts
    known = RunStatus(run=other, tasks=(), asked=0)
    until = time.monotonic() + 180
    while not {*range(8)} <= known.over:
        assert time.monotonic() < until, known
        time.sleep(0.5)
        [known] = follow.status([known], lambda _: site.connections.to(site.cluster), site.store).statuses
    # Slurm has forgotten the first part, as soon it does: to it the job never was.
    assert inside(site.lab, ["ln", "-sfT", "99999999", f"{other.folder}/id"], user=site.lab.user).returncode == 0
    next_job = Job(name="next", image="test", command=("true",))

    def after(kind: AfterKind) -> tuple[Predecessor, ...]:
        return (Predecessor(kind=kind, run_id=other.id, tasks=TASKS),)

    with pytest.raises(SchedulerError, match=r"succeeds, but that run .*task 1 recorded exit code 7"):
        site.submit(next_job, after=after("afterok"))
    waiting = [site.submit(next_job, after=after(kind)) for kind in ("afterany", "afternotok")]
    said = [site.ask(f"squeue --noheader --jobs={run.job_id} --format=%E") for run in waiting]
    assert said == [[f"afterany:{last.job_id}_*(unfulfilled)"]] * 2
    assert inside(site.lab, ["scancel", last.job_id, *(run.job_id for run in waiting)], user=site.lab.user).returncode == 0


def test_of_a_run_in_parts_that_all_go_on_a_failure_cannot_be_waited_for(site: Site) -> None:
    other = site.submit(replace(SWEEP, slurm=(("hold", True),)))
    after = (Predecessor(kind="afternotok", run_id=other.id, tasks=TASKS),)
    with pytest.raises(SchedulerError, match="has several jobs, and Slurm cannot wait until all have ended"):
        site.submit(Job(name="next", image="test", command=("true",)), after=after)
    assert cancel([RunStatus(run=other, tasks=(), asked=0)], lambda _: site.connections.to(site.cluster), site.store)
