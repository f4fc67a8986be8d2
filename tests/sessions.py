"""Sessions over a transport that a test has made."""

from pathlib import Path

from hpcdeploy.cluster import Cluster
from hpcdeploy.remote.session import Link, RetryPolicy, Session
from hpcdeploy.transport.contract import Transport

AT_ONCE = RetryPolicy(pauses=(0, 0, 0))
"""Four attempts without pauses."""


def session(cluster: Cluster, transport: Transport, *, overrides: Path | None = None) -> Session:
    """Return a session with `cluster` that uses `transport`, and repeats at once what a lost connection interrupted."""
    return Session(cluster=cluster, link=Link(lambda: transport), overrides=overrides, retry=AT_ONCE)
