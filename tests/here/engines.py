"""A real podman and a real Docker engine on this machine, for as long as the tests need them.

They have storage of their own, and a view of their own of the control groups.
"""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.observing import eventually

# Without these three a machine that is a container itself cannot start one: limits may not be raised there, control groups
# may not be made, and a network of its own is not what is tested.
CONTAINERS = """\
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
cgroups = "disabled"
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
STORAGE = """\
[storage]
driver = "{driver}"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
"""
ENTER = "umount -l /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 none /sys/fs/cgroup; echo; exec sleep infinity"
ENTRYPOINT = '#!/bin/sh\nexport FROM_ENTRYPOINT=active\nexec "$@"\n'
PROGRAMS = ("/bin/sh", "/usr/bin/env", "/usr/bin/cat", "/usr/bin/printf", "/usr/bin/id", "/usr/bin/sleep", "/usr/bin/touch")


class Podman:
    """Starts commands where podman works; ``environment`` is what they need besides."""

    def __init__(self, namespace: int, environment: dict[str, str]) -> None:
        self.enter = ("nsenter", f"--target={namespace}", "--mount", "--")
        self.environment = environment

    def __call__(
        self, *words: str | bytes, cwd: Path, stdin: bytes = b"", check: bool = False
    ) -> "subprocess.CompletedProcess[bytes]":
        # nsenter goes to the root of the other view; env --chdir comes back.
        argv = [*self.enter, "env", f"--chdir={cwd}", *words]
        done = subprocess.run(argv, env=self.environment, input=stdin, capture_output=True, check=False, timeout=600)
        assert not check or done.returncode == 0, done.stderr.decode()
        return done


@contextmanager
def podman_in(folder: Path) -> Iterator[Podman]:
    """Set podman up with everything in `folder`; at the end its mounts go with the namespace that they are in."""
    files, processes = (min(resource.getrlimit(kind)[0], 1024) for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
    configuration = folder / "containers.conf"
    configuration.write_text(CONTAINERS.format(files=files, processes=processes if processes > 0 else 1024))
    storage = folder / "storage.conf"
    storage.write_text(STORAGE.format(driver="vfs", folder=folder))
    environment = {
        "PATH": os.environ["PATH"],
        "DOCKER_HOST": f"unix://{folder}/docker.sock",
        "HOME": str(folder),
        "CONTAINERS_CONF": str(configuration),
        "CONTAINERS_STORAGE_CONF": str(storage),
    }
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as namespace:
        assert namespace.stdout is not None
        try:
            namespace.stdout.readline()
            yield Podman(namespace.pid, environment)
        finally:
            namespace.kill()


@contextmanager
def docker_in(folder: Path, podman: Podman) -> Iterator[None]:
    """Start a Docker engine where `podman` works, for the socket that its environment names."""
    options = {
        "--host": f"unix://{folder}/docker.sock",
        "--data-root": f"{folder}/docker",
        "--exec-root": f"{folder}/docker-run",
        "--pidfile": f"{folder}/docker.pid",
        "--storage-driver": "vfs",
        "--exec-opt": "native.cgroupdriver=cgroupfs",
        "--bridge": "none",
    }
    words = [word for pair in options.items() for word in pair]
    program = "/usr/sbin/dockerd"
    command = [*podman.enter, program, *words, "--iptables=false", "--ip6tables=false"]
    with (folder / "dockerd.log").open("wb") as log:
        engine = subprocess.Popen(command, env=podman.environment, stdout=log, stderr=log)
    try:
        answers = eventually(lambda: podman("docker", "version", cwd=folder).returncode == 0)
        assert answers, (folder / "dockerd.log").read_text()
        yield
    finally:
        engine.terminate()
        engine.wait(timeout=30)


def make_image(podman: Podman, folder: Path, name: str) -> None:
    """Make a small image of this machine's own programs, with an entry point that sets a variable."""
    root = folder / "root"
    for program in PROGRAMS:
        _copy(Path(program), root)
        libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.split()
        for library in filter(lambda word: word.startswith("/"), libraries):
            _copy(Path(library), root)
    for empty in ("tmp", "proc", "sys", "dev", "etc", "run"):
        (root / empty).mkdir(exist_ok=True)
    entry = root / "entrypoint"
    entry.write_text(ENTRYPOINT)
    entry.chmod(0o755)
    archive = folder / "root.tar"
    subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
    changes = ['ENTRYPOINT ["/entrypoint"]', 'CMD ["/bin/sh", "-c", "echo own command in $PWD"]', "WORKDIR /run"]
    options = [word for change in changes for word in ("--change", change)]
    for engine in ("podman", "docker"):
        podman(engine, "import", *options, str(archive), name, cwd=folder, check=True)


def _copy(file: Path, root: Path) -> None:
    target = root / file.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, target)
