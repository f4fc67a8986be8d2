"""What a login node's script answered, checked before it is used: a full disk or a stranger may have written it."""

import re
from collections.abc import Mapping

from hpcdeploy.run import Run
from hpcdeploy.whole_number import LARGEST, whole_number

Answer = Mapping[str, object]

_JOBS = re.compile(r"[0-9]{1,20}(?:,[0-9]{1,20})*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST = 200
_PATH_MAX = 4096
"""Bytes of a path (limits.h, PATH_MAX)."""


def check_submission(answer: Answer, run: Run, *, may_lack_job: bool = False) -> Answer:
    """Return what a submission script answered of `run`: its job, or which files it needs first.

    A cancelling script `may_lack_job`. Raises ValueError with what was wrong.
    """
    if answer.get("run", run.id) != run.id:
        raise _wrong("run", answer, run.id)
    if "needs" in answer:
        needs = answer["needs"]
        if not isinstance(needs, list) or not all(map(_is_need, needs)):
            raise _wrong("needs", answer, "a list of files, each with sha256, path and have")
        return answer
    job_id = answer.get("job_id")
    if not isinstance(job_id, str) or not (_JOBS.fullmatch(job_id) or (may_lack_job and not job_id)):
        raise _wrong("job_id", answer, "the number of a job")
    jobs, part = job_id.split(","), whole_number(answer.get("part", 0), run.tasks)
    if part is None or len(jobs) > (-(-run.tasks // part) if part else 1):
        raise _wrong("part", answer, f"the number of tasks, of {run.tasks}, in each of {len(jobs)} jobs")
    if not isinstance(answer.get("already"), bool):
        raise _wrong("already", answer, "true or false")
    if not is_path(answer.get("folder")):
        raise _wrong("folder", answer, "a path")
    return answer


def is_path(value: object) -> bool:
    """Tell whether `value` can be a path; one of several lines cannot come in an answer (``login_templates/answer.sh``)."""
    return isinstance(value, str) and 0 < len(value) <= _PATH_MAX and not set(value) & set("\0\n\r")


def number_of(answer: Answer, key: str) -> int:
    """Return the whole number under `key`. Raises ValueError with what was wrong."""
    number = whole_number(answer.get(key), LARGEST)
    if number is None:
        raise _wrong(key, answer, "a whole number")
    return number


def _is_need(need: object) -> bool:
    return (
        isinstance(need, dict)
        and isinstance(need.get("sha256"), str)
        and _SHA256.fullmatch(need["sha256"]) is not None
        and isinstance(need.get("path"), str)
        and whole_number(need.get("have", 0)) is not None
    )


def _wrong(key: str, answer: Answer, expected: str) -> ValueError:
    return ValueError(f"the login node answered {key} {str(answer.get(key))[:_LONGEST]!r}, where {expected} was expected")
