"""What another user of the cluster can do to a run: put another image into its cache, exchange one that was checked."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import HpcdeployError
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.job import Job
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import RunStatus, State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import output_of, submit_job, wait_for
from tests.shared import OWN

BOTH = pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
HELLO = Job(name="hello", image="test", command=("echo", "hello"))
HELD = replace(HELLO, slurm=(("hold", True),), htcondor=(("hold", "true"),))

pytestmark = pytest.mark.container


class Team:
    """A folder of images that the colleague owns and whose group may write to it (setgid), and a cluster that uses it."""

    def __init__(self, lab: Lab, cluster: Cluster, delivery: Delivery, name: str) -> None:
        self.lab = lab
        self.folder = f"{lab.team_scratch}/{OWN}-{name}"
        self.root = f"{lab.scratch}/{OWN}/two-users-{name}"
        self.cluster = replace(cluster, root=self.root, image_cache=self.folder)
        self.image = f"{self.folder}/{delivery.sha256}.sif"
        self.colleague(f"mkdir -m 2775 {self.folder}")
        # The file alone: from now on it can only come out of this folder.
        self.delivery = Delivery(sha256=delivery.sha256, size=delivery.size)

    def colleague(self, line: str) -> str:
        return self._run(line, self.lab.colleague)

    def user(self, line: str) -> str:
        return self._run(line, self.lab.user)

    def _run(self, line: str, user: str) -> str:
        done = inside(self.lab, ["bash", "-c", f"umask 027; {line}"], user=user)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def put_image(self, source: str) -> None:
        """Let the colleague have the image in the folder, and leave it alone until it may be remembered."""
        words = ["install", "-o", self.lab.colleague, "-g", "team", "-m", "0640", source, self.image]
        done = inside(self.lab, words)
        assert done.returncode == 0, done.stderr.decode()
        time.sleep(2.5)

    def exchange(self) -> None:
        """Let the colleague put something else under the name, of the same size and with the same time of change."""
        self.colleague(
            f"cp -p {self.image} {self.image}.was && tr 'a-y' 'b-z' <{self.image}.was >{self.image}.new"
            f" && touch -r {self.image}.was {self.image}.new && chmod 640 {self.image}.new"
            f" && mv -f {self.image}.new {self.image}"
        )


@pytest.fixture
def team(
    lab: Lab, cluster: Cluster, delivery: Delivery, scheduler: SchedulerName, request: pytest.FixtureRequest
) -> Iterator[Team]:
    made = Team(lab, cluster, delivery, f"{request.node.originalname[-40:].replace('_', '-')}-{scheduler}")
    yield made
    made.colleague(f"rm -rf {made.folder}")


@pytest.fixture
def shared_image(lab: Lab) -> str:
    from tests.cluster.conftest import image_file

    return image_file(lab)


@BOTH
def test_a_cache_of_somebody_else_is_refused_though_the_name_is_right(
    team: Team, scheduler: SchedulerName, connections: Connections, store: Store
) -> None:
    team.colleague(f"echo another image >{team.image}")
    with pytest.raises(
        HpcdeployError, match=rf"{team.folder} belongs to colleague, .*image-cache-owners = \[\"colleague\"\]"
    ):
        submit_job(HELLO, scheduler, team.cluster, team.delivery, connections, store)
    trusting = replace(team.cluster, image_cache_owners=("colleague",))
    with pytest.raises(
        HpcdeployError, match=r"does not match the checksum in its name: its sha256 is .*, and it belongs to colleague"
    ):
        submit_job(HELLO, scheduler, trusting, team.delivery, connections, store)


@BOTH
def test_a_cache_of_the_team_is_compared_once(
    team: Team, scheduler: SchedulerName, shared_image: str, connections: Connections, store: Store
) -> None:
    team.put_image(shared_image)
    trusting = replace(team.cluster, image_cache_owners=("colleague",))
    for _ in range(2):
        run = submit_job(HELLO, scheduler, trusting, team.delivery, connections, store).run
        done = wait_for(run, trusting, connections, store)
        assert done.state is State.COMPLETED, output_of(done, trusting, connections)
    known = team.user(f"cat {team.root}/verified/{team.delivery.sha256}").splitlines()
    assert len(known) == len(set(known)), "what was compared is not compared again"
    assert known


@BOTH
def test_an_image_that_is_exchanged_after_it_was_submitted_does_not_run(
    team: Team, scheduler: SchedulerName, shared_image: str, connections: Connections, store: Store
) -> None:
    team.put_image(shared_image)
    trusting = replace(team.cluster, image_cache_owners=("colleague",))
    run = submit_job(HELD, scheduler, trusting, team.delivery, connections, store).run
    team.exchange()
    team.user(f"scontrol release {run.job_id}" if scheduler == "slurm" else f"condor_release {run.job_id}")
    done = wait_for(run, trusting, connections, store)
    if scheduler == "slurm":
        assert done.state is State.FAILED
        said = team.user(f"cat {team.root}/runs/{run.id}/logs/0.err")
        assert "does not match the checksum in its name" in said, said
    else:
        # HTCondor reads the image now: it was given a copy that only the user can change.
        assert done.state is State.COMPLETED
        assert output_of(done, trusting, connections) == "hello\n"


@BOTH
def test_nobody_else_can_look_at_a_run(
    team: Team, scheduler: SchedulerName, shared_image: str, connections: Connections, store: Store
) -> None:
    team.put_image(shared_image)
    trusting = replace(
        team.cluster, root=f"{team.folder}/{scheduler}-root", image_cache_owners=("colleague",), setup=("umask 000",)
    )
    run = submit_job(HELD, scheduler, trusting, team.delivery, connections, store).run
    assert team.colleague(f"find {team.folder}/{scheduler}-root 2>/dev/null | wc -l").strip() == "1", "its name, and no more"
    cancel([RunStatus(run=run, tasks=(), asked=0)], lambda _: connections.to(trusting), store)
    team.user(f"rm -rf {team.folder}/{scheduler}-root")
