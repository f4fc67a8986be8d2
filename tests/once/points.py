"""Where a submission is broken: chosen by a seed, so that what went wrong once can be done again."""

import math
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass

VARIABLE = "HPCDEPLOY_POINTS"
SHARE = 0.2
"""The share of each kind's points that is run unless all are asked for; at least one of each kind."""

KINDS = {
    "cut after bytes to the login node": 26,
    "cut after bytes from the login node": 16,
    "cut after a time": 10,
    "client killed after bytes to the login node": 12,
    "client killed after bytes from the login node": 8,
    "script killed at a command": 10,
    "login node gone at a command": 8,
    "login node gone before the scheduler's command": 3,
    "login node gone during the scheduler's command": 8,
    "login node gone after the scheduler's command": 3,
}
"""How many points of each kind a scheduler gets."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point: its kind, where between the beginning (0) and a little after the end (1), and whether it comes twice.

    ``late`` is how many seconds later the login node learns that a connection was cut.
    """

    kind: str
    where: float
    again: float | None
    late: float


BRINGING = {
    "cut after bytes to the login node": 9,
    "cut after bytes from the login node": 3,
    "cut after a time": 3,
    "client killed after bytes to the login node": 8,
    "client killed after bytes from the login node": 3,
    "script killed at a command of its second call": 3,
    "login node gone at a command of the second call": 3,
    "receiving script killed at a command": 4,
    "two clients at once": 3,
}
"""The same of a submission that brings an image and code; its script is called a second time once they are there."""

CANCELLED = {
    "cut after bytes to the login node": 2,
    "cut after a time": 1,
    "client killed after bytes to the login node": 11,
    "client killed after bytes from the login node": 4,
    "script killed at a command": 2,
    "login node gone at a command": 2,
    "login node gone during the scheduler's command": 3,
}
"""The same of a submission that is not gone on with then, but cancelled."""


def points(seed: str, kinds: Mapping[str, int] = KINDS) -> list[Point]:
    """Choose the points, spread evenly over the whole of a submission, and shuffled."""
    chance = random.Random(seed)
    chosen = [
        Point(
            kind=kind,
            where=_weighted(kind, (number + chance.random()) / count),
            again=chance.random() if chance.random() < 0.3 else None,
            late=chance.choice((0.0, 0.0, 0.5, 1.5)),
        )
        for kind, count in kinds.items()
        for number in range(count)
    ]
    chance.shuffle(chosen)
    return chosen


def share_of(kinds: Mapping[str, int]) -> dict[str, int]:
    """Return how many points of each kind are run: all where HPCDEPLOY_POINTS is ``all``, else a share."""
    every = os.environ.get(VARIABLE) == "all"
    return {kind: count if every else math.ceil(count * SHARE) for kind, count in kinds.items()}


def _weighted(kind: str, where: float) -> float:
    """Most of what comes from a login node is the greeting: let half of the points be in what comes behind it."""
    if not kind.endswith("bytes from the login node") or where < 0.5:
        return where
    return 0.8 + 0.4 * (where - 0.5)
