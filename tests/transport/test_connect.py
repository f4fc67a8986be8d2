import subprocess
import sys

from hpcdeploy.cluster import Cluster
from hpcdeploy.transport.connect import open_transport
from hpcdeploy.transport.contract import Transport
from hpcdeploy.transport.local import LocalTransport
from hpcdeploy.transport.ssh import SshTransport
from tests.transport.conftest import Client
from tests.transport.sshd import Server


def test_the_host_local_needs_no_ssh() -> None:
    transport: Transport = open_transport(Cluster(name="here", host="local"))
    assert isinstance(transport, LocalTransport)
    assert transport.where == "this machine"


def test_any_other_host_is_reached_over_ssh_with_the_clusters_own_configuration(client: Client, server: Server) -> None:
    client.host("login", server)
    transport: Transport = open_transport(Cluster(name="there", host="login", ssh_config=str(client.config)))
    assert isinstance(transport, SshTransport)
    assert transport.where == "login"
    with transport:
        assert transport.run(["echo", "there"]).stdout == b"there\n"


def test_what_is_kept_from_paramiko_can_be_had_by_others() -> None:
    code = (
        "import sys\n"
        "from hpcdeploy.cluster import Cluster\n"
        "from hpcdeploy.transport.connect import open_transport\n"
        "open_transport(Cluster(name='there', host='there', transport='paramiko'))\n"
        "assert 'paramiko' in sys.modules and 'invoke' not in sys.modules\n"
        "import invoke\n"
        "invoke.Context"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_paramiko_is_loaded_only_where_it_is_needed() -> None:
    code = (
        "import sys\n"
        "from hpcdeploy.cluster import Cluster\n"
        "from hpcdeploy.transport.connect import open_transport\n"
        "open_transport(Cluster(name='here', host='local'))\n"
        "sys.exit('paramiko' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
