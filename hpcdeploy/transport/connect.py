"""Choose the transport for a cluster's login node."""

from hpcdeploy.cluster import LOCAL, Cluster
from hpcdeploy.transport.contract import Transport
from hpcdeploy.transport.local import LocalTransport
from hpcdeploy.transport.ssh_settings import Hop, SshSettings, find_ssh, look_up, this_person


def open_transport(cluster: Cluster) -> Transport:
    """Return the transport for `cluster`: this machine, or SSH. The connection is opened by the first command.

    Raises:
        ConfigError: The SSH configuration is malformed. It is read here only for ``transport = "auto"``.
    """
    if cluster.host == LOCAL:
        return LocalTransport()
    settings = None
    if cluster.transport == "auto":
        ssh = find_ssh()
        settings = look_up(Hop(host=cluster.host), config=cluster.ssh_config, person=this_person(), ssh=ssh)
        openssh = ssh is not None and _openssh_is_better(settings)
    else:
        openssh = cluster.transport == "openssh"
    if openssh:
        from hpcdeploy.transport.openssh import OpensshTransport

        return OpensshTransport(cluster.host, config=cluster.ssh_config, settings=settings)
    from hpcdeploy.transport.ssh import SshTransport

    return SshTransport(cluster.host, config=cluster.ssh_config, settings=settings)


def _openssh_is_better(settings: SshSettings) -> bool:
    """Tell whether the user has an open connection of OpenSSH, or only OpenSSH can log in. This reads a few local files."""
    if settings.control_path.is_socket():
        from hpcdeploy.transport.openssh_mux import master_at

        master = master_at(settings.control_path)
        if master is not None:
            master.close()
            return True
    return settings.openssh_alone
