"""Lanes: a large file goes over a long way in several stretches at once.

A channel of SSH carries no more than its window in one round trip (RFC 4254, 5.2), and that of sshd is 2 MiB (OpenSSH's
channels.h, CHAN_SES_WINDOW_DEFAULT): 40 MB/s at 50 ms, whatever the network could do. Each further channel has its own.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConnectionLostError, HpcdeployError
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


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What became of the lanes: the bytes that were there when they ``began``, and why to try again, if that is worth it."""

    began: int = 0
    lost: ConnectionLostError | None = None


def bring_in_lanes(
    parcel: Parcel,
    have: int,
    cluster: Cluster,
    transport: Transport,
    progress: Progress,
    overrides: Path | None = None,
    *,
    anew: bool = False,
) -> Carried:
    """Bring as much of a large `parcel` over a long way as goes without trouble.

    Of one that came further than its first stretch, `have` bytes, before, the rest goes in one.
    Lanes that died on the way can be called again, and go on where they stopped; of any other trouble nothing is said, and
    whoever puts together what has come (`hpcdeploy.flows.deliver`) meets again what was in the way. `anew` says that an
    earlier connection died; `TransportError` is raised where no other can be made.
    """
    stretches = _cut(parcel.size)
    if parcel.size < LARGE or have > len(stretches[0]):
        return Carried()
    if anew:  # connected here, where a person can be asked, and not by each lane; and so it is known again how far it is
        transport.run(("true",))
    if transport.delay < FAR:
        return Carried()
    shown = _Sum(len(stretches), parcel.size, progress)
    sendings = [
        Sending(
            receiving_lane(parcel, stretch, cluster, overrides=overrides).encode("utf-8", "surrogateescape"),
            parcel,
            stretch,
            shown.part(number),
        )
        for number, stretch in enumerate(stretches)
    ]
    lost: list[ConnectionLostError] = []

    def carry(sending: Sending) -> None:
        try:
            if transport.run(SHELL, stdin=sending.pieces(), on_stdout=sending.take).exit_code and sending.answered:
                lost.append(ConnectionLostError(f"the transfer of {parcel.what} was ended"))
        except ConnectionLostError as error:
            lost.append(error)
        except HpcdeployError:
            pass
        finally:
            sending.end()

    threads = [threading.Thread(target=carry, args=(sending,), daemon=True) for sending in sendings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = lost and not any(sending.trouble for sending in sendings)
    return Carried(began=sum(sending.began for sending in sendings), lost=lost[0] if again else None)


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
