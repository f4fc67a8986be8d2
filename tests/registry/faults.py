"""Faults on the way to a registry, chosen by a seed: the kinds, how many of each, and what each does to an exchange."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

KINDS = {
    "request cut": 40,
    "request stalls": 8,
    "connection refused": 8,
    "answer lost": 20,
    "answer cut": 70,
    "answer stalls": 14,
    "status instead": 40,
    "status behind the deed": 16,
    "bad chunks": 18,
    "length too large": 12,
    "length too small": 12,
    "no HTTP": 8,
    "no address": 10,
    "stale address": 10,
    "redirect": 16,
    "expired token": 10,
    "token without rights": 8,
    "other digest": 10,
    "damaged answer": 12,
    "damaged upload": 6,
}
"""How many faults of each kind there are."""

STATUSES = (408, 429, 500, 502, 503, 504)

BODIES = (b"", b"<html>try later</html>", b'{"errors": [{"code": "UNAVAILABLE", "message": "later"}]}', b'{"errors": "odd"}')

OPERATIONS = ("push", "pull", "stream", "resolve", "tags", "build from")

REGISTRIES = ("open", "basic", "token")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault: its kind, the operation and the registry that it befalls, and numbers that decide the rest.

    ``exchange`` chooses the request among those that the kind can befall, and ``where`` the byte, both from 0 up to 1;
    ``variant`` is what a kind with several forms takes. ``again`` says that the next request fails likewise.
    """

    kind: str
    operation: str
    registry: str
    exchange: float
    where: float
    variant: int
    again: bool


def faults(seed: str, kinds: Mapping[str, int] = KINDS) -> list[Fault]:
    """Choose the faults, spread evenly over requests and bytes, and over operations and registries that the kind fits."""
    chance = random.Random(seed)
    chosen = [
        Fault(
            kind=kind,
            operation=operation,
            registry=registry,
            exchange=chance.random(),
            where=(number + chance.random()) / count,
            variant=chance.randrange(1000),
            again=chance.random() < 0.3,
        )
        for kind, count in kinds.items()
        for number, (operation, registry) in enumerate(_befallen(kind, count, chance))
    ]
    chance.shuffle(chosen)
    return chosen


def _befallen(kind: str, count: int, chance: random.Random) -> list[tuple[str, str]]:
    """Return the operations and registries of the faults of one kind: each as often as the next, in any order."""
    reading = tuple(operation for operation in OPERATIONS if operation != "push")
    operations = {
        "bad chunks": reading,
        "length too large": reading,
        "length too small": reading,
        "no address": ("push",),
        "stale address": ("push",),
        "damaged upload": ("push",),
        "redirect": ("pull", "stream", "resolve", "build from"),
        "other digest": ("push", "resolve", "build from"),
        "damaged answer": ("pull", "stream", "resolve", "build from"),
    }.get(kind, OPERATIONS)
    registries = ("token",) if "token" in kind else REGISTRIES
    every = [(operation, registry) for operation in operations for registry in registries]
    chance.shuffle(every)
    return [every[number % len(every)] for number in range(count)]
