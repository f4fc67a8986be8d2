"""Where a command stands: the project it is in, the record of runs, and the way to the clusters."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.project import Project
from hpcdeploy.remote.connections import Connections
from hpcdeploy.transport.contract import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from hpcdeploy.remote.session import Session
    from hpcdeploy.store import Store


@dataclass(frozen=True)
class Place:
    """The project around a folder, read when it is first asked for, and the record."""

    folder: Path

    @cached_property
    def project(self) -> Project:
        """Everything that the settings files say; raises `ConfigError`."""
        from hpcdeploy.config.files import load_project

        return load_project(self.folder, optional=True)

    @cached_property
    def store(self) -> "Store":
        """The record of runs."""
        from hpcdeploy.store import Store, default_path

        return Store(default_path(os.environ))

    def cluster(self, name: str) -> Cluster:
        """Find the settings of a cluster that is about to be reached, by its name.

        Raises `ConfigError` where no settings file describes it, and where the person has not allowed what the project's
        files run there (`hpcdeploy.cli.trust`).
        """
        from hpcdeploy.cli.trust import admit
        from hpcdeploy.config.resolution import choose_cluster

        cluster = choose_cluster(self.project, name)
        admit(cluster)
        return cluster

    def connections(self) -> Connections:
        """Return connections to clusters, with the project's templates; none of them is open yet.

        Every verb uses these, so it reaches only clusters that the user has admitted (`hpcdeploy.cli.trust`).

        Raises:
            ConfigError: The settings are malformed.
        """
        from hpcdeploy.cli.trust import admit
        from hpcdeploy.transport.connect import open_transport

        def connect(cluster: Cluster) -> Transport:
            admit(cluster)
            return open_transport(cluster)

        return Connections(connect, overrides=self.project.root)

    def session_of(self, connections: Connections) -> "Callable[[str], Session]":
        """Return a function that returns the session with a cluster, by its name in the settings."""
        return lambda name: connections.to(self.cluster(name))


def here() -> Place:
    """Return the place of the working folder."""
    return Place(Path.cwd())
