from dataclasses import replace

import pytest

from hpcdeploy.cli.status_text import explanations
from hpcdeploy.run import RunStatus, State, TaskStatus
from tests.scheduler.samples import PLAIN, run_of

FAILED = TaskStatus(task=0, state=State.FAILED, word="COMPLETED")


@pytest.mark.parametrize(("code", "words"), [(137, "more memory than it asked for"), (255, "could not have the image")])
@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_an_exit_code_that_is_not_the_programs_own_is_told_as_what_it_most_often_is(
    scheduler: str, code: int, words: str
) -> None:
    run = run_of(PLAIN, scheduler, job_id="7")  # type: ignore[arg-type]
    [said] = explanations([RunStatus(run=run, tasks=(replace(FAILED, exit_code=code),), asked=1)])
    assert words in said
    assert explanations([RunStatus(run=run, tasks=(replace(FAILED, exit_code=3),), asked=1)]) == []
