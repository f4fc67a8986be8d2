"""How these tests wait for what they left running on the login node."""

import subprocess
from pathlib import Path

from hpcdeploy_lab.inside import inside
from tests.lab.observing import eventually
from tests.once.asking import wait_for_scripts
from tests.once.conftest import Place
from tests.once.proxy import Proxy


def test_a_session_that_came_through_a_proxy_is_waited_for_though_its_connection_is_gone(
    place: Place, tmp_path: Path
) -> None:
    begun, ended = f"{place.root}/session-begun", f"{place.root}/session-ended"
    line = f"trap '' HUP PIPE; touch {begun}; sleep 2; touch {ended}"
    with Proxy(place.lab, tmp_path, ()) as proxy:
        client = subprocess.Popen(["ssh", "-F", proxy.ssh_config, place.lab.host, line])
        assert eventually(lambda: place.lab.seen(begun).exists())
        client.kill()
        client.wait()
    assert not place.lab.seen(ended).exists()
    wait_for_scripts(place.lab, place.root)
    assert inside(place.lab, ["test", "-e", ended]).returncode == 0
