"""Start a lab, show its state, enter it, and stop it."""

import errno
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hpcdeploy.errors import LabError
from hpcdeploy.private import private_folder
from hpcdeploy_lab import access, archive, base_image, layout, machine, ports, process, rootfs, state
from hpcdeploy_lab.releases import NEWEST
from hpcdeploy_lab.settings import LabSettings, default_settings
from hpcdeploy_lab.state import Lab

Report = Callable[[str], None]

_START_LIMIT = 150.0
"""Maximum time in seconds from the start of the init until all daemons answer."""

_LINES_SHOWN = 15
"""Number of lines at the end of a log that an error message quotes."""

_STARTS = 3
"""Maximum number of starts, each with other ports, if another program takes a port of the lab."""


class _PortTakenError(LabError):
    """A daemon could not listen, because another program listens on its port."""


def silent(_line: str) -> None:
    """Ignore progress reports."""


def up(settings: LabSettings | None = None, report: Report = silent) -> Lab:
    """Start the lab if it is not running, and return it.

    If another process starts or stops this lab at the same time, the call waits for it. A running lab with another release
    of Slurm, or with another setting of ``accounting``, is restarted. Before that, everything that the new lab needs is
    built.

    Args:
        settings: The lab's settings; the default settings if omitted.
        report: Receives progress lines.

    Raises:
        MissingProgramError: This machine lacks a program, and has no apt-get to install it.
        LabError: The caller is not root, this machine forbids user namespaces, the mirror does not have the release of
            Slurm, the root file system or the base image cannot be built, or a daemon does not start.
    """
    settings = settings or default_settings()
    _check_machine()
    rootfs.ensure_programs(report)
    if settings.slurm == NEWEST:
        settings = replace(settings, slurm=archive.newest(rootfs.find_mirror()))
    private_folder(settings.state)
    with state.locked(_lock(settings), "waiting for another hpcdeploy process that uses this lab", report):
        running = _running(settings)
        if running is not None and _is_ready_with(running, settings):
            _complete(running, settings, report)
            report(
                f"the lab is already running (process {running.init_pid}), with Slurm {rootfs.slurm_version(running.rootfs)}"
            )
            return running
        root = _ensure_materials(settings, report)
        if running is not None:
            report("stopping the lab first: its settings differ, or its start was interrupted")
        _end(settings)
        lab = _start_on_free_ports(settings, root, report)
        _complete(lab, settings, report)
        way = f"ssh -F {lab.ssh_config} {lab.host}; registry {lab.registry}"
        report(f"the lab is up, with Slurm {rootfs.slurm_version(root)}: {way}")
        return lab


def down(settings: LabSettings | None = None, report: Report = silent) -> None:
    """Stop the lab in any state; its files are kept, so that the next start is fast.

    Raises:
        LabError: The lab's first process does not end, not even after SIGKILL.
    """
    settings = settings or default_settings()
    if not settings.state.is_dir():
        report("no lab is running")
        return
    with state.locked(_lock(settings), "waiting for another hpcdeploy process that uses this lab", report):
        report("the lab is stopped" if _end(settings) else "no lab is running")


def find(settings: LabSettings | None = None) -> Lab | None:
    """Return the lab if it is running and ready, else None."""
    settings = settings or default_settings()
    return _running(settings) if _phase(settings) == "ready" else None


def status(settings: LabSettings | None = None) -> dict[str, Any]:
    """Return the lab's state as JSON values: ``state`` is ``down`` or the init's phase, ``services`` the daemons' states."""
    settings = settings or default_settings()
    lab = _running(settings)
    if lab is None:
        return {"name": settings.name, "state": "down"}
    published = state.read_status(lab.inside)
    return {
        "name": lab.name,
        "state": published["phase"],
        "slurm": rootfs.slurm_version(lab.rootfs),
        "services": published["services"],
        "host": lab.host,
        "user": lab.user,
        "ssh_config": str(lab.ssh_config),
        "registry": lab.registry,
        "ports": asdict(lab.ports),
        "accounting": lab.accounting,
        "init_pid": lab.init_pid,
        "logs": str(lab.logs),
    }


def _lock(settings: LabSettings) -> Path:
    return settings.state / "lock"


def scratch_of(settings: LabSettings) -> Path:
    """Return the folder of this machine that the lab sees as ``/scratch``."""
    return settings.state / "scratch"


def _record(settings: LabSettings) -> Path:
    return settings.state / "lab.json"


def _phase(settings: LabSettings) -> str:
    return str(state.read_status(settings.state / "inside")["phase"])


def _running(settings: LabSettings) -> Lab | None:
    record = state.read(_record(settings))
    chosen = ports.read(settings.state / "ports.json")
    if record is None or chosen is None or not record.init.alive():
        return None
    settings = replace(settings, accounting=record.accounting, slurm=record.slurm)
    return state.describe(settings, chosen, record.rootfs, record.init, record.outer)


def _is_ready_with(running: Lab, settings: LabSettings) -> bool:
    same = running.accounting == settings.accounting and running.rootfs == rootfs.path(settings)
    return same and _phase(settings) == "ready"


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise LabError(
            "the lab requires root on this machine (it mounts file systems, and starts daemons as several users); use sudo"
        )
    machine.check_user_namespaces(machine.read_limits())


def _end(settings: LabSettings) -> bool:
    """End the recorded lab in any state; return whether any of its processes was running."""
    record = state.read(_record(settings))
    access.unregister(settings.state)
    ran = record is not None and (record.init.alive() or record.outer.alive())
    if record is not None:
        process.end(record.init, record.outer)
    if scratch_of(settings).is_mount():
        subprocess.run(["umount", "--lazy", str(scratch_of(settings))], check=True)
    _record(settings).unlink(missing_ok=True)
    (settings.state / "inside" / "status.json").unlink(missing_ok=True)
    return ran


def _ensure_materials(settings: LabSettings, report: Report) -> Path:
    """Build the parts that all labs share, and return the path of the root file system.

    The root file system and the base image are built in parallel, because each build uses one core. If the root file system
    exists, it is complete. So in this case there is no wait for another lab that builds a root file system for another
    release.
    """
    if rootfs.path(settings).is_dir():
        return rootfs.path(settings)
    waiting = "waiting for another lab that builds a root file system"
    with state.locked(settings.cache / "lock", waiting, report) as lock:
        if not settings.base_image or rootfs.path(settings).is_dir():
            return rootfs.ensure(settings, report, lock)
        rootfs.find_mirror()  # if apt has no lists yet, this fetches them before the two builds start
        with ThreadPoolExecutor(1) as pool:
            image = pool.submit(base_image.prepare, settings.cache, report)
            root = rootfs.ensure(settings, report, lock)
            image.result()
        return root


def _start_on_free_ports(settings: LabSettings, root: Path, report: Report) -> Lab:
    """Start the lab; if another program took one of its ports before the daemon started, start it with other ports."""
    for _ in range(_STARTS - 1):
        try:
            return _start(settings, root, report)
        except _PortTakenError:
            report("another program uses a port of the lab; starting again with other ports")
    return _start(settings, root, report)


def _start(settings: LabSettings, root: Path, report: Report) -> Lab:
    chosen = layout.prepare(settings, root)
    if settings.scratch_in_memory:
        mount = ["mount", "-t", "tmpfs", "-o", "mode=755,size=75%,nosuid,nodev", "tmpfs", str(scratch_of(settings))]
        subprocess.run(mount, check=True)
    report("starting the daemons")
    log = settings.state / "inside" / "log" / "init.log"
    waiting = process.start(root, settings, log)
    lab = state.describe(settings, chosen, root, waiting.init, waiting.outer)
    state.write(_record(settings), lab)
    waiting.go()
    try:
        _await_ready(lab, report)
    except BaseException:
        _end(settings)
        raise
    return lab


def _complete(lab: Lab, settings: LabSettings, report: Report) -> None:
    """Write the access files and push the base images, in case the process that started the lab was killed before."""
    access.register(lab)
    if settings.base_image:
        base_image.publish(lab, report)


def _await_ready(lab: Lab, report: Report) -> None:
    """Report each daemon that becomes ready, until the lab is ready.

    Raises:
        _PortTakenError: A daemon could not listen on its port.
        LabError: The lab failed to start, or was not ready within `_START_LIMIT` seconds.
    """
    reported: set[str] = set()
    deadline = time.monotonic() + _START_LIMIT
    while time.monotonic() < deadline:
        alive = lab.init.alive()
        published = state.read_status(lab.inside)
        for name, word in published["services"].items():
            if word == "ready" and name not in reported:
                reported.add(name)
                report(f"  {name} is ready")
        if published["phase"] == "ready":
            return
        if published["phase"] == "failed" or not alive:
            log = lab.logs / f"{published.get('log', 'init')}.log"
            tail = _tail(log)
            kind = _PortTakenError if os.strerror(errno.EADDRINUSE) in tail else LabError
            raise kind(f"the lab did not start: {published.get('reason', 'its first process ended')}; {tail}")
        time.sleep(0.1)
    raise LabError(f"the lab was not ready after {_START_LIMIT:.0f} s; the logs are in {lab.logs}")


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-_LINES_SHOWN:] if log.exists() else []
    return f"{log} ends with:\n" + "\n".join(f"  {line}" for line in lines)
