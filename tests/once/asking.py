"""What is truly there: the scheduler asked once for all the jobs of a test."""

from collections import defaultdict
from collections.abc import Iterable

from hpcdeploy.cluster import SchedulerName
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.once import proxy

_QUESTIONS = {
    "slurm": "squeue --noheader --states=all --user=$USER --format='%j %F'; "
    "sacct --noheader --allocations --parsable2 --delimiter=' ' --format=JobName,JobID --starttime=now-2hours || "
    "sacct 2>&1 | grep -q 'is disabled'",
    "htcondor": "condor_q -nobatch -autoformat HpcdeployRun ClusterId; "
    # A history file that is put away in that moment makes it fail.
    "for _ in 1 2 3; do condor_history -since 'EnteredCurrentStatus < time() - 7200' -autoformat HpcdeployRun ClusterId && "
    "exit 0; done; exit 1",
}

_ALIVE = {
    "slurm": "squeue --noheader --user=$USER --format='%j %F'",
    "htcondor": "condor_q -nobatch -constraint 'JobStatus =!= 3 && JobStatus =!= 4' -autoformat HpcdeployRun ClusterId",
}


def jobs_by_run(lab: Lab, scheduler: SchedulerName) -> dict[str, set[str]]:
    """Ask which jobs there are or were of late, in any state, by the run whose name they bear."""
    return _jobs(lab, _QUESTIONS[scheduler])


def alive_by_run(lab: Lab, scheduler: SchedulerName) -> dict[str, set[str]]:
    """Ask which jobs there are now that may still run, by the run whose name they bear."""
    return _jobs(lab, _ALIVE[scheduler])


def _jobs(lab: Lab, question: str) -> dict[str, set[str]]:
    asked = inside(lab, ["bash", "-c", f"USER={lab.user}; {question}"], user=lab.user, timeout=60)
    assert asked.returncode == 0, asked.stderr.decode()
    found: dict[str, set[str]] = defaultdict(set)
    for line in asked.stdout.decode().splitlines():
        name, _, job = line.strip().partition(" ")
        found[name].add(job.split("_")[0])
    return found


def cancel(lab: Lab, scheduler: SchedulerName, jobs: Iterable[str]) -> None:
    """Cancel a test's own jobs, by number."""
    numbers = sorted(jobs)
    if numbers:
        inside(lab, ["scancel" if scheduler == "slurm" else "condor_rm", *numbers], user=lab.user, timeout=120)


_SESSIONS = """
import pathlib, sys, time
ports, end = {f"SSH_CLIENT=127.0.0.1 {port}".encode() for port in sys.argv[1:]}, time.monotonic() + 100
def of_a_session(process):
    try:
        variables = (process / "environ").read_bytes().split(b"\\0")
    except OSError:
        return False
    # HTCondor runs a job, and so DAGMan, with the variables of the process that submitted it.
    started_by_condor = any(one.startswith(b"_CONDOR_ANCESTOR_") for one in variables)
    return not started_by_condor and any(one.rpartition(b" ")[0] in ports for one in variables)
while any(of_a_session(one) for one in pathlib.Path("/proc").glob("[0-9]*")):
    if time.monotonic() > end:
        sys.exit("a login session does not end")
    time.sleep(0.1)
"""


def wait_for_scripts(lab: Lab, root: str) -> None:
    """Wait until no script that was left alone on the login node goes on, nor works on one of the runs under `root`.

    A script whose connection died may not hold its lock yet: so the sessions that came through our proxies must end first.
    """
    ended = inside(lab, ["python3", "-c", _SESSIONS, *map(str, sorted(proxy.SOURCES))], timeout=120)
    assert ended.returncode == 0, ended.stderr.decode()
    line = f'for lock in {root}/runs/*/lock; do [ ! -e "$lock" ] || flock "$lock" true; done'
    assert inside(lab, ["bash", "-c", line], user=lab.user, timeout=120).returncode == 0
