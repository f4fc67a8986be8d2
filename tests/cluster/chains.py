"""Runs on HTCondor that wait for others, driven as the command does it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.project import Project
from hpcdeploy.flows import follow
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.flows.plan import predecessors
from hpcdeploy.flows.submit import Submitted, plan_run, resume, submit
from hpcdeploy.job import After, Array, Job
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.run import Run, RunStatus
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import output_of, wait_for


@dataclass
class Chains:
    """Submits jobs that wait for others, and asks HTCondor itself what became of them."""

    lab: Lab
    cluster: Cluster
    delivery: Delivery
    connections: Connections
    store: Store
    folder: Path

    def planned(self, job: Job) -> tuple[Run, str]:
        run = plan_run(job, self.cluster, "htcondor", self.delivery, now=time.time())
        others = predecessors(job, Project(root=self.folder), self.cluster, "htcondor", self.store)
        return run, submission(run, job, self.cluster, self.delivery, after=others)

    def submit(self, name: str, *command: str, after: Sequence[After] = (), array: Array | None = None) -> Run:
        run, script = self.planned(Job(name=name, image="test", command=command, after=tuple(after), array=array))
        return self.deliver(run, script).run

    def deliver(self, run: Run, script: str, *, again: bool = False) -> Submitted:
        call = resume if again else submit
        return call(run, script, self.connections.to(self.cluster), self.store)

    def end_of(self, run: Run) -> RunStatus:
        return wait_for(run, self.cluster, self.connections, self.store)

    def now(self, run: Run) -> RunStatus:
        known = [RunStatus(run=run, tasks=(), asked=0)]
        return follow.status(known, lambda _: self.connections.to(self.cluster), self.store).statuses[0]

    def until(self, run: Run, there: Callable[[RunStatus], bool], seconds: int = 60) -> RunStatus:
        status = self.now(run)
        for _ in range(2 * seconds):
            if there(status):
                break
            time.sleep(0.5)
            status = self.now(run)
        assert there(status), status
        return status

    def output(self, status: RunStatus, task: int = 0) -> str:
        return output_of(status, self.cluster, self.connections, task)

    def cancel(self, *runs: Run) -> None:
        cancel([self.now(run) for run in runs], lambda _: self.connections.to(self.cluster), self.store)

    def ask(self, command: str) -> list[str]:
        line = "; ".join((*self.cluster.setup, command))
        return inside(self.lab, ["bash", "-c", line], user=self.lab.user).stdout.decode().split()

    def close(self) -> None:
        """Remove what is left: DAGMan outlives its job by seconds, and comes back for ever where its folder went first."""
        runs = [status.run for status in self.store.latest()]
        ours = ", ".join(f'"{run.id}"' for run in runs)
        self.ask(f"condor_rm -constraint 'member(HpcdeployRun, {{{ours}}})'")
        assert self.leaves_the_queue(*runs)

    def leaves_the_queue(self, *runs: Run) -> bool:
        for _ in range(60):
            if not {run.id for run in runs} & set(self.ask("condor_q -af HpcdeployRun")):
                return True
            time.sleep(0.5)
        return False

    def jobs(self, run: Run, universe: str = "JobUniverse == 7") -> set[str]:
        """Ask which jobs of a run there are or were: those of DAGMan, or others."""
        ours = f"""-constraint 'HpcdeployRun == "{run.id}" && {universe}' -af ClusterId"""
        return set(self.ask(f"condor_q {ours}; condor_history {ours}"))
