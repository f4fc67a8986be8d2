"""From a cluster to the transport that reaches its login node."""

from hpcdeploy.cluster import LOCAL, Cluster
from hpcdeploy.transport.contract import Transport
from hpcdeploy.transport.local import LocalTransport


def open_transport(cluster: Cluster) -> Transport:
    """Return the transport for `cluster`: this machine, or SSH. Nothing is connected before the first command."""
    if cluster.host == LOCAL:
        return LocalTransport()
    from hpcdeploy.transport.ssh import SshTransport

    return SshTransport(cluster.host, config=cluster.ssh_config)
