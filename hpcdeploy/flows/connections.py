"""Connections: one to each cluster, opened when first needed, shared by all that a command does."""

from collections.abc import Callable, Sequence
from typing import Self

from hpcdeploy.cluster import Cluster
from hpcdeploy.transport.contract import Transport


class Connections:
    """Hands out one connection a cluster; leaving it closes them all."""

    def __init__(self, connect: Callable[[Cluster], Transport]) -> None:
        self._connect = connect
        # By the whole description: of the same name another project may describe another cluster.
        self._open: dict[Cluster, Transport] = {}

    def to(self, cluster: Cluster) -> Transport:
        """Return the connection to `cluster`; it is the caller's to use, not to close."""
        if cluster not in self._open:
            self._open[cluster] = self._connect(cluster)
        return self._open[cluster]

    def begin(self, cluster: Cluster, argv: Sequence[str]) -> None:
        """Begin to connect to `cluster` and to start `argv` there, which is about to be run; other work may go on."""
        self.to(cluster).begin(argv)

    def drop(self, cluster: Cluster) -> None:
        """Close the connection to `cluster`, because it died: the next call of `to` opens a fresh one."""
        dead = self._open.pop(cluster, None)
        if dead is not None:
            dead.close()

    def forsake(self, cluster: Cluster) -> None:
        """Leave the connection to `cluster` to whoever waits for an answer on it, as to a login node that hangs.

        Closing it would be waiting too.
        """
        self._open.pop(cluster, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for transport in self._open.values():
            transport.close()
        self._open.clear()
