"""A client as a process of its own, which can be killed: what ``hpcdeploy submit`` does once it has planned a run."""

import multiprocessing
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import HpcdeployError
from hpcdeploy.flows.connections import Connections
from hpcdeploy.flows.submit import submit
from hpcdeploy.run import Run
from hpcdeploy.store import Store
from hpcdeploy.transport.connect import open_transport

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.once.client", "hpcdeploy.transport.ssh"])


def start(run: Run, script: str, cluster: Cluster, record: Path, said: Path) -> ForkServerProcess:
    """Start a client; at its end its exit code, and its last words behind that, come to the file `said`."""
    process = _FORKS.Process(target=_run, args=(run, script, cluster, record, said))
    process.start()
    return process


def _run(run: Run, script: str, cluster: Cluster, record: Path, said: Path) -> None:
    try:
        with Connections(open_transport) as connections:
            submit(run, script, cluster, connections, Store(record))
    except HpcdeployError as error:
        said.write_text(f"{error.exit_code} {error}")
    else:
        said.write_text("0 ")
