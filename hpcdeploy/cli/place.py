"""Provide what a command needs: the project's settings, the record of runs, and connections to clusters."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from hpcdeploy.cluster import Cluster
    from hpcdeploy.config.project import Project
    from hpcdeploy.flows.choose_runs import Scope
    from hpcdeploy.remote.connections import Connections
    from hpcdeploy.remote.session import Session
    from hpcdeploy.store import Store
    from hpcdeploy.transport.contract import Transport


@dataclass(frozen=True)
class Place:
    """The project's settings, the record, and the connections to clusters, for a command in the working folder `folder`.

    Each part is read on first use.
    """

    folder: Path

    @cached_property
    def project(self) -> "Project":
        """The content of all settings files.

        Raises:
            ConfigError: A settings file cannot be read, is invalid, or can have been written by another user.
        """
        from hpcdeploy.config.files import load_project

        return load_project(self.folder, optional=True)

    @cached_property
    def root(self) -> Path | None:
        """The folder of the project, even if its settings are invalid; None outside of a project."""
        from hpcdeploy.config.files import project_folder

        return project_folder(self.folder)

    def scope(self, cluster: str | None = None) -> "Scope":
        """Return the scope in which a command searches for runs; `cluster` limits the search to runs on this cluster."""
        from hpcdeploy.flows.choose_runs import Scope

        return Scope(store=self.store, folder=self.folder, project=self.root, cluster=cluster)

    @cached_property
    def store(self) -> "Store":
        """The record of runs and images on this machine."""
        from hpcdeploy.store import Store, default_path

        return Store(default_path(os.environ))

    def cluster(self, name: str) -> "Cluster":
        """Return the settings of a cluster after the user has allowed its use.

        Raises:
            ConfigError: No settings file describes the cluster, or the user has not allowed the commands in the project's
                files that would run on the cluster, or on this machine to reach the cluster (`hpcdeploy.cli.trust`).
        """
        from hpcdeploy.cli.trust import admit
        from hpcdeploy.config.resolution import choose_cluster

        cluster = choose_cluster(self.project, name)
        admit(cluster)
        return cluster

    def connections(self) -> "Connections":
        """Return an object that opens connections to clusters on first use, and uses the project's templates.

        Every verb connects through this object. So no verb reaches a cluster that the user has not allowed
        (`hpcdeploy.cli.trust`).

        Raises:
            ConfigError: The settings are invalid (`project`).
        """
        from hpcdeploy.cli.trust import admit
        from hpcdeploy.remote.connections import Connections
        from hpcdeploy.transport.connect import open_transport

        def connect(cluster: "Cluster") -> "Transport":
            admit(cluster)
            return open_transport(cluster)

        return Connections(connect, overrides=self.project.root)

    def session_of(self, connections: "Connections") -> "Callable[[str], Session]":
        """Return a function that returns the session with a cluster, given the cluster's name in the settings."""
        return lambda name: connections.to(self.cluster(name))


def here() -> Place:
    """Return the `Place` of a command in the current working folder."""
    return Place(Path.cwd())
