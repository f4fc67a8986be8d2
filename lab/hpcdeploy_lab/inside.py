"""Run a command inside a running lab, as root or as another user, without a login."""

import subprocess
from collections.abc import Mapping, Sequence

from hpcdeploy_lab.process import enter_argv
from hpcdeploy_lab.settings import site_variables
from hpcdeploy_lab.state import Lab


def inside_argv(
    lab: Lab, argv: Sequence[str], *, user: str | None = None, environment: Mapping[str, str] | None = None
) -> list[str]:
    """Return a command that runs `argv` inside the lab, as root unless `user` is given."""
    who = user or "root"
    home = "/root" if who == "root" else f"/home/{who}"
    variables = {**site_variables(lab.scratch), **(environment or {})}
    return enter_argv(lab.init, argv, variables, user=who, home=home)


def inside(
    lab: Lab,
    argv: Sequence[str],
    *,
    user: str | None = None,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command inside the lab; return its exit code and output, without an error for an exit code other than 0.

    Raises:
        subprocess.TimeoutExpired: The command did not end within `timeout` seconds.
    """
    return subprocess.run(
        inside_argv(lab, argv, user=user, environment=environment),
        input=stdin,
        capture_output=True,
        check=False,
        timeout=timeout,
    )
