"""Parse exit codes from ``sacct --json``.

Before Slurm 25.11 sacct subtracts 128 from exit codes of 128 and more: 137 becomes ``9:0`` (``print_fields`` in
src/sacct/print.c of 22.05 and 24.11; CHANGELOG of 25.11, "Don't subtract 128 from sacct returned exit codes"). The JSON
output has the original code, except in 22.05, which always writes 0 (``_dump_job_exit_code`` in
src/plugins/openapi/dbv0.0.38/parse.c, seen with 22.05.8).
"""

from collections.abc import Mapping

from hpcdeploy.json_text import read_json
from hpcdeploy.whole_number import HIGHEST_EXIT_CODE, whole_number

ExitCodes = Mapping[tuple[str, int], int]
"""Exit codes by job id (of the array, for an array task) and task number."""


def read_exit_codes(text: str) -> dict[tuple[str, int], int]:
    """Return the exit codes in the output of ``sacct --json``; malformed jobs are skipped.

    Early releases write a plain number, later ones ``{"set": true, "infinite": false, "number": 7}``
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
    """Return the number under `keys`; None if it is missing or not set."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value = value.get("number") if value.get("set") and not value.get("infinite") else None
    return whole_number(value)
