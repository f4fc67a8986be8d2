"""Lanes: a large file goes over a long way in several stretches at once.

A channel of SSH carries no more than its window in one round trip (RFC 4254, 5.2), and that of sshd is 2 MiB (OpenSSH's
channels.h, CHAN_SES_WINDOW_DEFAULT): 40 MB/s at 50 ms, whatever the network could do. Each further channel has its own.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy import limits
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConnectionLostError, HpcdeployError
from hpcdeploy.flows.sending import Sending
from hpcdeploy.login_node import STREAM_SHELL
from hpcdeploy.parcel import Parcel
from hpcdeploy.progress import Progress
from hpcdeploy.scheduler.login_node import receiving_lane
from hpcdeploy.transport.contract import Output, Transport, ignore_output

LANES = 4
"""Well below the sessions that sshd allows on one connection (sshd_config(5), MaxSessions: 10)."""

LARGE = 32_000_000
FAR = 0.02
"""Bytes and seconds (one window fills a gigabit network at 17 ms) from which on lanes are worth the round trips more."""

_REFUSED = 15
"""A receiving script's exit status where not all of it came (`login_templates/lane.sh`)."""


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
    report: Output = ignore_output,
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

    def carried(*, waits: bool) -> _Lanes:
        shown = _Sum(len(stretches), parcel.size, progress)
        sendings = []
        for number, stretch in enumerate(stretches):
            script = receiving_lane(parcel, stretch, cluster, waits=waits, overrides=overrides)
            sendings.append(Sending(script.encode("utf-8", "surrogateescape"), parcel, stretch, shown.part(number)))
        lanes = _Lanes(sendings, transport, report)
        lanes.carry(one_first=waits)
        return lanes

    # Another client may be at it, or the script of a connection that died, if over there that is not known yet. Where it is
    # waited for, no lane may hold its own lock meanwhile: who puts the stretches together waits for that one.
    lanes = carried(waits=anew)
    if lanes.refused and not anew:
        lanes = carried(waits=True)
    return lanes.outcome()


class _Lanes:
    """Carries a stretch in each lane; bytes go once the first begins, whose lock is the whole file's."""

    def __init__(self, sendings: Sequence[Sending], transport: Transport, report: Output) -> None:
        self._sendings = sendings
        self._transport = transport
        self._report = report
        self._lost: list[ConnectionLostError] = []
        self.refused = False
        """Whether somebody else is at the first stretch, or brings, or has brought, the whole."""

    def carry(self, *, one_first: bool) -> None:
        """Carry them until all have ended; with `one_first` the others begin when the first has begun."""
        first = self._sendings[0]
        threads = []
        for sending in self._sendings:
            threads.append(threading.Thread(target=self._carry, args=(sending,), daemon=True))
            threads[-1].start()
            if one_first and not first.begins():
                break
        for thread in threads:
            thread.join()

    def outcome(self) -> Carried:
        """Say what became of them."""
        again = self._lost and not any(sending.trouble for sending in self._sendings)
        return Carried(began=sum(sending.began for sending in self._sendings), lost=self._lost[0] if again else None)

    def _carry(self, sending: Sending) -> None:
        first = self._sendings[0]
        try:
            report = self._report if sending is first else ignore_output
            ended = self._transport.run(
                STREAM_SHELL,
                stdin=self._pieces(sending),
                on_stdout=sending.take,
                on_stderr=report,
                limit=limits.TRANSFER,
            )
            if sending is first:
                self.refused = ended.exit_code == _REFUSED and not first.answered
            if ended.exit_code and sending.answered and first.begins():
                self._lost.append(ConnectionLostError("the transfer was ended"))
        except ConnectionLostError as error:
            self._lost.append(error)
        except HpcdeployError:
            pass
        finally:
            sending.end()

    def _pieces(self, sending: Sending) -> Iterator[bytes]:
        given = sending.pieces()
        yield next(given)
        for piece in given:
            if not self._sendings[0].begins():
                return
            yield piece


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
