"""How others reach the lab: an SSH configuration of its own, and its entry as a cluster."""

import json
from pathlib import Path

from hpcdeploy.private import private_file
from hpcdeploy.whole_file import write_whole
from hpcdeploy_lab.state import Lab

CLUSTER_FILE = "cluster.toml"


def ssh_config(lab: Lab) -> str:
    """Render an ssh_config(5) with one host; its path is given to ``ssh -F``, so nothing of the person's own is touched."""
    return f"""\
Host {lab.host}
    HostName 127.0.0.1
    Port {lab.ssh_port}
    User {lab.user}
    IdentityFile "{lab.state / "id_ed25519"}"
    IdentitiesOnly yes
    UserKnownHostsFile "{lab.state / "known_hosts"}"
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
"""


def known_hosts(lab: Lab, host_key: str) -> str:
    """Render the known_hosts line for the lab's own host key (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    kind, key = host_key.split()[:2]
    return f"[127.0.0.1]:{lab.ssh_port} {kind} {key}\n"


def cluster_toml(lab: Lab) -> str:
    """Render the lab's entry among the clusters; ``mirrors`` says which registry's images it holds, and where."""
    return f"""\
[clusters.{lab.name}]
host = "{lab.host}"
ssh-config = {_string(lab.ssh_config)}
schedulers = {json.dumps(lab.schedulers)}
root = "$SCRATCH/hpcdeploy"
poll-interval = "1 s"
[clusters.{lab.name}.mirrors]
"ghcr.io" = "{lab.registry}"
"docker.io/library" = "{lab.registry}/library"
"""


def _string(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def register(lab: Lab) -> None:
    """Write key, known host, SSH configuration, and last of all the cluster's entry, each whole or not at all."""
    keys = lab.inside / "keys"
    private = lab.state / "id_ed25519"
    draft = private.with_name(f"{private.name}.part")  # of its own mode before it has its name
    private_file(draft)
    draft.write_bytes((keys / "user").read_bytes())
    draft.replace(private)
    texts = {
        lab.state / "known_hosts": known_hosts(lab, (keys / "host.pub").read_text()),
        lab.ssh_config: ssh_config(lab),
        lab.state / CLUSTER_FILE: cluster_toml(lab),
    }
    for path, text in texts.items():
        write_whole(path, text, private=True)


def unregister(state: Path) -> None:
    """Take the cluster's entry and the way in away; the key stays for the next start."""
    for name in (CLUSTER_FILE, "ssh_config", "known_hosts"):
        (state / name).unlink(missing_ok=True)
