"""A lab's state folder as its init finds it."""

import shutil
from pathlib import Path

from hpcdeploy.lab import daemons, ports
from hpcdeploy.lab.settings import LabSettings, Ports


def prepare(settings: LabSettings, root: Path) -> Ports:
    """Lay out the state folder: layers for the root, folders that the lab sees, its files, its plan; return its ports.

    Home, scratch, the registry's store and what the daemons remember stay from the last start; ``/tmp`` does not.
    """
    folder = settings.state
    stamp = folder / "rootfs"
    if stamp.exists() and stamp.read_text() != root.name:  # a layer fits only the root that it was written over
        shutil.rmtree(folder / "upper", ignore_errors=True)
    stamp.write_text(root.name)
    for name in ("files", "tmp", "work"):
        shutil.rmtree(folder / name, ignore_errors=True)
    logs = folder / "inside" / "log"
    if logs.exists():
        shutil.rmtree(folder / "inside" / "log.previous", ignore_errors=True)
        logs.replace(folder / "inside" / "log.previous")
    for name in ("lower", "upper", "work", "root", "home", "scratch", "tmp", "registry", "files", "inside/log"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "inside" / "status.json").unlink(missing_ok=True)
    chosen = ports.choose(settings, ports.read(folder / "ports.json"), ports.shuffled())
    ports.write(folder / "ports.json", chosen)
    for name, text in daemons.files(settings, chosen).items():
        path = folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    _copy_from_machine(folder / "files")
    (folder / "inside" / "plan.json").write_text(daemons.plan(settings, chosen))
    shutil.copyfile(Path(__file__).with_name("init.py"), folder / "inside" / "init.py")
    return chosen


def _copy_from_machine(files: Path) -> None:
    """Let the lab find and trust the hosts that this machine finds and trusts."""
    for name in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
        source = Path("/") / name
        if source.is_file():
            target = files / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
