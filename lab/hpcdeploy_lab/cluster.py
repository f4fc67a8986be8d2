"""Bring a lab up, look at it, enter it, take it down."""

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
_LINES_SHOWN = 15
_STARTS = 3


class _PortTakenError(LabError):
    """A daemon could not listen, because another program listens on its port."""


def silent(_line: str) -> None:
    """Report nothing."""


def up(settings: LabSettings | None = None, report: Report = silent) -> Lab:
    """Return the lab running, starting it first where it does not run.

    A second call at the same time waits for the first. A lab that runs with another release of Slurm or the
    other choice of accounting is restarted, once all that the wanted one is made of is there.
    Raises `MissingProgramError` where this machine lacks something, `LabError` where the mirror does not have the release
    or a daemon does not come up.
    """
    settings = settings or default_settings()
    _check_machine()
    rootfs.ensure_programs(report)
    if settings.slurm == NEWEST:
        settings = replace(settings, slurm=archive.newest(rootfs.find_mirror()))
    private_folder(settings.state)
    with state.locked(_lock(settings), "waiting for another hpcdeploy that is at work on this lab", report):
        running = _running(settings)
        if running is not None and _as_wanted(running, settings):
            _complete(running, settings, report)
            report(f"the lab runs already (process {running.init_pid}), with Slurm {rootfs.slurm_version(running.rootfs)}")
            return running
        root = _ensure_materials(settings, report)
        if running is not None:
            report("taking the lab down first: it runs otherwise than asked, or its start was cut short")
        _end(settings)
        lab = _start_on_free_ports(settings, root, report)
        _complete(lab, settings, report)
        way = f"ssh -F {lab.ssh_config} {lab.host}; registry {lab.registry}"
        report(f"the lab is up, with Slurm {rootfs.slurm_version(root)}: {way}")
        return lab


def down(settings: LabSettings | None = None, report: Report = silent) -> None:
    """Take the lab down, whatever state it is in; files stay, so that the next start is quick."""
    settings = settings or default_settings()
    if not settings.state.is_dir():
        report("no lab runs")
        return
    with state.locked(_lock(settings), "waiting for another hpcdeploy that is at work on this lab", report):
        report("the lab is down" if _end(settings) else "no lab runs")


def find(settings: LabSettings | None = None) -> Lab | None:
    """Return the lab if it is up and ready, else none."""
    settings = settings or default_settings()
    return _running(settings) if _phase(settings) == "ready" else None


def status(settings: LabSettings | None = None) -> dict[str, Any]:
    """Tell how the lab is, in values that JSON can hold: ``state`` is ``down`` or the phase, ``services`` one word each."""
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


def _as_wanted(running: Lab, settings: LabSettings) -> bool:
    same = running.accounting == settings.accounting and running.rootfs == rootfs.path(settings)
    return same and _phase(settings) == "ready"


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise LabError(
            "the lab needs root on this machine (it mounts, and starts daemons as several users); run it with sudo"
        )
    machine.check_user_namespaces(machine.read_limits())


def _end(settings: LabSettings) -> bool:
    """End whatever a record speaks of; tell whether anything ran."""
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
    """Make what is made once for all labs; the root file system and the base image side by side, each on one core.

    A root file system that is there is whole, so that no lab waits while another release's is made.
    """
    if rootfs.path(settings).is_dir():
        return rootfs.path(settings)
    waiting = "waiting for another lab that makes a root file system"
    with state.locked(settings.cache / "lock", waiting, report) as lock:
        if not settings.base_image or rootfs.path(settings).is_dir():
            return rootfs.ensure(settings, report, lock)
        rootfs.find_mirror()  # an apt that never looked is made to look now, once
        with ThreadPoolExecutor(1) as beside:
            image = beside.submit(base_image.prepare, settings.cache, report)
            root = rootfs.ensure(settings, report, lock)
            image.result()
        return root


def _start_on_free_ports(settings: LabSettings, root: Path, report: Report) -> Lab:
    """Start the lab; choose ports again if another program took one between the choice and the start of its daemon."""
    for _ in range(_STARTS - 1):
        try:
            return _start(settings, root, report)
        except _PortTakenError:
            report("another program has taken a port of the lab; starting again with other ports")
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
    """Do what may be missing of a lab that runs: the program that started it may have been killed before it did."""
    access.register(lab)
    if settings.base_image:
        base_image.publish(lab, report)


def _await_ready(lab: Lab, report: Report) -> None:
    """Follow the init's reports until the lab is ready."""
    said: set[str] = set()
    deadline = time.monotonic() + _START_LIMIT
    while time.monotonic() < deadline:
        alive = lab.init.alive()
        published = state.read_status(lab.inside)
        for name, word in published["services"].items():
            if word == "ready" and name not in said:
                said.add(name)
                report(f"  {name} is ready")
        if published["phase"] == "ready":
            return
        if published["phase"] == "failed" or not alive:
            log = lab.logs / f"{published.get('log', 'init')}.log"
            tail = _tail(log)
            kind = _PortTakenError if os.strerror(errno.EADDRINUSE) in tail else LabError
            raise kind(f"the lab did not come up: {published.get('reason', 'its first process ended')}; {tail}")
        time.sleep(0.1)
    raise LabError(f"the lab was not ready after {_START_LIMIT:.0f} s; the logs are in {lab.logs}")


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-_LINES_SHOWN:] if log.exists() else []
    return f"{log} ends:\n" + "\n".join(f"  {line}" for line in lines)
