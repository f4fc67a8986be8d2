"""Why jobs wait, are held and end badly, in words."""

import pytest

from hpcdeploy.run import State, TaskStatus
from hpcdeploy.scheduler import htcondor, slurm

# squeue(1), "JOB REASON CODES", of several releases.
CODES = """
AssociationJobLimit AssociationResourceLimit AssociationTimeLimit BadConstraints BeginTime Cleaning Dependency
FrontEndDown InactiveLimit InvalidAccount InvalidQOS JobArrayTaskLimit JobHeldAdmin JobHeldUser
JobLaunchFailure Licenses NodeDown NonZeroExitCode PartitionDown PartitionInactive PartitionNodeLimit
PartitionTimeLimit Priority Prolog QOSJobLimit QOSResourceLimit QOSTimeLimit ReqNodeNotAvail Reservation
Resources SystemFailure TimeLimit QOSUsageThreshold WaitingForScheduling DependencyNeverSatisfied
AssocGrpCpuLimit AssocGrpCPURunMinutesLimit AssocGrpGRES AssocMaxJobsLimit QOSMaxCpuPerUserLimit
QOSMaxGRESPerUser MaxMemPerLimit QOSMaxJobsPerUserLimit QOSGrpNodeLimit QOSMaxWallDurationPerJobLimit
QOSMinGRES AssocMaxSubmitJobLimit AssocGrpBillingMinutes
"""


def waiting(reason: str, word: str = "PENDING") -> str:
    return slurm.explain(TaskStatus(task=0, state=State.PENDING, word=word, reason=reason))


def held(code: str) -> str:
    return htcondor.explain(TaskStatus(task=0, state=State.HELD, word="HELD", code=code))


@pytest.mark.parametrize("code", CODES.split())
def test_every_reason_of_the_manual_has_words_and_an_advice(code: str) -> None:
    meaning, _, advice = waiting(code).partition(": ")
    assert meaning
    assert advice


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("ReqNodeNotAvail, UnavailableNodes:node[1-3]", "down, drained or reserved"),
        ("Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs_in_higher_priority_partitions", "down, drained"),
        ("(launch failed requeued held)", "scontrol release"),
        (
            "AssocGrpCPURunMinutesLimit",
            "all users of your account together have reached its limit on minutes of CPUs",
        ),
        ("QOSMaxGRESPerUser", "you have reached the limit of the quality of service on GPUs"),
        ("QOSMaxNodePerJobLimit", "it requests more nodes than the quality of service allows one job"),
        ("QOSMinCpuNotSatisfied", "it requests less than the minimum of the quality of service for CPUs"),
    ],
)
def test_a_reason_is_told_as_what_it_is(reason: str, words: str) -> None:
    assert words in waiting(reason)


@pytest.mark.parametrize("reason", ["", "FromTheFuture", "Maximum", "a | b"])
def test_of_a_reason_that_nobody_knows_nothing_is_made_up(reason: str) -> None:
    assert waiting(reason) == ""


def test_bad_ends_are_told_apart() -> None:
    ends = [State.OUT_OF_MEMORY, State.TIMEOUT, State.NODE_FAIL, State.PREEMPTED, State.CANCELLED]
    told = {slurm.explain(TaskStatus(task=0, state=state, word=state.value)) for state in ends}
    assert len(told - {""}) == len(ends)
    assert slurm.explain(TaskStatus(task=0, state=State.COMPLETED, word="COMPLETED")) == ""


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("BadConstraints", "request less"),
        ("NonZeroExitCode", "see its log"),
        ("JobLaunchFailure", "could not be launched"),
        ("RaisedSignal", "ended by a signal"),
        ("RaisedSignal:9(Killed)", "ended by a signal"),
        ("SystemFailure", "submit it again"),
        ("InvalidAccount", "use one of yours"),
        ("InvalidQOS", "use one of yours"),
        ("PartitionDown", "submit it again"),
        ("NodeDown", "not its own fault"),
    ],
)
def test_the_reason_of_a_bad_end_is_told_with_what_to_do_then(reason: str, words: str) -> None:
    said = slurm.explain(TaskStatus(task=0, state=State.FAILED, word="FAILED", reason=reason))
    assert words in said
    assert "no action needed" not in said
    assert "cancel it" not in said


@pytest.mark.parametrize("reason", ["Priority", "Resources", "BeginTime", "JobHeldUser"])
def test_a_reason_that_is_left_over_from_waiting_explains_no_end(reason: str) -> None:
    assert slurm.explain(TaskStatus(task=0, state=State.FAILED, word="FAILED", reason=reason)) == ""


def test_a_job_that_is_requeued_is_told_from_one_that_never_began() -> None:
    assert "will restart" in waiting("BeginTime", word="REQUEUED")
    assert "scontrol release" in slurm.explain(TaskStatus(task=0, state=State.HELD, word="REQUEUE_HOLD", reason="None"))
    assert slurm.explain(TaskStatus(task=0, state=State.NODE_FAIL, word="BOOT_FAIL")) != slurm.explain(
        TaskStatus(task=0, state=State.NODE_FAIL, word="NODE_FAIL")
    )


# The manual's table of HoldReasonCode, without grid and cloud jobs.
@pytest.mark.parametrize("code", [1, *range(3, 28), *range(32, 37), *range(43, 49)])
def test_every_hold_code_of_the_manual_has_words_and_an_advice(code: int) -> None:
    meaning, _, advice = held(f"{code}.0").partition(": ")
    assert meaning
    assert advice


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("34.102", "more memory than it requested"),
        ("34.104", "more disk than it requested"),
        ("34.0", "more of a resource"),
        ("13.2", "No such file or directory"),
        ("13.62", "because of a timeout"),
        ("13.256", "ended with exit code 1;"),
        ("6.13", "Permission denied"),
        ("47.0", "longer than it requested"),
    ],
)
def test_a_subcode_makes_a_hold_more_precise(code: str, words: str) -> None:
    assert words in held(code)


@pytest.mark.parametrize("code", ["", "99.0", "x.y", "1"])
def test_of_a_code_that_nobody_knows_nothing_is_made_up(code: str) -> None:
    assert held(code) == ""


@pytest.mark.parametrize(
    ("reason", "words"),
    [("no match found", "better-analyze"), ("insufficient priority", "priority"), ("", ""), ("something else", "")],
)
def test_an_idle_job_says_what_the_negotiator_last_said(reason: str, words: str) -> None:
    told = htcondor.explain(TaskStatus(task=0, state=State.PENDING, word="IDLE", reason=reason))
    assert words in told
    assert bool(told) == bool(words)
