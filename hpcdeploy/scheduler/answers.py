"""The follow script's output, cut into the answers that stand in it."""

import re
from dataclasses import dataclass

from hpcdeploy.errors import SchedulerError


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one command on the login node said, and its exit status."""

    text: str
    exit_code: int


Answers = dict[str, Answer]
"""By the section's name (``squeue``, ``sacct``, ``records``, ``condor_q``, ``events``)."""


def read_answers(output: bytes, fence: str, *needed: str) -> Answers:
    """Cut `output` at the marks that bear `fence`; whatever login shells print outside of them is left out.

    A mark begins anywhere in a line: a profile may have printed text without a line break. Raises `SchedulerError` where
    not a single section came to its end, or one that is `needed` did not.
    """
    text = output.decode("utf-8", "surrogateescape")
    mark = f"HPCDEPLOY {re.escape(fence)}"
    pattern = re.compile(
        rf"{mark} begin (?P<name>\S+)\n(?P<text>.*?)\n{mark} end (?P=name) (?P<code>\d+)$", re.DOTALL | re.MULTILINE
    )
    found = {match["name"]: Answer(text=match["text"], exit_code=int(match["code"])) for match in pattern.finditer(text)}
    missing = [name for name in needed if name not in found]
    if missing or not found:
        raise SchedulerError(
            f"the login node's output holds no complete section {' or '.join(missing) or 'at all'}; it ends with: "
            + (text.strip()[-500:] or "(nothing)")
        )
    return found
