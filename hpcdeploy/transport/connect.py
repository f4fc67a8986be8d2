"""From a cluster to the transport that reaches its login node."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hpcdeploy.cluster import LOCAL, Cluster
from hpcdeploy.transport.contract import Transport
from hpcdeploy.transport.local import LocalTransport


def open_transport(cluster: Cluster) -> Transport:
    """Return the transport for `cluster`: this machine, or SSH. Nothing is connected before the first command."""
    if cluster.host == LOCAL:
        return LocalTransport()
    with _unimportable("invoke"):  # a third of paramiko's import, for "Match exec", which is left to ssh itself
        from hpcdeploy.transport.ssh import SshTransport
    return SshTransport(cluster.host, config=cluster.ssh_config)


@contextmanager
def _unimportable(name: str) -> Iterator[None]:
    """Make the optional dependency `name` look absent for a while, unless it is loaded already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # the import system's own word for "not there" (import reference, 5.3.1)
    try:
        yield
    finally:
        del sys.modules[name]
