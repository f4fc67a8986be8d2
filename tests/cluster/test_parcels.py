"""A submission that needs files of this machine: they are brought, and the run still has one job."""

import threading
import time
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.flows.submit import Submitted, plan_run, resume, submit
from hpcdeploy.job import Job
from hpcdeploy.progress import Feedback
from hpcdeploy.remote.answers import SHELL
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.run import State
from hpcdeploy.staged_files import Delivery, Placement, StagedFile
from hpcdeploy.store import Store
from hpcdeploy.transport.connect import open_transport
from hpcdeploy.whole_file import sha256_of
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import wait_for
from tests.cluster.test_once import by_hand, jobs_of

BOTH = pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
HELLO = Job(name="hello", image="test", command=("true",))


@pytest.fixture
def staged(tmp_path: Path) -> StagedFile:
    source = tmp_path / "data"
    source.write_text(f"{tmp_path}\n" * 100_000)
    sha256 = sha256_of(source)
    return StagedFile(
        sha256=sha256, size=source.stat().st_size, path=f"inputs/{sha256}", what="the input data", source=str(source)
    )


def placed(staged: StagedFile) -> tuple[Placement, ...]:
    """Return the file as an input of the job."""
    return (Placement(upload=staged, place="data", is_folder=False),)


@BOTH
def test_what_a_run_needs_is_brought_and_then_it_is_submitted_once(
    lab: Lab,
    scheduler: SchedulerName,
    cluster: Cluster,
    delivery: Delivery,
    connections: Connections,
    store: Store,
    staged: StagedFile,
) -> None:
    run = plan_run(HELLO, cluster, scheduler, delivery, now=time.time())
    script = submission(run, HELLO, cluster, delivery, placements=placed(staged))
    by_hand = connections.to(cluster).link.open().run(SHELL, stdin=script.encode())
    assert by_hand.exit_code == 14
    assert b"the input data is missing: copy it to /" in by_hand.stderr
    said: list[bytes] = []
    done = submit(run, script, connections.to(cluster), store, uploads=(staged,), feedback=Feedback(report=said.append))
    assert b"is missing: copy it to" not in b"".join(said)
    assert wait_for(done.run, cluster, connections, store).state is State.COMPLETED
    assert jobs_of(lab, scheduler, run.id) == {done.run.job_id}
    there = inside(lab, ["cat", f"{lab.scratch}/{cluster.root.removeprefix('$SCRATCH/')}/{staged.path}"], user=lab.user)
    assert there.stdout == Path(staged.source).read_bytes()
    assert store.uploads(run) == (staged,)


@BOTH
def test_by_hand_the_script_says_what_is_to_be_put_where_and_goes_on_once_it_is_there(
    lab: Lab, scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, staged: StagedFile
) -> None:
    run = plan_run(HELLO, cluster, scheduler, delivery, now=time.time())
    script = submission(run, HELLO, cluster, delivery, placements=placed(staged))
    assert f'"needs": [ {{"sha256": "{staged.sha256}"' in by_hand(lab, script)
    assert jobs_of(lab, scheduler, run.id) == set()
    put = f"{lab.scratch}/{cluster.root.removeprefix('$SCRATCH/')}/{staged.path}"
    copy = ["sh", "-c", f"mkdir -p {put.rpartition('/')[0]} && cat > {put}"]
    assert inside(lab, copy, user=lab.user, stdin=Path(staged.source).read_bytes()).returncode == 0
    assert '"already": false' in by_hand(lab, script)
    assert len(jobs_of(lab, scheduler, run.id)) == 1


@BOTH
def test_clients_that_submit_one_run_at_once_bring_its_parcel_once(
    lab: Lab, scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, store: Store, staged: StagedFile
) -> None:
    run = plan_run(HELLO, cluster, scheduler, delivery, now=time.time())
    script = submission(run, HELLO, cluster, delivery, placements=placed(staged))
    store.add(run, script, (staged,))
    done: list[Submitted] = []

    def client() -> None:
        with Connections(open_transport) as own:
            done.append(resume(run, script, own.to(cluster), store, uploads=store.uploads(run)))

    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    assert sorted(one.already for one in done) == [False, True, True, True]
    assert jobs_of(lab, scheduler, run.id) == {done[0].run.job_id}
