"""Lanes: a large file goes over a long way in several stretches at once.

A channel of SSH carries no more than its window in one round trip (RFC 4254, 5.2), and that of sshd is 2 MiB (OpenSSH's
channels.h, CHAN_SES_WINDOW_DEFAULT): 40 MB/s at 50 ms, whatever the network could do. Each further channel has its own.
"""

import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import HpcdeployError
from hpcdeploy.flows.sending import Sending
from hpcdeploy.login_node import SHELL
from hpcdeploy.parcel import Parcel
from hpcdeploy.progress import Progress
from hpcdeploy.scheduler.login_node import receiving_lane
from hpcdeploy.transport.contract import Transport

LANES = 4
"""Well below the sessions that sshd allows on one connection (sshd_config(5), MaxSessions: 10)."""

LARGE = 32_000_000
FAR = 0.02
"""Bytes and seconds (one window fills a gigabit network at 17 ms) from which on lanes are worth the round trips more."""


def bring_in_lanes(
    parcel: Parcel, have: int, cluster: Cluster, transport: Transport, progress: Progress, overrides: Path | None = None
) -> None:
    """Bring as much of a large `parcel` over a long way as goes without trouble.

    Of one that came further than its first stretch, `have` bytes, before, the rest goes in one.
    Nothing is raised: whoever goes on (`hpcdeploy.flows.deliver`) finds what has come, has it put together, and meets again
    what was in the way.
    """
    if parcel.size < LARGE or transport.delay < FAR:
        return
    stretches = _cut(parcel.size)
    if have > len(stretches[0]):
        return
    shown = _Sum(len(stretches), parcel.size, progress)

    def carry(number: int) -> None:
        script = receiving_lane(parcel, stretches[number], cluster, overrides=overrides).encode("utf-8", "surrogateescape")
        sending = Sending(script, parcel, stretches[number], shown.part(number))
        with contextlib.suppress(HpcdeployError):
            try:
                transport.run(SHELL, stdin=sending.pieces(), on_stdout=sending.take)
            finally:
                sending.end()

    threads = [threading.Thread(target=carry, args=(number,), daemon=True) for number in range(len(stretches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _cut(size: int) -> Sequence[range]:
    """Cut a file into stretches of the same length, but for the last."""
    length = -(-size // LANES)
    return [range(start, min(start + length, size)) for start in range(0, size, length)]


class _Sum:
    """Tells how much of the whole is there, as the lanes tell it of their stretches."""

    def __init__(self, lanes: int, size: int, progress: Progress) -> None:
        self._done = [0] * lanes
        self._size = size
        self._progress = progress
        self._lock = threading.Lock()

    def part(self, number: int) -> Progress:
        """Return what one lane tells its progress to."""

        def tell(done: int, _total: int) -> None:
            with self._lock:
                self._done[number] = done
                self._progress(sum(self._done), self._size)

        return tell
