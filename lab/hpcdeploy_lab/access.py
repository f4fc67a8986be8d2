"""Write the SSH configuration of the lab, and the settings of the cluster ``lab`` for hpcdeploy."""

import json
from pathlib import Path

from hpcdeploy.private import private_file
from hpcdeploy.whole_file import write_whole
from hpcdeploy_lab.state import Lab

CLUSTER_FILE = "cluster.toml"


def ssh_config(lab: Lab) -> str:
    """Render an ssh_config(5) with one host; ``ssh -F`` reads it, so the user's own configuration is not changed."""
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
    """Render the lab's cluster entry; ``mirrors`` maps public registries to the lab's registry."""
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
    """Write the key, the known host, the SSH configuration, and last the cluster entry, each file atomically."""
    keys = lab.inside / "keys"
    private = lab.state / "id_ed25519"
    draft = private.with_name(f"{private.name}.part")  # the file gets its mode before it gets its final name
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
    """Remove the cluster entry and the SSH files except the key, which is used again after the next start."""
    for name in (CLUSTER_FILE, "ssh_config", "known_hosts"):
        (state / name).unlink(missing_ok=True)
