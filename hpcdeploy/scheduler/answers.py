"""Split the output of the follow script into sections, one for each command."""

import re
from dataclasses import dataclass

from hpcdeploy.errors import SchedulerError


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The output of one command on the login node, and its exit code."""

    text: str
    exit_code: int


Answers = dict[str, Answer]
"""Answers by section name (``squeue``, ``sacct``, ``records``, ``condor_q``, ``events``)."""


def read_answers(output: bytes, fence: str, *needed: str) -> Answers:
    """Split `output` at the markers that contain `fence`; output of login shells outside of them is ignored.

    A marker may begin anywhere in a line, because a profile may have printed text without a line break.

    Args:
        output: The output of the follow script.
        fence: The unpredictable word in its markers.
        *needed: The names of required sections.

    Raises:
        SchedulerError: No section is complete, or a required one is not.
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
            f"the login node's output has no complete section {' or '.join(missing) or 'at all'}; it ends with: "
            + (text.strip()[-500:] or "(nothing)")
        )
    return found
