"""States are right on Slurm 26.05 too, Debian's unstable suite's; and containers run there.

The tests of Slurm 22.05 are run once more, in a lab with this release: how jobs are followed needs no container.
A machine that has no such lab yet has the release that the suite has gone on to, if it has.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.job import Job, Resources
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab import archive, rootfs
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.settings import default_settings
from hpcdeploy_lab.state import Lab
from tests.cluster import test_older_slurm as life
from tests.cluster import test_older_slurm_shapes as shapes
from tests.cluster.driving import output_of, submit_job, wait_for
from tests.labs import StartLab

PROGRAM = 'echo "GPU $CUDA_VISIBLE_DEVICES in $APPTAINER_NAME of process $SLURM_PROCID"'

AT_LEAST = "26.05"

cluster = life.cluster


@pytest.fixture(scope="session")
def newer(start_lab: StartLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run a lab with Slurm 26.05 or newer that forgets a job five seconds after its end."""
    made = rootfs.path(replace(default_settings(), slurm=AT_LEAST)).is_dir()
    release = AT_LEAST if made else archive.newest(rootfs.find_mirror())
    with start_lab(tmp_path_factory.mktemp("newer"), slurm=release, min_job_age=life.FORGETS) as lab:
        yield lab


@pytest.fixture(scope="session")
def another(newer: Lab) -> Lab:
    """Give the lab with another release of Slurm than the shared lab's."""
    return newer


def test_it_is_a_newer_slurm_with_containers_and_htcondor(newer: Lab) -> None:
    version = inside(newer, ["squeue", "--version"], user=newer.user).stdout.decode().split()[1]
    assert version.startswith(f"{newer.slurm}.")
    assert version >= AT_LEAST
    assert inside(newer, ["apptainer", "--version"], user=newer.user).returncode == 0
    assert newer.schedulers == ("slurm", "htcondor")


def test_the_database_is_without_snapshot_isolation_which_slurmdbd_cannot_do_with(newer: Lab) -> None:
    asked = inside(newer, ["mariadb", "-N", "-e", "SELECT @@innodb_snapshot_isolation"])
    assert asked.stdout == b"0\n", asked.stderr.decode()
    assert "snapshot" not in (newer.logs / "slurmdbd.log").read_text()


def test_containers_of_one_process_and_of_several_have_their_gpus(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    real = replace(cluster, apptainer="apptainer", image_cache="")
    job = Job(name="gpu", image="test", command=("sh", "-c", PROGRAM), resources=Resources(gpus=1, cpus=1, time=120))
    several = replace(job, resources=replace(job.resources, nodes=2), tasks_per_node=1)
    runs = [submit_job(one, "slurm", real, delivery, connections, store).run for one in (job, several)]
    ends = [wait_for(run, real, connections, store) for run in runs]
    assert [end.state for end in ends] == [State.COMPLETED, State.COMPLETED]
    alone, together = (output_of(end, real, connections).split("\n")[:-1] for end in ends)
    assert alone[0].startswith("GPU ")
    assert len(together) == 2
    assert {line.rpartition(" ")[2] for line in together} == {"0", "1"}


test_a_jobs_life = life.test_a_jobs_life_is_followed_from_its_hold_to_its_end
test_logs = life.test_logs_are_found_whatever_stands_in_the_roots_name
test_questions = life.test_the_controller_is_asked_once_and_for_this_persons_jobs_only
test_a_failing_node = life.test_a_node_that_fails_is_not_the_jobs_fault_and_one_that_may_be_requeued_begins_anew
test_a_requeue = life.test_a_requeue_is_told_and_the_tasks_of_a_long_list_are_all_there
test_a_lost_answer = life.test_a_job_whose_answer_was_lost_is_found
test_warned_processes = shapes.test_warned_processes_of_two_nodes_go_on_after_their_limit
