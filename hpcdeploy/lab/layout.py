"""Prepare a lab's state folder for its init."""

import shutil
from pathlib import Path

from hpcdeploy.lab import daemons, ports
from hpcdeploy.lab.settings import LabSettings, Ports


def prepare(settings: LabSettings, root: Path) -> Ports:
    """Create the layers of the root, the folders that the lab sees, its files and its plan; return its ports.

    Home, scratch, the registry's data and the daemons' state are kept from the last start; ``/tmp`` is not.

    Raises:
        LabError: There are no free ports.
    """
    folder = settings.state
    stamp = folder / "rootfs"
    if stamp.exists() and stamp.read_text() != root.name:  # an upper layer only fits the root that it was made for
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
    """Copy the name servers and CA certificates of this machine into the lab."""
    for name in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
        source = Path("/") / name
        if source.is_file():
            target = files / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
