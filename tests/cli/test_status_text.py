from dataclasses import replace

import pytest

from hpcdeploy.cli.status_text import explanations
from hpcdeploy.run import RunStatus, State, TaskStatus
from tests.scheduler.samples import PLAIN, run_of

FAILED = TaskStatus(task=0, state=State.FAILED, word="COMPLETED")


@pytest.mark.parametrize(("code", "words"), [(137, "more memory than it requested"), (255, "could not get the image")])
@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_an_exit_code_that_is_not_the_programs_own_is_told_as_what_it_most_often_is(
    scheduler: str, code: int, words: str
) -> None:
    run = run_of(PLAIN, scheduler, job_id="7")  # type: ignore[arg-type]
    [said] = explanations([RunStatus(run=run, tasks=(replace(FAILED, exit_code=code),), asked=1)])
    assert words in said
    assert explanations([RunStatus(run=run, tasks=(replace(FAILED, exit_code=3),), asked=1)]) == []


def test_the_reason_that_slurm_has_for_a_bad_end_is_told_and_no_exit_code_is_hidden_by_it() -> None:
    run = run_of(PLAIN, "slurm", job_id="7")

    def said(reason: str, code: int | None) -> list[str]:
        task = replace(FAILED, word="FAILED", reason=reason, exit_code=code)
        return explanations([RunStatus(run=run, tasks=(task,), asked=1)])

    assert said("NonZeroExitCode", 3) == ["FAILED: it ended with an exit code that is not 0: see its log"]
    assert "more memory than it requested" in said("NonZeroExitCode", 137)[0]
    assert "request less" in said("BadConstraints", None)[0]
