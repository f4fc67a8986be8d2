"""Remember the processors of the nodes of each cluster."""

import json
from dataclasses import asdict

from hpcdeploy.checked_values import typed
from hpcdeploy.cluster import Cluster, Nodes, SchedulerName
from hpcdeploy.store.record_file import RecordFile, json_value

_TABLE = "CREATE TABLE IF NOT EXISTS nodes (cluster TEXT PRIMARY KEY, nodes TEXT NOT NULL) WITHOUT ROWID"


class NodeRows(RecordFile):
    """The methods of the record for the nodes of clusters. Every method is one transaction."""

    def expect_nodes(self) -> None:
        """Prepare the table for `know_nodes`, before a cluster is queried.

        Raises:
            ConfigError: The record cannot be written.
        """
        with self.opened() as connection:
            # This table is created here and not by the schema, so that older releases can still use the file.
            connection.execute(_TABLE)

    def know_nodes(self, cluster: Cluster, scheduler: SchedulerName, nodes: Nodes) -> None:
        """Record the nodes of one scheduler of a cluster."""
        with self.opened() as connection:
            connection.execute(_TABLE)
            row = (_key(cluster, scheduler), json.dumps(asdict(nodes)))
            connection.execute("INSERT OR REPLACE INTO nodes VALUES (?, ?)", row)

    def known_nodes(self, cluster: Cluster, scheduler: SchedulerName) -> Nodes | None:
        """Return the nodes that `know_nodes` recorded; None if there are none, or if the row is damaged."""
        with self.opened() as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'nodes'").fetchone():
                return None
            found = connection.execute("SELECT nodes FROM nodes WHERE cluster = ?", (_key(cluster, scheduler),)).fetchone()
        try:
            return None if found is None else typed(Nodes, json_value(found[0]))
        except (ValueError, TypeError):  # the nodes are queried again
            return None


def _key(cluster: Cluster, scheduler: SchedulerName) -> str:
    """Return the key of a cluster's row. Clusters of different projects may have the same name, but other hosts."""
    return json.dumps([cluster.name, cluster.host, cluster.ssh_config, scheduler])
