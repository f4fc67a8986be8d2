"""Query the processors of a cluster's login node and compute nodes (``nodes.sh`` of each scheduler)."""

import re
import secrets
from collections.abc import Iterator

from hpcdeploy import limits
from hpcdeploy.cluster import Cluster, Nodes, SchedulerName
from hpcdeploy.errors import SchedulerError
from hpcdeploy.remote.script_parts import query_script
from hpcdeploy.remote.session import Session
from hpcdeploy.scheduler.contract import Answers, read_answers

_MOST = 5000
"""Maximum number of lines. There is one line for each partition and processor; the largest clusters have some hundred."""

_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,200}")


def query_nodes(session: Session, scheduler: SchedulerName) -> Nodes:
    """Query the processors of a cluster's nodes.

    Raises:
        SchedulerError: The scheduler's commands failed, or their output cannot be parsed.
        TransportError: The machine cannot be reached.
        ConnectionLostError: The connection was lost.
    """
    fence = secrets.token_hex(8)
    script = nodes_script(session.cluster, scheduler, fence)
    result = session.run(script, limit=limits.SCRIPT)
    if result.exit_code:
        raise SchedulerError(f"{result.where}: {result.message}")
    return read_nodes(read_answers(result.stdout, fence, "login", "nodes", lines=_MOST))


def nodes_script(cluster: Cluster, scheduler: SchedulerName, fence: str) -> str:
    """Render the script that prints the processors; `fence` is an unpredictable word for the markers in its output."""
    title = "Print the processors of the login node and of the compute nodes."
    return query_script(title, {"fence": fence}, cluster, f"{scheduler}-nodes", with_variables=True)


def read_nodes(answers: Answers) -> Nodes:
    """Parse the sections of the script's output; malformed lines are left out.

    Raises:
        SchedulerError: The scheduler's command failed.
    """
    nodes, defaults = answers["nodes"], answers.get("defaults")
    if nodes.exit_code:
        raise SchedulerError(f"the command for the list of compute nodes failed (exit code {nodes.exit_code})")
    found: dict[str, dict[str, None]] = {}
    for kind, partition, processor in _fields(nodes.text, 3):
        if kind == "node":
            found.setdefault(partition.removeprefix("-"), {})[processor] = None
    partitions = list(_fields(defaults.text, 2)) if defaults else []
    chosen = [name for kind, name in partitions if kind == "default"]
    for kind, name in partitions:
        if kind == "partition":  # all its nodes may be unregistered
            found.setdefault(name, {})
    login = answers["login"].text.strip()
    return Nodes(
        login=login if _NAME.fullmatch(login) else "",
        processors=tuple((name, tuple(processors)) for name, processors in found.items()),
        default=chosen[0] if chosen else "",
    )


def _fields(text: str, number: int) -> Iterator[list[str]]:
    for line in limits.text_lines(text):
        words = line.split(" ")
        if len(words) == number and all(map(_NAME.fullmatch, words)):
            yield words
