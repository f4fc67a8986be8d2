"""Hold one connection to each cluster, opened on first use and shared by all parts of a command."""

from collections.abc import Callable, Sequence
from typing import Self

from hpcdeploy.cluster import Cluster
from hpcdeploy.transport.contract import Transport


class Connections:
    """A pool with one connection to each cluster; leaving its context closes them all."""

    def __init__(self, connect: Callable[[Cluster], Transport]) -> None:
        self._connect = connect
        # The key is the whole description, because another project may describe another cluster with the same name.
        self._open: dict[Cluster, Transport] = {}

    def to(self, cluster: Cluster) -> Transport:
        """Return the open connection to `cluster`, and open one if there is none; the caller must not close it."""
        if cluster not in self._open:
            self._open[cluster] = self._connect(cluster)
        return self._open[cluster]

    def begin(self, cluster: Cluster, argv: Sequence[str]) -> None:
        """Start connecting to `cluster` and starting `argv` in the background, because it will be run soon."""
        self.to(cluster).begin(argv)

    def drop(self, cluster: Cluster) -> None:
        """Close the broken connection to `cluster`; the next call of `to` opens a new one."""
        dead = self._open.pop(cluster, None)
        if dead is not None:
            dead.close()

    def forsake(self, cluster: Cluster) -> None:
        """Forget the connection to `cluster` without closing it, because another thread is blocked on it."""
        self._open.pop(cluster, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for transport in self._open.values():
            transport.close()
        self._open.clear()
