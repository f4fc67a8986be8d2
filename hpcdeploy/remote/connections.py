"""Manage the connections of a command: one to each cluster, opened on first use and shared by all parts of the command."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

from hpcdeploy.cluster import Cluster
from hpcdeploy.remote.session import Link, RetryPolicy, Session
from hpcdeploy.transport.contract import Transport


class Connections:
    """A pool with one connection to each cluster; leaving its context closes all connections."""

    def __init__(
        self,
        connect: Callable[[Cluster], Transport],
        *,
        overrides: Path | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Make a pool.

        Args:
            connect: Returns a transport to a cluster.
            overrides: The project's folder, whose own templates replace the built-in ones; None for the built-in ones.
            retry: The retry policy of the sessions.
        """
        self._connect = connect
        self._overrides = overrides
        self._retry = retry or RetryPolicy()
        # The key is the whole description, because another project may describe another cluster with the same name.
        self._links: dict[Cluster, Link] = {}

    def to(self, cluster: Cluster) -> Session:
        """Return a session with `cluster`; the connection is opened on first use."""
        if cluster not in self._links:
            self._links[cluster] = Link(partial(self._connect, cluster))
        return Session(cluster=cluster, link=self._links[cluster], overrides=self._overrides, retry=self._retry)

    def for_project(self, overrides: Path) -> "Connections":
        """Return a pool that shares these connections but uses another project's templates; only this pool closes them."""
        other = Connections(self._connect, overrides=overrides, retry=self._retry)
        other._links = self._links
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()
