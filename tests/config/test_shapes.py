"""What a job may say of its shape: what it waits for, how it is warned, started again and spread."""

import pytest

from hpcdeploy.config.reading import Report, read
from hpcdeploy.config.schema import JOB
from hpcdeploy.job import After


def said_of(key: str, raw: object) -> tuple[object, list[str]]:
    """Return what a job's `key` is read as, and the problems."""
    report = Report(file="f")
    return read(JOB, {key: raw}, report).get(key), report.problems


@pytest.mark.parametrize(
    ("raw", "after"),
    [
        ("prepare", [After(what="prepare")]),
        (["prepare"], [After(what="prepare")]),
        (
            ["afterok:a", "afterany:b-0011", "afternotok:c.1"],
            [After(what="a"), After(what="b-0011", kind="afterany"), After(what="c.1", kind="afternotok")],
        ),
    ],
)
def test_what_a_job_waits_for_is_named_as_in_sbatch(raw: object, after: list[After]) -> None:
    assert said_of("after", raw) == (tuple(after), [])


@pytest.mark.parametrize("raw", ["", "after:x", "singleton:x", "afterok:", "a b", ["ok", "afterok:1:2"], [3], 7, {"a": "b"}])
def test_what_is_no_run_to_wait_for_is_refused(raw: object) -> None:
    _, problems = said_of("after", raw)
    assert problems
    assert all("found" in problem and "expected" in problem for problem in problems)
