"""Other users of this machine, for tests of owners: user ids without an account. The tests run as root."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

ALICE = 12001
BOB = 12002


@contextmanager
def as_user(number: int) -> Iterator[None]:
    """Let this process be the user `number` (its effective user and group) while the block runs."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(number)
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
