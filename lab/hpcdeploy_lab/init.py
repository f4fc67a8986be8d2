"""Run as the lab's first process (init): prepare the lab, start the daemons in order, and watch them until a stop signal.

The init runs inside the lab with the lab's own Python, as process 1 of a PID namespace. So when the init ends, the kernel
ends every other process of the lab (pid_namespaces(7)). The init uses only the standard library. It reads a plan:

    {"prepare": [ARGV...], "services": [{"name", "argv", "ready", "after", "user", "stop_signal"}...], "finish": [ARGV...]}

At every change, the init writes ``status.json`` into the folder of the plan. In this file, ``phase`` is ``starting``,
``ready``, ``stopped`` or ``failed`` (with ``reason`` and ``log``). ``services`` maps the name of each service to
``waiting``, ``starting``, ``ready`` or ``ended (code)``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WATCHED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
PROBE_PAUSE = 0.15
"""Maximum time in seconds between two rounds of readiness checks."""

START_LIMIT = 60.0
"""Maximum time in seconds for one command of the plan, and for one daemon until it answers."""

STOP_LIMIT = 8.0
"""Maximum time in seconds for the orderly stop of all daemons; after this time the kernel kills the remaining daemons."""


class StartError(Exception):
    """The lab cannot start. ``reason`` is the text for a message; ``log`` is the name of the log to read (``NAME.log``)."""

    def __init__(self, reason: str, log: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.log = log


class Init:
    """The state of the init while it runs one plan.

    Attributes:
        plan: The plan.
        folder: The folder that contains the plan, ``status.json`` and the folder of the logs.
        services: The services of the plan, by name.
        states: The state of each service, by name, as in ``status.json``.
        running: The names of running services, by PID.
        ended: The exit codes of ended processes that the init started, by PID.
        children: The PIDs of processes that the init started, and whose end it has not seen yet.
    """

    def __init__(self, plan: dict[str, Any], folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.services: dict[str, dict[str, Any]] = {service["name"]: service for service in plan["services"]}
        self.states = dict.fromkeys(self.services, "waiting")
        self.running: dict[int, str] = {}
        self.ended: dict[int, int] = {}
        self.children: set[int] = set()

    def report(self, phase: str, **more: str) -> None:
        """Write ``status.json`` atomically, so that a reader never sees an incomplete file."""
        draft = self.folder / "status.json.part"
        draft.write_text(json.dumps({"phase": phase, "services": self.states, **more}))
        draft.replace(self.folder / "status.json")

    def spawn(self, name: str, argv: list[str], user: str = "") -> int:
        """Start a program with its output appended to the log `name`, and without blocked signals; return its PID."""
        with (self.folder / "log" / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                user=user or None,
                group=user or None,
                extra_groups=[] if user else None,
                start_new_session=True,
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, ()),  # noqa: PLW1509 - one thread
            )
        child.returncode = 0  # Popen must not wait for this child, because reap() does
        self.children.add(child.pid)
        return child.pid

    def reap(self) -> None:
        """Collect every child that has ended, including orphans of other processes."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.children:
                self.children.remove(pid)
                self.ended[pid] = os.waitstatus_to_exitcode(status)
            name = self.running.pop(pid, None)
            if name is not None:
                self.states[name] = f"ended ({os.waitstatus_to_exitcode(status)})"

    def run(self, name: str, argv: list[str]) -> None:
        """Run one command to its end.

        Raises:
            StartError: The command failed, or did not end within `START_LIMIT` seconds.
        """
        pid = self.spawn(name, argv)
        deadline = time.monotonic() + START_LIMIT
        while pid not in self.ended:
            if time.monotonic() > deadline:
                raise StartError(f"{' '.join(argv)} did not end in {START_LIMIT:.0f} s", name)
            self.pause(0.05)
        if code := self.ended.pop(pid):
            raise StartError(f"{' '.join(argv)} ended with {code}", name)

    def pause(self, seconds: float) -> None:
        """Sleep until a child ends, but at most `seconds`; if a stop signal arrives, end the lab."""
        caught = signal.sigtimedwait(WATCHED, seconds)
        self.reap()
        if caught is not None and caught.si_signo != signal.SIGCHLD:
            self.stop()

    def start(self) -> None:
        """Start each service when the services that it needs answer, and wait until all services answer.

        Raises:
            StartError: A service ended, or does not answer within `START_LIMIT` seconds.
        """
        probes: dict[str, int] = {}
        deadlines: dict[str, float] = {}
        while any(state != "ready" for state in self.states.values()):
            for name, service in self.services.items():
                state = self.states[name]
                if state == "waiting" and all(self.states[other] == "ready" for other in service["after"]):
                    self.running[self.spawn(name, service["argv"], service["user"])] = name
                    self.states[name] = "starting"
                    deadlines[name] = time.monotonic() + START_LIMIT
                    self.report("starting")
                elif state == "starting":
                    self.probe(name, service, probes, deadlines[name])
                elif state.startswith("ended"):
                    raise StartError(f"{name} {state} while the lab was starting", name)
            self.pause(PROBE_PAUSE)

    def probe(self, name: str, service: dict[str, Any], probes: dict[str, int], deadline: float) -> None:
        """Check whether one service answers; start a new check only if the previous check of this service has ended.

        Raises:
            StartError: The service does not answer before the `deadline`.
        """
        exit_code = self.ended.pop(probes[name], None) if name in probes else None
        if exit_code == 0:
            del probes[name]
            self.states[name] = "ready"
            self.report("starting")
        elif time.monotonic() > deadline:
            raise StartError(f"{name} runs but does not answer after {START_LIMIT:.0f} s", f"{name}.ready")
        elif exit_code is not None:
            del probes[name]  # the next round starts a new check, so there is a pause between two checks
        elif name not in probes:
            probes[name] = self.spawn(f"{name}.ready", service["ready"])

    def stop(self) -> None:
        """End each service after the services that depend on it, then exit; the kernel ends all other processes."""
        signalled: set[int] = set()
        deadline = time.monotonic() + STOP_LIMIT
        while self.running and time.monotonic() < deadline:
            needed = {other for name in self.running.values() for other in self.services[name]["after"]}
            for pid, name in self.running.items():
                if name not in needed and pid not in signalled:
                    signalled.add(pid)
                    os.kill(pid, getattr(signal, self.services[name]["stop_signal"]))
            signal.sigtimedwait((signal.SIGCHLD,), 0.2)
            self.reap()
        self.report("stopped")
        os._exit(0)

    def run_lab(self) -> None:
        """Start the lab by the plan, then report every change of a service's state until a stop signal arrives.

        Raises:
            StartError: The lab cannot start.
        """
        for argv in self.plan["prepare"]:
            self.run("prepare", argv)
        self.start()
        for argv in self.plan["finish"]:
            self.run("finish", argv)
        self.report("ready")
        known = dict(self.states)
        while True:
            self.pause(3600)
            self.ended.clear()
            if known != self.states:
                known = dict(self.states)
                self.report("ready")


def main() -> None:
    """Run the plan named on the command line."""
    path = Path(sys.argv[1])
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    init = Init(json.loads(path.read_text()), path.parent)
    init.report("starting")
    try:
        init.run_lab()
    except StartError as error:
        init.report("failed", reason=error.reason, log=error.log)
        sys.exit(1)


if __name__ == "__main__":
    main()
