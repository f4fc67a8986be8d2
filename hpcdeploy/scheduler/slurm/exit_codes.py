"""Exit codes out of ``sacct --json``.

Before Slurm 25.11 sacct subtracts 128 from exit codes of 128 and more: 137 becomes ``9:0`` (``print_fields`` in
src/sacct/print.c of 22.05 and 24.11; CHANGELOG of 25.11, "Don't subtract 128 from sacct returned exit codes"). Its JSON has
the code as it was, but for 22.05, which writes 0 whatever it was (``_dump_job_exit_code`` in src/plugins/openapi/dbv0.0.38/
parse.c, seen with 22.05.8).
"""

from collections.abc import Mapping

from hpcdeploy.json_text import read_json
from hpcdeploy.whole_number import HIGHEST_EXIT_CODE, whole_number

ExitCodes = Mapping[tuple[str, int], int]
"""The exit code of each task, by its job's number (an array's, for a task of one) and its own number."""


def read_exit_codes(text: str) -> dict[tuple[str, int], int]:
    """Read the exit codes of the jobs in the output of ``sacct --json``; what cannot be read is left out.

    Early releases write a number as it is, later ones as ``{"set": true, "infinite": false, "number": 7}``
    (``UINT32_NO_VAL`` in src/plugins/data_parser/v0.0.42/parsers.c).
    """
    try:
        value = read_json(text)
    except ValueError:
        return {}
    jobs = value.get("jobs") if isinstance(value, dict) else None
    found: dict[tuple[str, int], int] = {}
    for job in jobs if isinstance(jobs, list) else []:
        code = _number(job, "exit_code", "return_code")
        number = _number(job, "array", "job_id") or _number(job, "job_id")
        if code is not None and code <= HIGHEST_EXIT_CODE and number:
            found[str(number), _number(job, "array", "task_id") or 0] = code
    return found


def _number(value: object, *keys: str) -> int | None:
    """Return the number under `keys`; None where there is none, or it is not set."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value = value.get("number") if value.get("set") and not value.get("infinite") else None
    return whole_number(value)
