"""Real OpenSSH servers, as many as a test wants, each with its own folder, host keys and port."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# sshd refuses to start by a relative name, and Debian keeps it where an ordinary user's PATH does not reach.
SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/usr/libexec") or "/usr/sbin/sshd"


@dataclass(frozen=True, kw_only=True)
class Server:
    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    host_keys: tuple[Path, ...]

    @property
    def name(self) -> str:
        return f"[127.0.0.1]:{self.port}"

    def known_hosts(self) -> str:
        return "".join(f"{self.name} {public_key(path)}\n" for path in self.host_keys)

    def sessions(self) -> list[int]:
        """Give the processes that hold connections: from OpenSSH 9.8 on they have a program of their own."""
        return [pid for pid in descendants(self.process.pid) if name_of(pid).startswith("sshd")]

    def signal_sessions(self, number: int) -> None:
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        for pid in descendants(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        return (self.folder / "log").read_text()


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):  # the second where it ends while it is read
        return ""


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # the second where it ends while it is read
        return []


def descendants(pid: int) -> list[int]:
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def public_key(path: Path) -> str:
    return " ".join(Path(f"{path}.pub").read_text().split()[:2])


def make_key(path: Path, *, kind: str = "ed25519", passphrase: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", str(path)], check=True)
    return path


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def start(
    folder: Path, user_keys: Sequence[Path], *, options: Sequence[str] = (), kinds: Sequence[str] = ("ed25519",)
) -> Server:
    """Start an sshd that lets `user_keys` in and whose sessions have an empty home folder."""
    folder.mkdir(parents=True)
    (folder / "home").mkdir()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    host_keys = tuple(make_key(folder / f"host_{kind}", kind=kind) for kind in kinds)
    (folder / "authorized_keys").write_text("".join(public_key(key) + "\n" for key in user_keys))
    port = free_port()
    lines = [
        *options,
        "ListenAddress 127.0.0.1",
        f"Port {port}",
        *(f"HostKey {path}" for path in host_keys),
        f"AuthorizedKeysFile {folder}/authorized_keys",
        "StrictModes no",
        "PermitRootLogin yes",
        "PasswordAuthentication no",
        "UsePAM no",
        "PidFile none",
        "MaxStartups 100",
        f"SetEnv HOME={folder}/home",
    ]
    config = folder / "sshd_config"
    config.write_text("\n".join(lines) + "\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=log)
    server = Server(folder=folder, port=port, process=process, host_keys=host_keys)
    _wait(server)
    return server


def _wait(server: Server) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and server.process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=1):
            return
        time.sleep(0.02)
    server.stop()
    raise RuntimeError(f"sshd did not start: {server.log()}")
