"""A client as a process of its own, which can be killed: what ``hpcdeploy submit`` does once it has planned a run."""

import multiprocessing
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from hpcdeploy import shell_script
from hpcdeploy.errors import HpcdeployError
from hpcdeploy.flows.submit import submit
from hpcdeploy.remote.connections import Connections
from hpcdeploy.store import Store
from hpcdeploy.transport.connect import open_transport
from tests.once.planned import Planned

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.once.client", "hpcdeploy.transport.ssh"])


def start(planned: Planned, record: Path, said: Path) -> ForkServerProcess:
    """Start a client; at its end its exit code, and its last words behind that, come to the file `said`."""
    process = _FORKS.Process(target=_run, args=(planned, record, said))
    process.start()
    return process


def _run(planned: Planned, record: Path, said: Path) -> None:
    run, uploads = planned.run, planned.uploads
    shipped = shell_script.library_file
    shell_script.library_file = lambda name: planned.library.get(name) or shipped(name)  # type: ignore[assignment]
    try:
        with Connections(open_transport) as connections:
            store = Store(record)
            submit(run, planned.script, connections.to(planned.cluster), store, uploads=uploads)
    except HpcdeployError as error:
        said.write_text(f"{error.exit_code} {error}")
    else:
        said.write_text("0 ")
