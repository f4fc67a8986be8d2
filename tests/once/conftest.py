"""A root of these tests' own, with an image that no held job ever opens, and stand-ins before the real commands."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hpcdeploy import shell
from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.config.files import load_project
from hpcdeploy.flows.submit import plan_run
from hpcdeploy.job import Array, Job, Predecessor
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests import seed as seeds
from tests.once import asking
from tests.once.planned import Planned
from tests.shared import OWN

IMAGE = Delivery(sha256="0" * 63 + "1")
HELD = Job(name="once", image="test", command=("true",), slurm=(("hold", True),), htcondor=(("hold", "true"),))
"""A job that is there and never starts: what is tested is how many there are."""

WRAPPER = Path(__file__).with_name("wrapper.sh")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where these tests submit to: the lab, a root in it, and a folder whose commands come before the scheduler's own."""

    lab: Lab
    cluster: Cluster
    root: str
    commands: str

    def planned(
        self,
        scheduler: SchedulerName,
        setup: tuple[str, ...] = (),
        ssh_config: Path | None = None,
        *,
        held: bool = True,
        array: Array | None = None,
        after: tuple[Predecessor, ...] = (),
    ) -> Planned:
        """Plan a run whose script runs `setup` first, on the cluster as it is reached through `ssh_config`."""
        job = replace(HELD, array=array) if held else replace(HELD, slurm=(), htcondor=())
        cluster = replace(self.cluster, setup=setup, ssh_config=str(ssh_config or self.cluster.ssh_config))
        run = plan_run(job, cluster, scheduler, IMAGE, now=0)
        return Planned(run=run, cluster=cluster, script=submission(run, job, cluster, IMAGE, after=after))

    def broken(self, how: str) -> tuple[str, ...]:
        """Return the setup that breaks the scheduler's command in the way `how` of wrapper.sh, the first time."""
        done = f"{self.root}/once-{secrets.token_hex(5)}"
        return (
            f"export PATH={self.commands}:$PATH",
            f"export HPCDEPLOY_ONCE={shell.word(how)} HPCDEPLOY_ONCE_DONE={done}",
        )


@pytest.fixture(scope="session")
def seed() -> str:
    """Give the seed of this test run (`tests.seed`)."""
    return os.environ[seeds.VARIABLE]


def place_in(lab: Lab, cluster: Cluster, root: str) -> Place:
    """Make a root in a lab, with the image and the stand-ins in it."""
    place = Place(lab=lab, cluster=replace(cluster, root=root), root=root, commands=f"{root}/commands")
    line = (
        f"mkdir -p {root}/images {place.commands} && : >{root}/images/{IMAGE.sha256}.sif && cat >{place.commands}/sbatch && "
        f"chmod 0755 {place.commands}/sbatch && cp {place.commands}/sbatch {place.commands}/condor_submit"
    )
    made = inside(lab, ["bash", "-c", line], user=lab.user, stdin=WRAPPER.read_bytes())
    assert made.returncode == 0, made.stderr.decode()
    return place


@pytest.fixture(scope="session")
def place(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give the shared lab as a place; what these tests left in its queues is cancelled afterwards."""
    cluster = load_project(tmp_path_factory.mktemp("project"), optional=True).clusters["lab"]
    made = place_in(lab, cluster, f"{lab.scratch}/{OWN}/once")
    yield made
    runs = inside(lab, ["ls", f"{made.root}/runs"], user=lab.user).stdout.decode().split()
    for scheduler in made.cluster.schedulers:
        found = asking.jobs_by_run(lab, scheduler)
        asking.cancel(lab, scheduler, {job for run in runs for job in found.get(run, ())})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs.db")
