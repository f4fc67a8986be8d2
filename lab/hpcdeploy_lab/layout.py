"""Prepare a lab's state folder for its init."""

import shutil
from pathlib import Path

from hpcdeploy.private import private_folder
from hpcdeploy_lab import daemons, ports
from hpcdeploy_lab.settings import LabSettings, Ports


def prepare(settings: LabSettings, root: Path) -> Ports:
    """Create the lab's root layers, folders, configuration files and plan in its state folder; return its ports.

    Only the owner of the state folder can enter it. The files in it get the modes that the lab needs, whatever the umask is.
    The contents of home, scratch, the registry and the daemons' state are kept from the previous start; ``/tmp`` is emptied.

    Raises:
        LabError: There are no free ports.
    """
    folder = private_folder(settings.state)
    stamp = folder / "rootfs"
    if (
        stamp.exists() and stamp.read_text() != root.name
    ):  # the upper layer is valid only on the root file system that it was made for
        shutil.rmtree(folder / "upper", ignore_errors=True)
    stamp.write_text(root.name)
    for name in ("files", "tmp", "work"):
        shutil.rmtree(folder / name, ignore_errors=True)
    logs = folder / "inside" / "log"
    if logs.exists():
        shutil.rmtree(folder / "inside" / "log.previous", ignore_errors=True)
        logs.replace(folder / "inside" / "log.previous")
    for name in ("lower", "upper", "work", "root", "home", "scratch", "tmp", "registry", "files", "inside/log"):
        _open_folder(folder / name, below=folder)
    (folder / "inside" / "status.json").unlink(missing_ok=True)
    chosen = ports.choose(settings, ports.read(folder / "ports.json"), ports.shuffled())
    ports.write(folder / "ports.json", chosen)
    for name, text in daemons.files(settings, chosen).items():
        path = folder / "files" / name
        _open_folder(path.parent, below=folder)
        path.write_text(text)
        path.chmod(0o644)
    _copy_from_machine(folder / "files")
    (folder / "inside" / "plan.json").write_text(daemons.plan(settings, chosen))
    shutil.copyfile(Path(__file__).with_name("init.py"), folder / "inside" / "init.py")
    return chosen


def _open_folder(path: Path, *, below: Path) -> None:
    """Create `path` and its missing parents, inside the private folder `below`.

    New folders get mode 0755, because the lab's users must be able to enter them. Existing folders keep their modes, which
    the lab may have changed.
    """
    for missing in reversed([one for one in (path, *path.parents) if one.is_relative_to(below) and not one.exists()]):
        missing.mkdir()
        missing.chmod(0o755)


def _copy_from_machine(files: Path) -> None:
    """Copy the name servers and CA certificates of this machine into the lab."""
    for name in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
        source = Path("/") / name
        if source.is_file():
            target = files / name
            _open_folder(target.parent, below=files.parent)
            shutil.copyfile(source, target)
            target.chmod(0o644)
