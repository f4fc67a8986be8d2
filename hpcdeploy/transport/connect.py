"""From a cluster to the transport that reaches its login node."""

from hpcdeploy.cluster import LOCAL, Cluster
from hpcdeploy.transport.contract import Transport
from hpcdeploy.transport.local import LocalTransport
from hpcdeploy.transport.ssh_settings import Hop, SshSettings, find_ssh, look_up, this_person


def open_transport(cluster: Cluster) -> Transport:
    """Return the transport for `cluster`: this machine, or SSH. Nothing is connected before the first command.

    Raises `ConfigError` where the SSH configuration has to be asked who is to speak (``transport = "auto"``), and is wrong.
    """
    if cluster.host == LOCAL:
        return LocalTransport()
    settings = None
    if cluster.transport == "auto":
        ssh = find_ssh()
        settings = look_up(Hop(host=cluster.host), config=cluster.ssh_config, person=this_person(), ssh=ssh)
        rides = ssh is not None and _openssh_is_better(settings)
    else:
        rides = cluster.transport == "openssh"
    if rides:
        from hpcdeploy.transport.openssh import OpensshTransport

        return OpensshTransport(cluster.host, config=cluster.ssh_config, settings=settings)
    from hpcdeploy.transport.ssh import SshTransport

    return SshTransport(cluster.host, config=cluster.ssh_config, settings=settings)


def _openssh_is_better(settings: SshSettings) -> bool:
    """Say whether the person holds a connection open, or OpenSSH alone has a way in. Costs a look at a few files."""
    if settings.control_path.is_socket():
        from hpcdeploy.transport.openssh_mux import master_at

        talk = master_at(settings.control_path)
        if talk is not None:
            talk.close()
            return True
    return settings.openssh_alone
