"""A second HTCondor pool in the lab, the lab user's own, that is set up as other sites are."""

import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from hpcdeploy_lab.condor import gpu_inventory
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab

MOST_ROUNDS = 120


def configuration(folder: str, port: int) -> str:
    """Render a personal HTCondor's configuration (the manual, "Personal Condor").

    Unlike the lab's own pool, its workers take ``+SingularityImage`` at its word, and its schedd looks at policies every
    other second.
    """
    return f"""\
RELEASE_DIR = /usr
LOCAL_DIR = {folder}
LOG = {folder}/log
SPOOL = {folder}/spool
EXECUTE = {folder}/execute
LOCK = {folder}/lock
RUN = {folder}/lock
BIN = /usr/bin
SBIN = /usr/sbin
LIBEXEC = /usr/libexec/condor
LIB = /usr/lib/condor
SHARE = /usr/share/condor
DAEMON_LIST = MASTER, SHARED_PORT, COLLECTOR, NEGOTIATOR, SCHEDD, STARTD
CONDOR_HOST = 127.0.0.1
COLLECTOR_HOST = 127.0.0.1:{port}
USE_SHARED_PORT = True
SHARED_PORT_PORT = {port}
NETWORK_INTERFACE = 127.0.0.1
NETWORK_HOSTNAME = pool
BIND_ALL_INTERFACES = False
ENABLE_IPV6 = False
UID_DOMAIN = pool
FILESYSTEM_DOMAIN = pool
ALLOW_ADMINISTRATOR = *
ALLOW_DAEMON = *
ALLOW_NEGOTIATOR = *
ALLOW_READ = *
ALLOW_WRITE = *
SEC_DEFAULT_AUTHENTICATION_METHODS = FS

NUM_CPUS = 8
MEMORY = 4000
NUM_SLOTS_TYPE_1 = 1
SLOT_TYPE_1 = 100%
SLOT_TYPE_1_PARTITIONABLE = True
START = True
SUSPEND = False
PREEMPT = False
KILL = False
BASE_CGROUP =
RunBenchmarks = False
MACHINE_RESOURCE_INVENTORY_GPUS = /bin/cat {folder}/gpus

SINGULARITY = /usr/bin/apptainer
SINGULARITY_RUN_TEST_BEFORE_JOB = False
SINGULARITY_JOB = !isUndefined(TARGET.SingularityImage)
SINGULARITY_IMAGE_EXPR = TARGET.SingularityImage
HasSIF = True
STARTD_ATTRS = $(STARTD_ATTRS) HasSIF

PERIODIC_EXPR_INTERVAL = 2
MAX_PERIODIC_EXPR_INTERVAL = 2
NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_CYCLE_DELAY = 1
NEGOTIATOR_MIN_INTERVAL = 1
SCHEDD_INTERVAL = 2
SCHEDD_MIN_INTERVAL = 1
UPDATE_INTERVAL = 5
JOB_START_DELAY = 0
"""


@contextmanager
def pool(lab: Lab, folder: str) -> Iterator[str]:
    """Run the pool, its files in `folder`; give the shell line after which HTCondor's commands speak to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = f"mkdir -p {folder}/log {folder}/spool {folder}/execute {folder}/lock"
    for name, text in (("gpus", gpu_inventory(2)), ("condor_config", configuration(folder, port))):
        written = inside(lab, ["bash", "-c", f"{made} && cat >{folder}/{name}"], user=lab.user, stdin=text.encode())
        assert written.returncode == 0, written.stderr.decode()
    line = f"export CONDOR_CONFIG={folder}/condor_config"
    start = f"{line}; setsid /usr/sbin/condor_master -f >{folder}/log/out 2>&1 </dev/null & echo $! >{folder}/pid"
    assert inside(lab, ["bash", "-c", start], user=lab.user).returncode == 0
    try:
        ready = f'{line}; [ -n "$(condor_status -af Name 2>/dev/null)" ] && condor_q >/dev/null 2>&1'
        _until(lab, ready)
        yield line
    finally:
        # SIGQUIT is condor_master's fast shutdown (condor_master(1)); it ends its own daemons.
        assert inside(lab, ["bash", "-c", f"kill -QUIT $(cat {folder}/pid)"], user=lab.user).returncode == 0
        _until(lab, f"! kill -0 $(cat {folder}/pid) 2>/dev/null")


def _until(lab: Lab, condition: str) -> None:
    waiting = f"for i in $(seq {MOST_ROUNDS}); do {condition} && exit 0; sleep 0.5; done; exit 1"
    ended = inside(lab, ["bash", "-c", waiting], user=lab.user)
    assert ended.returncode == 0, f"never came true: {shlex.quote(condition)}"
