"""Provide the environment of a command: the project, the record of runs, and connections to clusters."""

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

    from hpcdeploy.flows.choose_runs import Scope
    from hpcdeploy.remote.session import Session
    from hpcdeploy.store import Store


@dataclass(frozen=True)
class Place:
    """The project of a folder, read on first use, and the record."""

    folder: Path

    @cached_property
    def project(self) -> Project:
        """The content of all settings files.

        Raises:
            ConfigError: They are invalid.
        """
        from hpcdeploy.config.files import load_project

        return load_project(self.folder, optional=True)

    @cached_property
    def root(self) -> Path | None:
        """The folder of the project, also if its settings are invalid; None outside of a project."""
        from hpcdeploy.config.files import project_folder

        return project_folder(self.folder)

    def scope(self, cluster: str | None = None) -> "Scope":
        """Return where the runs are searched that a user names, or means without a name."""
        from hpcdeploy.flows.choose_runs import Scope

        return Scope(store=self.store, folder=self.folder, project=self.root, cluster=cluster)

    @cached_property
    def store(self) -> "Store":
        """The record of runs."""
        from hpcdeploy.store import Store, default_path

        return Store(default_path(os.environ))

    def cluster(self, name: str) -> Cluster:
        """Return the settings of a cluster that will be used.

        Raises:
            ConfigError: No settings file describes it, or the user has not allowed the commands that the project runs there
                (`hpcdeploy.cli.trust`).
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
    """Return the environment of the working folder."""
    return Place(Path.cwd())
